// The checks that look at more than one setting.
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/config/egress.h"
#include "common/config/settings_address.h"
#include "common/config/settings_faults.h"
#include "common/config/settings_table.h"

namespace tidegate::config {
namespace {

class Checker {
 public:
  Checker(const Sheet& sheet, Faults* faults) : sheet_(sheet), faults_(faults) {}

  void Check() {
    const Settings& s = sheet_.settings;
    Require(s.corps_file, {"corps_file"}, "", "a path");
    if (s.log.kind == "kafka") {
      Require(s.log.kafka.bootstrap_servers, {"log.kafka.bootstrap_servers", "log.kind"},
              " when log.kind is kafka", "host:port,host:port");
    } else {
      Require(s.log.data_dir, {"log.data_dir", "log.kind"}, " when log.kind is embedded", "a path");
    }
    CheckEgress();
    CheckReplication();
    CheckTls("log.kafka.tls", s.log.kafka.tls, kClient);
    CheckTls("peers.tls", s.peers.tls, kClient);
    CheckTls("listen.tls", s.listen.tls, kServer);
    CheckTls("listen.callback_tls", s.listen.callback_tls, kServer);
    CheckListener("listen.grpc", s.listen.grpc, "listen.tls", s.listen.tls);
    CheckListener("listen.callback", s.listen.callback, "listen.callback_tls",
                  s.listen.callback_tls);
    CheckCallers();
  }

 private:
  enum Side { kClient, kServer };

  // Neither the settings nor a section around them is known to be wrong.
  bool Sound(const std::vector<std::string>& keys) const {
    for (std::string key : keys) {
      for (; !key.empty(); key = std::string(SectionOf(key))) {
        if (sheet_.unsound.contains(key)) return false;
      }
    }
    return true;
  }

  // Says it at the first of `keys` that was set, unless one of them is known to be wrong.
  void Fault(const std::vector<std::string>& keys, const std::string& text) {
    if (Sound(keys)) faults_->Add(sheet_.PlaceOf(keys), text);
  }

  // The first of `keys` is the setting; the others make it required.
  void Require(const std::string& value, const std::vector<std::string>& keys,
               const std::string& when, const std::string& values) {
    const std::string& key = keys.front();
    if (!value.empty()) return;
    Fault(keys, absl::StrCat(key, " is required", when, "; write ", values, " in the file, in ",
                             VariableOf(key), " or in --set ", key, "=..."));
  }

  void CheckEgress() {
    const Settings& s = sheet_.settings;
    if (!Sound({"egress", "lanes"})) return;
    if (!s.egress.empty() && s.egress.size() != static_cast<size_t>(s.lanes)) {
      return Fault({"egress", "lanes"},
                   absl::StrCat("egress has ", s.egress.size(), " addresses and lanes is ", s.lanes,
                                "; write one for each lane, \"any\" where it does not matter"));
    }
    const auto shares = SharesOf(s.egress, static_cast<uint32_t>(s.lanes));
    if (!shares.ok()) Fault({"egress", "lanes"}, std::string(shares.status().message()));
  }

  void CheckReplication() {
    const auto& kafka = sheet_.settings.log.kafka;
    if (kafka.min_insync_replicas <= kafka.replication) return;
    Fault({"log.kafka.min_insync_replicas", "log.kafka.replication"},
          absl::StrCat("log.kafka.min_insync_replicas is ", kafka.min_insync_replicas,
                       " and log.kafka.replication is ", kafka.replication,
                       "; write at most as many in-sync replicas as there are replicas"));
  }

  void CheckTls(const std::string& section, const TlsFiles& tls, Side side) {
    const std::string cert = section + ".cert_file", key = section + ".key_file",
                      ca = section + ".ca_file";
    if (!tls.cert_file.empty() && tls.key_file.empty()) {
      Fault({cert, key}, absl::StrCat(cert, " has no key; write ", key, " too"));
    }
    if (tls.cert_file.empty() && !tls.key_file.empty()) {
      Fault({key, cert}, absl::StrCat(key, " has no certificate; write ", cert, " too"));
    }
    const bool any = !tls.cert_file.empty() || !tls.key_file.empty();
    if (side == kServer && !any && !tls.ca_file.empty()) {
      Fault({ca, cert, key},
            absl::StrCat(ca, " asks clients for certificates, but there is no TLS; write ", cert,
                         " and ", key, " too"));
    }
  }

  void CheckListener(const std::string& key, const std::string& value, const std::string& section,
                     const TlsFiles& tls) {
    const auto address = ParseAddress(value);
    if (!address || IsLoopback(*address) || !tls.cert_file.empty() || !tls.key_file.empty() ||
        sheet_.settings.listen.plaintext_beyond_loopback) {
      return;
    }
    Fault({key, section + ".cert_file", section + ".key_file", "listen.plaintext_beyond_loopback"},
          absl::StrCat(key, " is ", value, ", beyond loopback, without TLS; write ", section,
                       ".cert_file and key_file, or listen.plaintext_beyond_loopback: true"));
  }

  void CheckCallers() {
    const Settings& s = sheet_.settings;
    if (s.callers.empty() || !s.listen.tls.ca_file.empty()) return;
    Fault({"callers", "listen.tls.ca_file"},
          "callers are known by their certificates, and none are asked for; write "
          "listen.tls.ca_file too");
  }

  const Sheet& sheet_;
  Faults* const faults_;
};

}  // namespace

void CheckTogether(const Sheet& sheet, Faults* faults) { Checker(sheet, faults).Check(); }

}  // namespace tidegate::config
