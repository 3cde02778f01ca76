#include "common/config/settings_table.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace tidegate::config {
namespace {

Setting Integer(const char* key, Setting::Integer field, int lowest, int highest, const char* unit,
                const char* doc) {
  return {
      .key = key, .field = field, .doc = doc, .lowest = lowest, .highest = highest, .unit = unit};
}
Setting Boolean(const char* key, Setting::Boolean field, const char* doc) {
  return {.key = key, .field = field, .doc = doc};
}
Setting Text(const char* key, Setting::Text field, Format format, const char* doc) {
  return {.key = key, .field = field, .doc = doc, .format = format};
}
Setting Choice(const char* key, Setting::Text field, std::vector<std::string> choices,
               const char* doc) {
  return {.key = key,
          .field = field,
          .doc = doc,
          .format = Format::kChoice,
          .choices = std::move(choices)};
}
Setting List(const char* key, Setting::List field, Format format, const char* doc) {
  return {.key = key, .field = field, .doc = doc, .format = format};
}
Setting Callers(const char* key, Setting::Callers field, const char* doc) {
  return {.key = key, .field = field, .doc = doc};
}

// Key and accessor from one word, so that they cannot differ.
#define TIDEGATE_FIELD(path) \
#path, [](Settings & settings) -> auto& { return settings.path; }

std::vector<Setting> MakeTable() {
  return {
      Integer(TIDEGATE_FIELD(partitions), 1, 1024, "",
              "Partitions of every customer topic; fixed when the log is made."),
      Integer(TIDEGATE_FIELD(lanes), 1, 256, "",
              "Partitions of audiences, commands and the ledger; fixed when the log is made."),
      Text(TIDEGATE_FIELD(corps_file), Format::kPath,
           "JSON file of corps and their apps, mode 0600. Required."),
      Text(TIDEGATE_FIELD(limits_file), Format::kPath,
           "JSON file of limits and waits; none = the documented ones of WeCom."),
      Text(TIDEGATE_FIELD(wecom.url), Format::kUrl, "Base URL of WeCom or of a stand-in for it."),
      List(TIDEGATE_FIELD(egress), Format::kSource,
           "By lane, the address that its calls to WeCom leave from: one of this machine, or of a "
           "forward proxy; none = any, as the machine chooses."),
      Choice(TIDEGATE_FIELD(log.kind), {"embedded", "kafka"},
             "The log: in this process, for one machine, or a Kafka cluster."),
      Text(TIDEGATE_FIELD(log.data_dir), Format::kPath,
           "Folder of the embedded log, made when missing. Required for embedded."),
      Text(TIDEGATE_FIELD(log.kafka.bootstrap_servers), Format::kBrokers,
           "Brokers to begin with. Required for kafka."),
      Text(TIDEGATE_FIELD(log.kafka.topic_prefix), Format::kTopicPrefix,
           "What the names of all topics begin with."),
      Integer(TIDEGATE_FIELD(log.kafka.replication), 1, 7, "",
              "Copies of every record, of topics that this process makes."),
      Integer(TIDEGATE_FIELD(log.kafka.min_insync_replicas), 1, 7, "",
              "Copies that must exist before an append counts; at most replication."),
      Integer(TIDEGATE_FIELD(log.kafka.append_timeout_ms), 1000, 900000, "ms",
              "How long an append may take before its end is taken as unknown."),
      Text(TIDEGATE_FIELD(log.kafka.tls.cert_file), Format::kPath,
           "PEM certificate shown to the brokers, if they ask for one."),
      Text(TIDEGATE_FIELD(log.kafka.tls.key_file), Format::kPath,
           "PEM private key of that certificate."),
      Text(TIDEGATE_FIELD(log.kafka.tls.ca_file), Format::kPath,
           "PEM certificates that the brokers' are checked against."),
      Text(TIDEGATE_FIELD(listen.grpc), Format::kListener, "Listener of gRPC."),
      Text(TIDEGATE_FIELD(listen.callback), Format::kListener, "Listener of WeCom's callbacks."),
      Text(TIDEGATE_FIELD(listen.admin), Format::kListener,
           "Listener of health and metrics. Always plaintext: keep it inside."),
      Text(TIDEGATE_FIELD(listen.ports_file), Format::kPath,
           "JSON file written when ready, with the addresses really used."),
      Boolean(TIDEGATE_FIELD(listen.plaintext_beyond_loopback),
              "Allows gRPC and callbacks beyond loopback without TLS, as behind a proxy."),
      Text(TIDEGATE_FIELD(listen.tls.cert_file), Format::kPath,
           "PEM certificate of the gRPC listener."),
      Text(TIDEGATE_FIELD(listen.tls.key_file), Format::kPath,
           "PEM private key of that certificate."),
      Text(TIDEGATE_FIELD(listen.tls.ca_file), Format::kPath,
           "PEM certificates that clients' are checked against; makes it mutual TLS."),
      Text(TIDEGATE_FIELD(listen.callback_tls.cert_file), Format::kPath,
           "PEM certificate of the callback listener."),
      Text(TIDEGATE_FIELD(listen.callback_tls.key_file), Format::kPath,
           "PEM private key of that certificate."),
      Text(TIDEGATE_FIELD(listen.callback_tls.ca_file), Format::kPath,
           "Only if callers of the callback must show a certificate: what it is checked against."),
      List(TIDEGATE_FIELD(peers.ingestion), Format::kPeer,
           "gRPC address of each replica of ingestion, by ordinal."),
      List(TIDEGATE_FIELD(peers.tagging), Format::kPeer,
           "gRPC address of each replica of tagging, by ordinal."),
      List(TIDEGATE_FIELD(peers.segmentation), Format::kPeer,
           "gRPC address of each replica of segmentation, by ordinal."),
      List(TIDEGATE_FIELD(peers.dispatch), Format::kPeer,
           "gRPC address of each replica of dispatch, by ordinal."),
      Integer(TIDEGATE_FIELD(peers.settle_ms), 1'000, 3'600'000, "ms",
              "How long another number of replicas must last before this process ends, to start "
              "with it; only with replica: r/LEAST-MOST."),
      Text(TIDEGATE_FIELD(peers.tls.cert_file), Format::kPath,
           "PEM certificate that this process shows to its peers."),
      Text(TIDEGATE_FIELD(peers.tls.key_file), Format::kPath,
           "PEM private key of that certificate."),
      Text(TIDEGATE_FIELD(peers.tls.ca_file), Format::kPath,
           "PEM certificates that the peers' are checked against."),
      Text(TIDEGATE_FIELD(replica), Format::kReplica,
           "This process is replica r of R. With LEAST-MOST for R, as many as have names: the last "
           "one is the highest of peers whose name is known."),
      Callers(TIDEGATE_FIELD(callers),
              "Which corps the owner of a client certificate may act for; needs "
              "listen.tls.ca_file."),
      Choice(
          TIDEGATE_FIELD(former_owner.policy), {"check", "same_host", "unknown"},
          "How the end of a partition's former owner is known: by its pid on the same host, in the "
          "same pid namespace; by its host name, since the platform runs one process for each at a "
          "time; not at all."),
      Boolean(TIDEGATE_FIELD(send),
              "false: nothing is ever sent to WeCom, for replays and dry runs."),
  };
}

#undef TIDEGATE_FIELD

}  // namespace

