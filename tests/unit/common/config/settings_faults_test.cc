// Broken configurations and what is said of them, word for word.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "common/base/seeded_random.h"
#include "common/config/settings.h"

namespace tidegate::config {
namespace {

namespace fs = std::filesystem;
using Pairs = std::vector<std::pair<std::string, std::string>>;

class SettingsFaultsTest : public testing::Test {
 protected:
  SettingsFaultsTest() {
    std::string pattern = testing::TempDir() + "settings_faults_test.XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
  }
  ~SettingsFaultsTest() override { fs::remove_all(folder_); }

  std::string Write(const std::string& text) const {
    const fs::path path = folder_ / "t.yaml";
    std::ofstream(path, std::ios::binary) << text;
    return path.string();
  }

  // The error's text, the file being FILE in it; "settings" if there is none.
  std::string Faults(const SettingsSource& source) const {
    const auto settings = LoadSettings(source);
    if (settings.ok()) return "settings";
    const std::string text(settings.status().message());
    return source.file.empty() ? text : absl::StrReplaceAll(text, {{source.file, "FILE"}});
  }
  std::string FaultsOf(const std::string& yaml) const { return Faults({.file = Write(yaml)}); }

  fs::path folder_;
};

// Enough to be valid, in one line, so that what follows begins at line 2.
constexpr char kValid[] = "{corps_file: c, log: {data_dir: d}}\n";

struct Case {
  const char* name;
  const char* yaml;
  const char* faults;
};

TEST_F(SettingsFaultsTest, BrokenFilesAreToldTheirFaults) {
  const Case cases[] = {
      {"MisspeltKey", "corps_file: c\nlog:\n  kind: kafka\n  kafka:\n    boostrap_servers: a:1\n",
       "FILE:5:5: unknown setting \"log.kafka.boostrap_servers\"; did you mean "
       "\"bootstrap_servers\"?"},
      {"EgressIsNoAddress", "{corps_file: c, log: {data_dir: d}, egress: [10.0.0.5:1]}\n",
       "FILE:1:46: egress[0] is not understood; write any, an IP address or "
       "http://[user:password@]host:port, with *SHARE at its end where lanes share it"},
      {"EgressShowsNoPassword",
       "{corps_file: c, log: {data_dir: d}, egress: [\"http://li:hunter2@proxy\"]}\n",
       "FILE:1:46: egress[0] is not understood; write any, an IP address or "
       "http://[user:password@]host:port, with *SHARE at its end where lanes share it"},
      {"EgressIsNoList",
       "{corps_file: c, log: {data_dir: d}, egress: \"http://li:hunter2@proxy:3128\"}\n",
       "FILE:1:45: egress is a text; write a list of any, an IP address or "
       "http://[user:password@]host:port, with *SHARE at its end where lanes share it"},
      {"EgressOfOneAddressTwice",
       "{corps_file: c, log: {data_dir: d}, lanes: 2, egress: [10.0.0.5, 10.0.0.5]}\n",
       "FILE:1:55: egress gives 10.0.0.5 to the lanes 0, 1, whose shares add up to 2; write shares "
       "of at most 1 together, as in \"10.0.0.5*0.5\", or put all corps of an address into one "
       "lane"},
      {"EgressOfTooFewLanes", "{corps_file: c, log: {data_dir: d}, lanes: 3, egress: [any, any]}\n",
       "FILE:1:55: egress has 2 addresses and lanes is 3; write one for each lane, \"any\" where "
       "it "
       "does not matter"},
      {"MisspeltSection", "corps_file: c\nlgo: {data_dir: d}\n",
       "FILE:2:1: unknown setting \"lgo\"; did you mean \"log\"?"},
      {"KeyOfAnotherSection", "corps_file: c\ndata_dir: d\n",
       "FILE:2:1: unknown setting \"data_dir\"; did you mean \"log.data_dir\"?"},
      {"KeyWithoutLikeness", "corps_file: c\nlog: {data_dir: d, volume: 3}\n",
       "FILE:2:20: unknown setting \"log.volume\"; \"log\" has: kind, data_dir, kafka"},
      {"KeyWithoutItsEnding", "corps: c\nlog: {data_dir: d}\n",
       "FILE:1:1: unknown setting \"corps\"; did you mean \"corps_file\"?"},
      {"DottedKey", "corps_file: c\nlog.data_dir: d\n",
       "FILE:2:1: unknown setting \"log.data_dir\"; a dot does not lead into a section: write "
       "\"log: {data_dir: ...}\""},
      {"InlineSecret", "corps_file: c\nlog: {data_dir: d, kafka: {sasl_password: hunter2}}\n",
       "FILE:2:28: unknown setting \"log.kafka.sasl_password\"; secrets are given as files: "
       "NAME_file; \"log.kafka\" has: bootstrap_servers, topic_prefix, replication, "
       "min_insync_replicas, append_timeout_ms, tls"},
      {"MergeKey", "corps_file: c\nlog: {data_dir: d}\n<<: {lanes: 2}\n",
       "FILE:3:1: unknown setting \"<<\"; there are: partitions, lanes, corps_file, limits_file, "
       "wecom, egress, log, listen, peers, replica, callers, former_owner, send"},
      {"DuplicateKey", "corps_file: c\nlog:\n  data_dir: d\n  kind: embedded\n  data_dir: e\n",
       "FILE:5:3: \"data_dir\" is written twice, first at line 3; remove one"},
      {"DuplicateSection", "log: {data_dir: d}\ncorps_file: c\nlog: {kind: embedded}\n",
       "FILE:3:1: \"log\" is written twice, first at line 1; remove one"},
      {"WordForNumber", "corps_file: c\nlog: {data_dir: d}\npartitions: four\n",
       "FILE:3:13: partitions is \"four\"; write a whole number from 1 to 1024"},
      {"QuotedNumber", "corps_file: c\nlog: {data_dir: d}\npartitions: \"4\"\n",
       "FILE:3:13: partitions is \"4\" in quotes; write a whole number from 1 to 1024 without "
       "them"},
      {"OctalNumber", "corps_file: c\nlog: {data_dir: d}\npartitions: 010\n",
       "FILE:3:13: partitions is \"010\"; write a whole number from 1 to 1024"},
      {"HugeNumber", "corps_file: c\nlog: {data_dir: d}\npartitions: 99999999999999999999\n",
       "FILE:3:13: partitions is \"99999999999999999999\"; write a whole number from 1 to 1024"},
      {"NumberOutOfRange", "corps_file: c\nlog: {data_dir: d, kafka: {append_timeout_ms: 999}}\n",
       "FILE:2:47: log.kafka.append_timeout_ms is \"999\"; write a whole number of ms from 1000 to "
       "900000"},
      {"NoForFalse", "corps_file: c\nlog: {data_dir: d}\nsend: no\n",
       "FILE:3:7: send is \"no\"; write true or false"},
      {"WrongChoice", "corps_file: c\nlog: {data_dir: d, kind: kafak}\n",
       "FILE:2:26: log.kind is \"kafak\"; write embedded or kafka"},
      {"ListForText", "corps_file: [c]\nlog: {data_dir: d}\n",
       "FILE:1:13: corps_file is a list; write a path"},
      {"SectionForText", "corps_file: {path: c}\nlog: {data_dir: d}\n",
       "FILE:1:13: corps_file is a section; write a path"},
      {"EmptyValue", "corps_file:\nlog: {data_dir: d}\n",
       "FILE:1:1: corps_file is empty; write a path"},
      {"NullValue", "corps_file: ~\nlog: {data_dir: d}\n",
       "FILE:1:1: corps_file is empty; write a path"},
      {"TextForList", "corps_file: c\nlog: {data_dir: d}\npeers: {tagging: a:1}\n",
       "FILE:3:18: peers.tagging is \"a:1\"; write a list of host:port or [IPv6]:port"},
      {"TextForSection", "corps_file: c\nlog: embedded\n",
       "FILE:2:6: log is \"embedded\"; it is a section: write under it kind, data_dir, kafka"},
      {"ListForSection", "corps_file: c\nlog: [data_dir]\n",
       "FILE:2:6: log is a list; it is a section: write under it kind, data_dir, kafka"},
      {"BadEntries", "corps_file: c\nlog: {data_dir: d}\npeers:\n  tagging: [a:1, b, [c], a:0]\n",
       "FILE:4:18: peers.tagging[1] is \"b\"; write host:port or [IPv6]:port\n"
       "FILE:4:21: peers.tagging[2] is a list; write host:port or [IPv6]:port\n"
       "FILE:4:26: peers.tagging[3] is \"a:0\"; write host:port or [IPv6]:port"},
      {"BadAddresses",
       "corps_file: c\nlog: {data_dir: d}\nlisten: {grpc: \":7600\", callback: 1.2.3:80, admin: "
       "\"::1:80\"}\n",
       "FILE:3:16: listen.grpc is \":7600\"; write host:port or [IPv6]:port, with port 0 for any "
       "free one\n"
       "FILE:3:35: listen.callback is \"1.2.3:80\"; write host:port or [IPv6]:port, with port 0 "
       "for any free one\n"
       "FILE:3:52: listen.admin is \"::1:80\"; write host:port or [IPv6]:port, with port 0 for any "
       "free one"},
      {"BadUrl",
       "corps_file: c\nlog: {data_dir: d}\nwecom: {url: \"https://me:pass@wecom.example\"}\n",
       "FILE:3:14: wecom.url is a URL with a user; write http://host or https://host, without "
       "user, query and fragment"},
      {"BadReplica", "corps_file: c\nlog: {data_dir: d}\nreplica: 3/3\n",
       "FILE:3:10: replica is \"3/3\"; write r/R with 0 <= r < R <= 1024, or r/LEAST-MOST"},
      {"BadReplicaRange", "corps_file: c\nlog: {data_dir: d}\nreplica: 1/4-3\n",
       "FILE:3:10: replica is \"1/4-3\"; write r/R with 0 <= r < R <= 1024, or r/LEAST-MOST"},
      {"ReplicaBeyondItsRange", "corps_file: c\nlog: {data_dir: d}\nreplica: 3/1-3\n",
       "FILE:3:10: replica is \"3/1-3\"; write r/R with 0 <= r < R <= 1024, or r/LEAST-MOST"},
      {"NoReplicaAtLeast", "corps_file: c\nlog: {data_dir: d}\nreplica: 0/0-3\n",
       "FILE:3:10: replica is \"0/0-3\"; write r/R with 0 <= r < R <= 1024, or r/LEAST-MOST"},
      {"BadTopicPrefix", "corps_file: c\nlog: {data_dir: d, kafka: {topic_prefix: a b}}\n",
       "FILE:2:42: log.kafka.topic_prefix is \"a b\"; write up to 100 letters, digits, dots, "
       "underscores and hyphens"},
      {"ControlCharacter", "corps_file: \"a\\nb\"\nlog: {data_dir: d}\n",
       "FILE:1:13: corps_file holds a control character or is not UTF-8; write printable text in "
       "one line"},
      {"NotUtf8", "corps_file: c\n# \xff\n", "FILE:2:3: not UTF-8 text; save the file as UTF-8"},
      {"Tab", "log:\n\tdata_dir: d\n", "FILE:2:1: a tab indents this line; write spaces"},
      {"NotYaml", "corps_file: c\nlog: {data_dir: d\n",
       "FILE:3:1: not valid YAML: end of map flow not found"},
      {"NotYamlEither", "corps_file: c\n log: d\n", "FILE:2:5: not valid YAML: illegal map value"},
      {"SecondDocument", "corps_file: c\n---\nlog: {data_dir: d}\n",
       "FILE:2:1: a second document begins here; write one document"},
      {"Anchor", "corps_file: &c c\nlog: {data_dir: d}\n",
       "FILE:1:13: anchors and aliases are not taken; write the value itself"},
      {"Alias", "corps_file: &c c\nlog: {data_dir: *c}\n",
       "FILE:1:13: anchors and aliases are not taken; write the value itself"},
      {"StarWithoutQuotes", "callers:\n  - {identity: a, corps: [*]}\n",
       "FILE:2:28: not valid YAML: alias not found after *; write \"*\" in quotes"},
      {"Tag", "corps_file: !!str c\nlog: {data_dir: d}\n",
       "FILE:1:13: the tag \"tag:yaml.org,2002:str\" is not taken; remove it"},
      {"TooDeep", "a: {b: {c: {d: {e: {f: {g: {h: {}}}}}}}}\n",
       "FILE:1:32: deeper than 8 levels; no setting is so deep"},
      {"ListAsKey", "corps_file: c\nlog: {data_dir: d}\n? [a]\n: b\n",
       "FILE:3:3: a key must be text; write the name of a setting"},
      {"NoSettings", "just text\n", "FILE:1:1: no settings; write lines such as \"partitions: 4\""},
      {"EmptyFile", "",
       "FILE:1:1: corps_file is required; write a path in the file, in TIDEGATE_CORPS_FILE or in "
       "--set corps_file=...\n"
       "FILE:1:1: log.data_dir is required when log.kind is embedded; write a path in the file, in "
       "TIDEGATE_LOG__DATA_DIR or in --set log.data_dir=..."},
      {"CallerWithout",
       "corps_file: c\nlog: {data_dir: d}\nlisten: {tls: {cert_file: c, key_file: k, ca_file: "
       "a}}\ncallers:\n  - identity: a\n  - {identty: b, corps: []}\n  - c\n",
       "FILE:5:5: callers[0] has no corps; write it too\n"
       "FILE:6:6: unknown setting \"callers[1].identty\"; did you mean \"identity\"?\n"
       "FILE:6:25: callers[1].corps is an empty list; write a list of corp ids, or [\"*\"] for "
       "all\n"
       "FILE:7:5: callers[2] is \"c\"; write identity and corps"},
      {"CallerTwice",
       "corps_file: c\nlog: {data_dir: d}\nlisten: {tls: {cert_file: c, key_file: k, ca_file: "
       "a}}\ncallers:\n  - {identity: a, corps: [ww1, ww1]}\n  - {identity: b, corps: [ww1, "
       "\"*\"]}\n  - {identity: c, corps: [ww1]}\n  - {identity: c, corps: [ww2]}\n",
       "FILE:5:32: callers[0].corps[1] \"ww1\" stands twice; remove one\n"
       "FILE:6:32: callers[1].corps[1] is \"*\", which is all corps; remove the others\n"
       "FILE:8:5: callers[3].identity \"c\" stands twice; write one entry with all its corps"},
      {"AllAtOnce", "partitions: 0\nlanes: 0\nlog: {kind: x}\nnonsense: 1\n",
       "FILE:1:1: corps_file is required; write a path in the file, in TIDEGATE_CORPS_FILE or in "
       "--set corps_file=...\n"
       "FILE:1:13: partitions is \"0\"; write a whole number from 1 to 1024\n"
       "FILE:2:8: lanes is \"0\"; write a whole number from 1 to 256\n"
       "FILE:3:13: log.kind is \"x\"; write embedded or kafka\n"
       "FILE:4:1: unknown setting \"nonsense\"; there are: partitions, lanes, corps_file, "
       "limits_file, wecom, egress, log, listen, peers, replica, callers, former_owner, send"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    EXPECT_EQ(FaultsOf(c.yaml), c.faults);
  }
}

TEST_F(SettingsFaultsTest, SettingsThatDoNotGoTogether) {
  const Case cases[] = {
      {"NoCorps", "log: {data_dir: d}\n",
       "FILE:1:1: corps_file is required; write a path in the file, in TIDEGATE_CORPS_FILE or in "
       "--set corps_file=..."},
      {"KafkaWithoutBrokers", "corps_file: c\nlog:\n  kind: kafka\n",
       "FILE:3:9: log.kafka.bootstrap_servers is required when log.kind is kafka; write "
       "host:port,host:port in the file, in TIDEGATE_LOG__KAFKA__BOOTSTRAP_SERVERS or in --set "
       "log.kafka.bootstrap_servers=..."},
      {"EmbeddedWithoutFolder", "corps_file: c\nlog:\n  kind: embedded\n",
       "FILE:3:9: log.data_dir is required when log.kind is embedded; write a path in the file, in "
       "TIDEGATE_LOG__DATA_DIR or in --set log.data_dir=..."},
      {"MoreInSyncThanReplicas",
       "corps_file: c\nlog:\n  data_dir: d\n  kafka:\n    replication: 1\n",
       "FILE:5:18: log.kafka.min_insync_replicas is 2 and log.kafka.replication is 1; write at "
       "most as many in-sync replicas as there are replicas"},
      {"CertWithoutKey", "corps_file: c\nlog: {data_dir: d}\nlisten:\n  tls:\n    cert_file: x\n",
       "FILE:5:16: listen.tls.cert_file has no key; write listen.tls.key_file too"},
      {"KeyWithoutCert", "corps_file: c\nlog: {data_dir: d}\npeers:\n  tls:\n    key_file: x\n",
       "FILE:5:15: peers.tls.key_file has no certificate; write peers.tls.cert_file too"},
      {"CaWithoutCert", "corps_file: c\nlog: {data_dir: d}\nlisten:\n  tls:\n    ca_file: x\n",
       "FILE:5:14: listen.tls.ca_file asks clients for certificates, but there is no TLS; write "
       "listen.tls.cert_file and listen.tls.key_file too"},
      {"GrpcInTheOpen", "corps_file: c\nlog: {data_dir: d}\nlisten:\n  grpc: 0.0.0.0:7600\n",
       "FILE:4:9: listen.grpc is 0.0.0.0:7600, beyond loopback, without TLS; write "
       "listen.tls.cert_file and key_file, or listen.plaintext_beyond_loopback: true"},
      {"CallbackInTheOpen",
       "corps_file: c\nlog: {data_dir: d}\nlisten:\n  callback: \"[::]:7601\"\n",
       "FILE:4:13: listen.callback is [::]:7601, beyond loopback, without TLS; write "
       "listen.callback_tls.cert_file and key_file, or listen.plaintext_beyond_loopback: true"},
      {"CallersWithoutCa",
       "corps_file: c\nlog: {data_dir: d}\ncallers:\n  - {identity: a, corps: [\"*\"]}\n",
       "FILE:4:3: callers are known by their certificates, and none are asked for; write "
       "listen.tls.ca_file too"},
      {"AdminInTheOpenIsFine",
       "corps_file: c\nlog: {data_dir: d}\nlisten: {admin: \"0.0.0.0:7602\"}\n", "settings"},
      {"OpenOnPurpose",
       "corps_file: c\nlog: {data_dir: d}\nlisten: {grpc: a:1, callback: b:2, "
       "plaintext_beyond_loopback: true}\n",
       "settings"},
      {"OpenWithTls",
       "corps_file: c\nlog: {data_dir: d}\nlisten: {grpc: a:1, tls: {cert_file: c, key_file: k}}\n",
       "settings"},
      {"Loopback",
       "corps_file: c\nlog: {data_dir: d}\nlisten: {grpc: \"[::1]:0\", callback: localhost:0}\n",
       "settings"},
      {"BrokersByCaOnly",
       "corps_file: c\nlog: {kind: kafka, kafka: {bootstrap_servers: \"a:1,b:2\", tls: {ca_file: "
       "x}}}\n",
       "settings"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    EXPECT_EQ(FaultsOf(c.yaml), c.faults);
  }
}

TEST_F(SettingsFaultsTest, BrokenVariablesAndFlagsAreToldTheirFaults) {
  struct {
    const char* name;
    Pairs environment;
    Pairs flags;
    const char* faults;
  } cases[] = {
      {"MisspeltVariable",
       {{"TIDEGATE_LOG__KAFKA__BOOSTRAP_SERVERS", "a:1"}},
       {},
       "TIDEGATE_LOG__KAFKA__BOOSTRAP_SERVERS: unknown setting "
       "\"TIDEGATE_LOG__KAFKA__BOOSTRAP_SERVERS\"; did you mean "
       "\"TIDEGATE_LOG__KAFKA__BOOTSTRAP_SERVERS\"?"},
      {"VariableInSmallLetters",
       {{"TIDEGATE_log__kind", "kafka"}},
       {},
       "TIDEGATE_log__kind: unknown setting \"TIDEGATE_log__kind\"; did you mean "
       "\"TIDEGATE_LOG__KIND\"?"},
      {"VariableWithoutLikeness",
       {{"TIDEGATE_LOG__X__Y", "1"}},
       {},
       "TIDEGATE_LOG__X__Y: unknown setting \"TIDEGATE_LOG__X__Y\"; \"log\" has: kind, data_dir, "
       "kafka"},
      {"SecretVariable",
       {{"TIDEGATE_WECOM__SECRET", "hunter2"}},
       {},
       "TIDEGATE_WECOM__SECRET: unknown setting \"TIDEGATE_WECOM__SECRET\"; secrets are given as "
       "files: NAME_file; \"wecom\" has: url"},
      {"VariableOfASection",
       {{"TIDEGATE_LOG__KAFKA", "1"}},
       {},
       "TIDEGATE_LOG__KAFKA: \"log.kafka\" is a section, not a setting; \"log.kafka\" has: "
       "bootstrap_servers, topic_prefix, replication, min_insync_replicas, append_timeout_ms, tls"},
      {"BadNumber",
       {{"TIDEGATE_LANES", "1.5"}},
       {},
       "TIDEGATE_LANES: lanes is \"1.5\"; write a whole number from 1 to 256"},
      {"BadEntry",
       {{"TIDEGATE_PEERS__TAGGING", "a:1,,b:2"}},
       {},
       "TIDEGATE_PEERS__TAGGING: peers.tagging[1] is \"\"; write host:port or [IPv6]:port"},
      {"CallersInAVariable",
       {{"TIDEGATE_CALLERS", "a"}},
       {},
       "TIDEGATE_CALLERS: callers is a list of entries; write it in the file"},
      {"MisspeltFlag",
       {},
       {{"log.kafk.replication", "1"}},
       "--set log.kafk.replication: unknown setting \"log.kafk.replication\"; did you mean "
       "\"log.kafka.replication\"?"},
      {"FlagWithoutLikeness",
       {},
       {{"verbose", "1"}},
       "--set verbose: unknown setting \"verbose\"; there are: partitions, lanes, corps_file, "
       "limits_file, wecom, egress, log, listen, peers, replica, callers, former_owner, send"},
      {"EmptyFlag",
       {},
       {{"", ""}},
       "--set : unknown setting \"\"; there are: partitions, lanes, corps_file, limits_file, "
       "wecom, egress, log, listen, peers, replica, callers, former_owner, send"},
      {"BadChoice",
       {},
       {{"log.kind", "x\ny"}},
       "--set log.kind: log.kind holds a control character or is not UTF-8; write printable text "
       "in one line"},
      {"PasswordWithAComma",
       {{"TIDEGATE_EGRESS", "http://li:hunter,2@proxy:3128"}},
       {},
       "TIDEGATE_EGRESS: egress[0] is not understood; write any, an IP address or "
       "http://[user:password@]host:port, with *SHARE at its end where lanes share it"},
      {"FlagAgainstVariable",
       {{"TIDEGATE_LOG__KAFKA__REPLICATION", "3"}},
       {{"log.kafka.min_insync_replicas", "4"}},
       "--set log.kafka.min_insync_replicas: log.kafka.min_insync_replicas is 4 and "
       "log.kafka.replication is 3; write at most as many in-sync replicas as there are replicas"},
      {"InTheOrderOfLayers",
       {{"TIDEGATE_LANES", "0"}},
       {{"lanes", "-1"}},
       "TIDEGATE_LANES: lanes is \"0\"; write a whole number from 1 to 256\n"
       "--set lanes: lanes is \"-1\"; write a whole number from 1 to 256"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    EXPECT_EQ(Faults({.file = Write(kValid), .environment = c.environment, .flags = c.flags}),
              c.faults);
  }
}

TEST_F(SettingsFaultsTest, WithoutAFileTheNeedsAreNamedAllTheSame) {
  EXPECT_EQ(Faults({}),
            "settings: corps_file is required; write a path in the file, in TIDEGATE_CORPS_FILE or "
            "in --set corps_file=...\n"
            "settings: log.data_dir is required when log.kind is embedded; write a path in the "
            "file, in TIDEGATE_LOG__DATA_DIR or in --set log.data_dir=...");
}

TEST_F(SettingsFaultsTest, FilesThatCannotBeReadAreToldWhy) {
  EXPECT_EQ(Faults({.file = (folder_ / "none.yaml").string(), .flags = {{"lanes", "0"}}}),
            "FILE: no such file; write the path of a YAML file\n"
            "--set lanes: lanes is \"0\"; write a whole number from 1 to 256");
  EXPECT_TRUE(absl::IsNotFound(LoadSettings({.file = (folder_ / "none.yaml").string()}).status()));
  EXPECT_EQ(Faults({.file = folder_.string()}),
            "FILE: Is a directory; write the path of a YAML file");
  EXPECT_EQ(FaultsOf(std::string((1 << 20) + 1, '#')),
            "FILE: larger than 1 MiB; write the path of a configuration file");
  EXPECT_TRUE(absl::StartsWith(FaultsOf(std::string(1 << 20, '#')), "FILE:1:1: corps_file is"));
}

TEST_F(SettingsFaultsTest, AFileForOthersEyesOnlyIsToldSo) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may read everything";
  const std::string path = Write(kValid);
  ::chmod(path.c_str(), 0);
  EXPECT_TRUE(absl::IsPermissionDenied(LoadSettings({.file = path}).status()));
}

TEST_F(SettingsFaultsTest, NoMoreThanAHundredFaultsAreTold) {
  std::string yaml = kValid;
  yaml = "corps_file: c\nlog: {data_dir: d}\n";
  for (int i = 0; i < 1000; ++i) absl::StrAppend(&yaml, "x", i, ": 1\n");
  const std::vector<std::string> lines = absl::StrSplit(FaultsOf(yaml), '\n');
  ASSERT_EQ(lines.size(), 101u);
  EXPECT_EQ(lines.back(), "and 900 more");
}

// What a parser may be slow at or fall over: 1 MiB of each. Ten times the slowest is still
// bearable.
TEST_F(SettingsFaultsTest, HugeNonsenseEndsSoonAndHasAPlace) {
  for (const std::string piece :
       {"[", "{", "{a: ", "- ", "? ", "&a ", "*a ", "!!a ", "\"", "%", ":", "a: b\n", "[a,",
        "- a\n", "{}", "\"\\x00", "x:\n ", "---\n"}) {
    SCOPED_TRACE(piece);
    std::string yaml;
    while (yaml.size() < 1 << 18) yaml += piece;
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_TRUE(absl::StartsWith(FaultsOf(yaml), "FILE:"));
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
  }
}

constexpr char kWhole[] = R"(# everything that a file can have
partitions: 16
lanes: 2
corps_file: corps.json
limits_file: 'limits.json'
wecom: {url: "http://127.0.0.1:7700"}
log:
  kind: kafka
  kafka:
    bootstrap_servers: a:9092,b:9092
    replication: 3
    min_insync_replicas: 2
    tls:
      ca_file: ca.pem
listen:
  grpc: 0.0.0.0:7600
  callback: "[::1]:0"
  plaintext_beyond_loopback: false
  tls: {cert_file: c.pem, key_file: k.pem, ca_file: ca.pem}
peers:
  tagging: [a:1, b:2]
  dispatch:
    - "[::1]:7600"
replica: 1/3
callers:
  - identity: spiffe://x/crm
    corps: ["*"]
  - {identity: spiffe://x/shop, corps: [ww1, ww2]}
former_owner:
  policy: same_host
send: false
)";

// Some bytes of `text` changed, some pieces cut, doubled or put in.
std::string Mutated(std::string text, SeededRandom* random) {
  static constexpr const char* kPieces[] = {"[",  "]",  "{",     "}",  ":",    ": ",  "- ", "\n",
                                            "&a", "*a", "!!s",   "'",  "\"",   "|\n", "? ", "%",
                                            "\t", "#",  "---\n", "<<", "\xff", "~",   "9",  ","};
  for (uint64_t edits = 1 + random->Below(3); edits > 0; --edits) {
    const size_t at = random->Below(text.size() + 1);
    const size_t length = random->Below(std::min<size_t>(text.size() - at, 40) + 1);
    switch (random->Below(4)) {
      case 0:
        if (at < text.size()) text[at] = static_cast<char>(random->Below(256));
        break;
      case 1:
        text.erase(at, length);
        break;
      case 2:
        text.insert(random->Below(text.size() + 1), text.substr(at, length));
        break;
      default:
        text.insert(at, kPieces[random->Below(std::size(kPieces))]);
    }
  }
  return text;
}

TEST_F(SettingsFaultsTest, MutatedFilesGiveSettingsOrFaultsWithPlaces) {
  ASSERT_EQ(FaultsOf(kWhole), "settings");
  int sound = 0, broken = 0;
  for (uint64_t seed = 1; seed <= 3000; ++seed) {
    SeededRandom random(seed);
    const std::string yaml = Mutated(kWhole, &random);
    const std::string faults = FaultsOf(yaml);
    ++(faults == "settings" ? sound : broken);
    if (faults == "settings") continue;
    const std::vector<std::string> lines = absl::StrSplit(faults, '\n');
    for (const std::string& line : lines) {
      ASSERT_THAT(line, testing::MatchesRegex("FILE:[1-9][0-9]*:[1-9][0-9]*: .+"))
          << "seed " << seed << "\n"
          << yaml;
    }
  }
  EXPECT_GT(sound, 50);
  EXPECT_GT(broken, 1000);
}

}  // namespace
}  // namespace tidegate::config
