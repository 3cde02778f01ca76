// The configuration of every binary: one schema, one order of precedence. Not for corps and limits,
// which are JSON files of their own, nor for secrets: those stand in files that settings name.
//
//   built-in default < YAML file < environment TIDEGATE_SECTION__KEY < flags
//
//   auto settings = config::LoadSettings({.file = "tidegate.yaml",
//                                         .environment = config::EnvironmentSettings(environ),
//                                         .flags = {{"log.data_dir", "data"}}});
//   if (!settings.ok()) return Fail(settings.status());  // every fault, each with its place
//
// A new setting is one line here and one in settings_table.cc; docs/configuration.md lists them
// all. The functions may be called from any thread; they share nothing that changes.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace tidegate::config {

// Paths of PEM files. All empty = no TLS. They are not opened here.
struct TlsFiles {
  std::string cert_file;
  std::string key_file;  // if and only if cert_file is given
  std::string ca_file;   // whose certificates are trusted
  bool operator==(const TlsFiles&) const = default;
};

// Which corps the owner of a client certificate may act for.
struct CallerIdentity {
  std::string identity;            // URI SAN of the certificate; unique
  std::vector<std::string> corps;  // corp ids, or the one entry "*" for all; at least one
  bool operator==(const CallerIdentity&) const = default;
};

// Lists follow the ordinals of the replicas. Paths are absolute after LoadSettings.
struct Settings {
  int partitions = 4;       // of every customer topic; 1 to 1024
  int lanes = 1;            // of audiences, commands and ledger; 1 to 256
  std::string corps_file;   // JSON; required
  std::string limits_file;  // JSON; empty = the documented limits of WeCom

  struct Wecom {
    std::string url = "https://qyapi.weixin.qq.com";  // base URL, http or https
    bool operator==(const Wecom&) const = default;
  } wecom;

  // By lane: where its calls leave from, as egress.h says. One for each lane, or none at all. A
  // proxy's password may stand in it: never to be shown as it is.
  std::vector<std::string> egress;

  struct Log {
    std::string kind = "embedded";  // embedded | kafka
    std::string data_dir;           // required for embedded

    struct Kafka {
      std::string bootstrap_servers;           // host:port,host:port; required for kafka
      std::string topic_prefix = "tidegate.";  // letters, digits, ".", "_", "-"; at most 100
      int replication = 3;                     // of topics that this process makes; 1 to 7
      int min_insync_replicas = 2;             // 1 to replication
      int append_timeout_ms = 120000;          // 1000 to 900000
      TlsFiles tls;                            // cert and key only if the brokers ask for them
      bool operator==(const Kafka&) const = default;
    } kafka;
    bool operator==(const Log&) const = default;
  } log;

  struct Listen {
    // host:port or [IPv6]:port; port 0 = any free one.
    std::string grpc = "127.0.0.1:7600";
    std::string callback = "127.0.0.1:7601";
    std::string admin = "127.0.0.1:7602";  // always plaintext
    // Renamed into place when ready, with {grpc, callback, admin, pid}; empty = none.
    std::string ports_file;
    // false: gRPC or callbacks beyond loopback without TLS are an error.
    bool plaintext_beyond_loopback = false;
    TlsFiles tls;           // of gRPC; with ca_file every client must show a certificate
    TlsFiles callback_tls;  // of callbacks; ca_file only if client certificates are asked for
    bool operator==(const Listen&) const = default;
  } listen;

  struct Peers {
    // gRPC host:port of each replica of the service; at most 1024.
    std::vector<std::string> ingestion, tagging, segmentation, dispatch;
    int settle_ms = 60'000;  // see replica; 1,000 to 3,600,000
    TlsFiles tls;            // of this process as their client
    bool operator==(const Peers&) const = default;
  } peers;

  // r/R: this process is replica r of R; 0 <= r < R <= 1024. r/LEAST-MOST: their number is found by
  // their names, see common/process/replica_count.h.
  std::string replica = "0/1";
  std::vector<CallerIdentity> callers;  // needs listen.tls.ca_file; only in the file

  struct FormerOwner {
    // How the end of a partition's former owner is known: check (same host, by pid) | same_host
    // (the platform runs one process for each host name at a time) | unknown.
    std::string policy = "check";
    bool operator==(const FormerOwner&) const = default;
  } former_owner;

  bool send = true;  // false: nothing is ever sent to WeCom

  bool operator==(const Settings&) const = default;
};

struct SettingsSource {
  std::string file;  // YAML, at most 1 MiB; empty = none
  // (variable, value), e.g. {"TIDEGATE_LOG__KIND", "kafka"}. Lists are separated by commas.
  std::vector<std::pair<std::string, std::string>> environment;
  // (key, value), e.g. {"log.kind", "kafka"}, from --set and from named flags; the last one wins.
  std::vector<std::pair<std::string, std::string>> flags;
};

// Relative paths are taken from the file's folder if the file gives them, else from the working
// folder. Errors: all faults at once, one per line, each with its place (FILE:LINE:COLUMN, the
// variable, or `--set KEY` for any flag), what is wrong and what to write instead; columns count
// bytes. NOT_FOUND or PERMISSION_DENIED if the file cannot be read, else INVALID_ARGUMENT.
absl::StatusOr<Settings> LoadSettings(const SettingsSource& source);

// The variables of `environ` that are meant as settings, sorted by name: TIDEGATE_*__*, and those
// named exactly as a setting without a section (TIDEGATE_PARTITIONS). All others, such as
// TIDEGATE_GRPC, are left alone. `environ` may be null.
std::vector<std::pair<std::string, std::string>> EnvironmentSettings(char** environ);

// All settings as YAML. Read back as a file it gives equal settings, if these came from
// LoadSettings; but a proxy's user and password are "***", with which it is refused.
std::string PrintSettings(const Settings& settings);

// The Markdown table that docs/configuration.md has between its two marker comments, without them.
std::string DocumentSettings();

}  // namespace tidegate::config