const std::vector<Setting>& SettingTable() {
  static const auto* const table = new std::vector<Setting>(MakeTable());
  return *table;
}

const Setting* FindSetting(absl::string_view key) {
  for (const Setting& setting : SettingTable()) {
    if (key == setting.key) return &setting;
  }
  return nullptr;
}

bool IsSection(absl::string_view key) {
  return key.empty() || std::any_of(SettingTable().begin(), SettingTable().end(),
                                    [prefix = absl::StrCat(key, ".")](const Setting& setting) {
                                      return absl::StartsWith(setting.key, prefix);
                                    });
}

std::vector<std::string> NamesIn(absl::string_view section) {
  const std::string prefix = section.empty() ? "" : absl::StrCat(section, ".");
  std::vector<std::string> names;
  for (const Setting& setting : SettingTable()) {
    if (!absl::StartsWith(setting.key, prefix)) continue;
    const std::string rest = setting.key.substr(prefix.size());
    const std::string name = rest.substr(0, rest.find('.'));
    if (names.empty() || names.back() != name) names.push_back(name);
  }
  return names;
}

std::string JoinKey(absl::string_view section, absl::string_view name) {
  return section.empty() ? std::string(name) : absl::StrCat(section, ".", name);
}

absl::string_view SectionOf(absl::string_view key) {
  const size_t dot = key.rfind('.');
  return dot == absl::string_view::npos ? absl::string_view() : key.substr(0, dot);
}

std::string VariableOf(absl::string_view key) {
  return absl::StrCat("TIDEGATE_", absl::AsciiStrToUpper(absl::StrReplaceAll(key, {{".", "__"}})));
}

}  // namespace tidegate::config
