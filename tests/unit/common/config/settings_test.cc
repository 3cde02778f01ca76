// What settings come to: layers, paths, environment, printing and the page. Faults: the file
// beside.
#include "common/config/settings.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/seeded_random.h"
#include "common/config/settings_table.h"

namespace tidegate::config {
namespace {

namespace fs = std::filesystem;
using Pairs = std::vector<std::pair<std::string, std::string>>;

class SettingsTest : public testing::Test {
 protected:
  SettingsTest() {
    std::string pattern = testing::TempDir() + "settings_test.XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
  }
  ~SettingsTest() override { fs::remove_all(folder_); }

  std::string Write(const std::string& text) const {
    const fs::path path = folder_ / "tidegate.yaml";
    std::ofstream(path, std::ios::binary) << text;
    return path.string();
  }
  absl::StatusOr<Settings> Load(const std::string& yaml) const {
    return LoadSettings({.file = Write(yaml)});
  }

  fs::path folder_;
};

TEST_F(SettingsTest, WithTheLeastWrittenAllElseIsDefault) {
  const auto settings = Load("corps_file: /c\nlog: {data_dir: /d}\n");
  ASSERT_TRUE(settings.ok()) << settings.status();
  Settings expected;
  expected.corps_file = "/c";
  expected.log.data_dir = "/d";
  EXPECT_EQ(*settings, expected);
}

TEST_F(SettingsTest, EveryKindOfSettingIsRead) {
  const auto settings = Load(R"(# a comment
partitions: 16
corps_file: "/c"
log:
  kind: kafka
  kafka: {bootstrap_servers: "a:9092,b:9092", topic_prefix: ""}
listen:
  grpc: 0.0.0.0:7600
  tls: {cert_file: /cert, key_file: /key, ca_file: /ca}
  callback_tls:
    # nothing here yet
peers:
  tagging: [tagging-0:7600, "[::1]:7600"]
callers:
  - identity: spiffe://tidegate/crm
    corps: ["*"]
  - {identity: spiffe://tidegate/shop, corps: [ww1, ww2]}
send: false
)");
  ASSERT_TRUE(settings.ok()) << settings.status();
  Settings expected;
  expected.partitions = 16;
  expected.corps_file = "/c";
  expected.log.kind = "kafka";
  expected.log.kafka.bootstrap_servers = "a:9092,b:9092";
  expected.log.kafka.topic_prefix = "";
  expected.listen.grpc = "0.0.0.0:7600";
  expected.listen.tls = {"/cert", "/key", "/ca"};
  expected.peers.tagging = {"tagging-0:7600", "[::1]:7600"};
  expected.callers = {{"spiffe://tidegate/crm", {"*"}}, {"spiffe://tidegate/shop", {"ww1", "ww2"}}};
  expected.send = false;
  EXPECT_EQ(*settings, expected);
}

// Each row says where log.kafka.replication is given, and who wins.
TEST_F(SettingsTest, FlagsWinOverTheEnvironmentOverTheFileOverDefaults) {
  struct {
    const char* file;
    Pairs environment;
    Pairs flags;
    int replication;
  } rows[] = {
      {"", {}, {}, 3},
      {"4", {}, {}, 4},
      {"", {{"TIDEGATE_LOG__KAFKA__REPLICATION", "5"}}, {}, 5},
      {"", {}, {{"log.kafka.replication", "6"}}, 6},
      {"4", {{"TIDEGATE_LOG__KAFKA__REPLICATION", "5"}}, {}, 5},
      {"4", {}, {{"log.kafka.replication", "6"}}, 6},
      {"", {{"TIDEGATE_LOG__KAFKA__REPLICATION", "5"}}, {{"log.kafka.replication", "6"}}, 6},
      {"4", {{"TIDEGATE_LOG__KAFKA__REPLICATION", "5"}}, {{"log.kafka.replication", "6"}}, 6},
      {"4", {}, {{"log.kafka.replication", "6"}, {"log.kafka.replication", "7"}}, 7},
  };
  for (const auto& row : rows) {
    const std::string replication =
        *row.file == '\0' ? "" : absl::StrCat(", kafka: {replication: ", row.file, "}");
    const auto settings = LoadSettings(
        {.file = Write(absl::StrCat("corps_file: c\nlog: {data_dir: d", replication, "}\n")),
         .environment = row.environment,
         .flags = row.flags});
    ASSERT_TRUE(settings.ok()) << settings.status();
    EXPECT_EQ(settings->log.kafka.replication, row.replication);
  }
}

TEST_F(SettingsTest, ALaterLayerReplacesAListAsAWhole) {
  const std::string file =
      Write("corps_file: c\nlog: {data_dir: d}\npeers: {tagging: [a:1, b:1]}\n");
  const auto load = [&](const std::string& value) {
    return LoadSettings({.file = file, .environment = {{"TIDEGATE_PEERS__TAGGING", value}}});
  };
  EXPECT_EQ(load("x:1,y:2,z:3")->peers.tagging, (std::vector<std::string>{"x:1", "y:2", "z:3"}));
  EXPECT_TRUE(load("")->peers.tagging.empty());
}

TEST_F(SettingsTest, PathsAreRelativeToWhereTheyAreWritten) {
  const auto settings =
      LoadSettings({.file = Write("corps_file: ./conf/corps.json\nlimits_file: /etc/limits.json\n"),
                    .environment = {{"TIDEGATE_LOG__DATA_DIR", "data/../d"}},
                    .flags = {{"listen.ports_file", "ports.json"}}});
  ASSERT_TRUE(settings.ok()) << settings.status();
  EXPECT_EQ(settings->corps_file, (folder_ / "conf/corps.json").string());
  EXPECT_EQ(settings->limits_file, "/etc/limits.json");
  EXPECT_EQ(settings->log.data_dir, (fs::current_path() / "data/../d").string());
  EXPECT_EQ(settings->listen.ports_file, (fs::current_path() / "ports.json").string());
}

TEST_F(SettingsTest, AnEmptyPathStaysEmpty) {
  const auto settings =
      LoadSettings({.file = Write("corps_file: c\nlimits_file: x\nlog: {data_dir: d}\n"),
                    .flags = {{"limits_file", ""}}});
  ASSERT_TRUE(settings.ok()) << settings.status();
  EXPECT_EQ(settings->limits_file, "");
}

TEST_F(SettingsTest, OnlyVariablesMeantAsSettingsAreTaken) {
  std::vector<std::string> variables = {
      "PATH=/bin",         "TIDEGATE_SEND=false",       "TIDEGATE_LOG__KIND=kafka=x",
      "TIDEGATE_GRPC=a:1", "TIDEGATE_LOG=debug",        "TIDEGATE_NO__SUCH=1",
      "TIDEGATE_SENDX=1",  "OTHER_TIDEGATE_LOG__KIND=", "TIDEGATE_LOG__DATA_DIR=",
      "TIDEGATE_SEND=true"};
  std::vector<char*> environment;
  for (std::string& variable : variables) environment.push_back(variable.data());
  environment.push_back(nullptr);
  EXPECT_EQ(EnvironmentSettings(environment.data()), (Pairs{{"TIDEGATE_LOG__DATA_DIR", ""},
                                                            {"TIDEGATE_LOG__KIND", "kafka=x"},
                                                            {"TIDEGATE_NO__SUCH", "1"},
                                                            {"TIDEGATE_SEND", "false"}}));
  EXPECT_TRUE(EnvironmentSettings(nullptr).empty());
}

// Random settings that hold together.
class SettingsMaker {
 public:
  explicit SettingsMaker(uint64_t seed) : random_(seed) {}

  Settings Make() {
    Settings s;
    s.partitions = Between(1, 1024);
    s.lanes = Between(1, 256);
    s.corps_file = Path();
    s.limits_file = PathOrNone();
    s.wecom.url = Coin() ? "http://" + Host() : absl::StrCat("https://", Address(), "/base");
    for (int i = Coin() ? s.lanes : 0; i > 0; --i) {
      s.egress.push_back(Coin() ? "any" : absl::StrCat(Coin() ? "fe80::" : "http://proxy:", i));
    }
    s.log.kind = Coin() ? "kafka" : "embedded";
    s.log.data_dir = Path();
    s.log.kafka.bootstrap_servers = absl::StrCat(Address(), ",", Address());
    s.log.kafka.topic_prefix = Coin() ? "" : "null";
    s.log.kafka.replication = Between(1, 7);
    s.log.kafka.min_insync_replicas = Between(1, s.log.kafka.replication);
    s.log.kafka.append_timeout_ms = Between(1000, 900000);
    s.log.kafka.tls = Tls();
    s.listen.grpc = Address();
    s.listen.callback = Address();
    s.listen.admin = Address();
    s.listen.ports_file = PathOrNone();
    s.listen.plaintext_beyond_loopback = true;
    s.listen.tls = Tls();
    s.listen.callback_tls = Tls();
    for (auto* list :
         {&s.peers.ingestion, &s.peers.tagging, &s.peers.segmentation, &s.peers.dispatch}) {
      for (int i = Between(0, 3); i > 0; --i) list->push_back(Address());
    }
    s.peers.settle_ms = Between(1'000, 3'600'000);
    s.peers.tls = Tls();
    const int replicas = Between(1, 1024);
    s.replica = absl::StrCat(Between(0, replicas - 1), "/",
                             Coin() ? absl::StrCat(Between(1, replicas), "-") : "", replicas);
    if (!s.listen.tls.ca_file.empty()) {
      for (int i = Between(0, 3); i > 0; --i) {
        s.callers.push_back({absl::StrCat(i, Text()), {"*"}});
        if (Coin()) s.callers.back().corps = {Text() + "1", Text() + "2"};
      }
    }
    s.former_owner.policy = Coin() ? "same_host" : "unknown";
    s.send = Coin();
    return s;
  }

 private:
  int Between(int low, int high) {
    return low + static_cast<int>(random_.Below(static_cast<uint64_t>(high - low) + 1));
  }
  bool Coin() { return random_.Below(2) == 0; }
  // Made of what YAML might take for something else.
  std::string Text() {
    static constexpr const char* kPieces[] = {
        "a", "\"", "\\", "'", ": ",       " #", "*",   "&",    "?", "\\n", "- ", "{", "]", ", ",
        "~", "!",  "%",  " ", "企业微信", "🌊",  "0x1", "true", "|", ">",   "@",  "`", "<<"};
    std::string text;
    for (int i = Between(0, 6); i > 0; --i) text += kPieces[random_.Below(std::size(kPieces))];
    return text;
  }
  std::string Path() { return "/" + Text(); }
  std::string PathOrNone() { return Coin() ? "" : Path(); }
  std::string Host() { return Coin() ? "10.0.0.1" : "[fe80::1]"; }
  std::string Address() { return absl::StrCat(Host(), ":", Between(1, 65535)); }
  TlsFiles Tls() { return Coin() ? TlsFiles() : TlsFiles{Path(), Path(), PathOrNone()}; }

  SeededRandom random_;
};

TEST_F(SettingsTest, WhatIsPrintedIsReadBackEqual) {
  for (uint64_t seed = 1; seed <= 500; ++seed) {
    const Settings settings = SettingsMaker(seed).Make();
    const std::string printed = PrintSettings(settings);
    const auto read = Load(printed);
    ASSERT_TRUE(read.ok()) << "seed " << seed << ": " << read.status() << "\n" << printed;
    ASSERT_EQ(*read, settings) << "seed " << seed << "\n" << printed;
    ASSERT_EQ(PrintSettings(*read), printed) << "seed " << seed;
  }
}

TEST_F(SettingsTest, PrintsNoPasswordOfAProxy) {
  Settings settings;
  settings.egress = {"http://li:hunter2@proxy:3128*0.5", "10.0.0.5"};
  const std::string printed = PrintSettings(settings);
  EXPECT_TRUE(absl::StrContains(printed, R"(egress: ["http://***@proxy:3128*0.5", "10.0.0.5"])"))
      << printed;
}

TEST_F(SettingsTest, DefaultsArePrintedInTheirSections) {
  EXPECT_TRUE(absl::StartsWith(PrintSettings(Settings()), R"(partitions: 4
lanes: 1
corps_file: ""
limits_file: ""
wecom:
  url: "https://qyapi.weixin.qq.com"
egress: []
log:
  kind: embedded
  data_dir: ""
  kafka:
    bootstrap_servers: ""
    topic_prefix: "tidegate."
    replication: 3
    min_insync_replicas: 2
    append_timeout_ms: 120000
    tls:
      cert_file: ""
      key_file: ""
      ca_file: ""
listen:
  grpc: "127.0.0.1:7600"
)"));
}

// A default outside of its own range could be printed and never read.
TEST_F(SettingsTest, EveryDefaultIsAllowed) {
  const auto read = LoadSettings({.file = Write(PrintSettings(Settings())),
                                  .flags = {{"corps_file", "/c"}, {"log.data_dir", "/d"}}});
  ASSERT_TRUE(read.ok()) << read.status();
}

std::string PageText() {
  std::ifstream in(TIDEGATE_CONFIGURATION_PAGE);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

TEST_F(SettingsTest, ThePageHasTheTable) {
  const std::string page = PageText();
  const std::string begin = "<!-- settings: begin -->\n", end = "<!-- settings: end -->\n";
  const size_t from = page.find(begin), to = page.find(end);
  ASSERT_NE(from, std::string::npos);
  ASSERT_NE(to, std::string::npos);
  EXPECT_EQ(page.substr(from + begin.size(), to - from - begin.size()), DocumentSettings())
      << "write what DocumentSettings() gives between the markers of docs/configuration.md";
}

TEST_F(SettingsTest, TheExamplesOfThePageAreValid) {
  const std::string page = PageText(), begin = "```yaml\n";
  int examples = 0;
  for (size_t at = page.find(begin); at != std::string::npos; at = page.find(begin, at + 1)) {
    const size_t from = at + begin.size();
    const auto settings = Load(page.substr(from, page.find("```", from) - from));
    EXPECT_TRUE(settings.ok()) << settings.status();
    ++examples;
  }
  EXPECT_EQ(examples, 3);
}

}  // namespace
}  // namespace tidegate::config
