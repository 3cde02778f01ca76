#include "common/config/corps.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/partitioner.h"

namespace tidegate::config {
namespace {

namespace fs = std::filesystem;

constexpr uint32_t kLanes = 4;
constexpr auto kPrivate = fs::perms::owner_read | fs::perms::owner_write;

class CorpsTest : public testing::Test {
 protected:
  CorpsTest() {
    std::string pattern = testing::TempDir() + "corps_test.XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
  }
  ~CorpsTest() override { fs::remove_all(folder_); }

  std::string Write(const std::string& name, const std::string& text,
                    fs::perms mode = kPrivate) const {
    const fs::path path = folder_ / name;
    std::ofstream(path, std::ios::binary) << text;
    fs::permissions(path, mode);
    return path.string();
  }
  absl::StatusOr<Corps> Load(const std::string& text) const {
    return LoadCorps(Write("corps.json", text), kLanes);
  }

  fs::path folder_;
};

std::string App(const std::string& agent_id) {
  return absl::StrCat(R"({"agent_id":")", agent_id,
                      R"(","secret_file":"secret","token":"tok","aes_key_file":"/abs/key"})");
}

std::string OneCorp(const std::string& apps) {
  return absl::StrCat(R"({"corps":[{"corp_id":"ww1","apps":)", apps, "}]}");
}

TEST_F(CorpsTest, LoadsCorpsAndTheirApps) {
  const auto corps =
      Load(absl::StrCat(R"({"corps":[{"corp_id":"ww1","apps":[)", App("1"), ",", App("2"),
                        R"(]},{"corp_id":"ww2","apps":[)", App("1"), "]}]}"));
  ASSERT_TRUE(corps.ok()) << corps.status();
  ASSERT_EQ(corps->corps.size(), 2u);
  const Corp* first = corps->Find("ww1");
  ASSERT_NE(first, nullptr);
  ASSERT_EQ(first->apps.size(), 2u);
  EXPECT_EQ(first->apps[0].agent_id, "1");
  EXPECT_EQ(first->apps[1].agent_id, "2");
  EXPECT_EQ(first->apps[0].token, "tok");
  EXPECT_NE(corps->Find("ww2"), nullptr);
  EXPECT_EQ(corps->Find("ww3"), nullptr);
  EXPECT_EQ(corps->Find(""), nullptr);
}

TEST_F(CorpsTest, ACorpIsInTheLaneOfItsEntryElseInThatOfItsHash) {
  const auto corps = Load(absl::StrCat(R"({"corps":[{"corp_id":"ww1","lane":1,"apps":[)", App("1"),
                                       R"(]},{"corp_id":"ww2","apps":[)", App("1"), "]}]}"));
  ASSERT_TRUE(corps.ok()) << corps.status();
  const LaneMap lanes = corps->Lanes(kLanes);
  ASSERT_NE(PartitionOf("ww1", kLanes), 1u) << "the entry would not be seen";
  EXPECT_EQ(lanes.Of("ww1"), 1u);
  EXPECT_EQ(lanes.ToRecord("ww1"), 1u);
  for (const char* by_hash : {"ww2", "unknown"}) {
    EXPECT_EQ(lanes.Of(by_hash), PartitionOf(by_hash, kLanes)) << by_hash;
    EXPECT_EQ(lanes.ToRecord(by_hash), std::nullopt) << by_hash;
  }
  // What was recorded before stays where it went.
  EXPECT_EQ(lanes.OfRecord(2, "ww1"), 2u);
  EXPECT_EQ(lanes.OfRecord(std::nullopt, "ww1"), PartitionOf("ww1", kLanes));
}

TEST_F(CorpsTest, ResolvesPathsFromTheFilesFolder) {
  const auto corps = Load(OneCorp("[" + App("1") + "]"));
  ASSERT_TRUE(corps.ok()) << corps.status();
  EXPECT_EQ(corps->corps[0].apps[0].secret_file, (folder_ / "secret").string());
  EXPECT_EQ(corps->corps[0].apps[0].aes_key_file, "/abs/key");
}

TEST_F(CorpsTest, NamesThePlaceOfEveryFault) {
  struct Case {
    std::string text;
    const char* place;  // in the message
  };
  const std::string app = App("1");
  for (const Case& bad : {
           Case{"", "not a JSON object"},
           Case{"{", "not a JSON object"},
           Case{"[]", "not a JSON object"},
           Case{R"({"corps":[]} x)", "not a JSON object"},
           Case{"{}", "corps: write an array"},
           Case{R"({"corps":[]})", "corps: write an array with at least one entry"},
           Case{R"({"corps":{}})", "corps: write an array"},
           Case{R"({"corps":[],"limits":1})", "top level: unknown key \"limits\""},
           Case{R"({"corps":[1]})", "corps[0]: write an object"},
           Case{R"({"corps":[{}]})", "corps[0].corp_id: write a non-empty string"},
           Case{R"({"corps":[{"corp_id":"","apps":[]}]})", "corps[0].corp_id: "},
           Case{R"({"corps":[{"corp_id":1,"apps":[]}]})", "corps[0].corp_id: "},
           Case{R"({"corps":[{"corp_id":"ww1"}]})", "corps[0].apps: write an array"},
           Case{OneCorp("[]"), "corps[0].apps: write an array with at least one entry"},
           Case{OneCorp(app), "corps[0].apps: write an array"},
           Case{OneCorp("[" + app + ",7]"), "corps[0].apps[1]: write an object"},
           Case{R"({"corps":[{"corp_id":"ww1","lane":4}]})",
                "corps[0].lane is 4; write a whole number from 0 to 3, since the setting lanes"},
           Case{R"({"corps":[{"corp_id":"ww1","lane":-1}]})", "corps[0].lane is -1; write"},
           Case{R"({"corps":[{"corp_id":"ww1","lane":"1"}]})", "corps[0].lane is \"1\"; write"},
           Case{R"({"corps":[{"corp_id":"ww1","lane":1.5}]})", "corps[0].lane is "},
           Case{absl::StrCat(R"({"corps":[{"corp_id":"ww1","app":[]}]})"),
                "corps[0]: unknown key \"app\""},
           Case{absl::StrCat(R"({"corps":[{"corp_id":"ww1","apps":[)", app,
                             R"(]},{"corp_id":"ww1","apps":[)", app, "]}]}"),
                "corps[1].corp_id: stands twice"},
           Case{OneCorp("[" + app + "," + app + "]"), "corps[0].apps[1].agent_id: stands twice"},
           Case{OneCorp(R"([{"agent_id":"1","secret":"s"}])"),
                "corps[0].apps[0]: unknown key \"secret\""},
           Case{OneCorp(R"([{"secret_file":"s","token":"t","aes_key_file":"k"}])"),
                "corps[0].apps[0].agent_id: write"},
           Case{OneCorp(
                    R"([{"agent_id":1000002,"secret_file":"s","token":"t","aes_key_file":"k"}])"),
                "corps[0].apps[0].agent_id: write"},
           Case{OneCorp(R"([{"agent_id":"1","token":"t","aes_key_file":"k"}])"),
                "corps[0].apps[0].secret_file: write"},
           Case{OneCorp(R"([{"agent_id":"1","secret_file":"s","aes_key_file":"k"}])"),
                "corps[0].apps[0].token: write"},
           Case{OneCorp(R"([{"agent_id":"1","secret_file":"s","token":"t","aes_key_file":""}])"),
                "corps[0].apps[0].aes_key_file: write"},
       }) {
    const auto corps = Load(bad.text);
    EXPECT_TRUE(absl::IsInvalidArgument(corps.status())) << bad.text << ": " << corps.status();
    EXPECT_TRUE(absl::StrContains(corps.status().message(), bad.place))
        << bad.text << ": " << corps.status();
    EXPECT_TRUE(absl::StrContains(corps.status().message(), "corps.json: "))
        << "names the file: " << corps.status();
  }
}

TEST_F(CorpsTest, SaysThatTheFileIsMissing) {
  const auto corps = LoadCorps((folder_ / "missing.json").string(), kLanes);
  EXPECT_TRUE(absl::IsNotFound(corps.status())) << corps.status();
  EXPECT_TRUE(absl::StrContains(corps.status().message(), "missing.json")) << corps.status();
}

TEST_F(CorpsTest, RefusesFilesThatOthersMayRead) {
  for (const int mode : {0644, 0640, 0604, 0620, 0601, 0666}) {
    const std::string path =
        Write("corps.json", OneCorp("[" + App("1") + "]"), static_cast<fs::perms>(mode));
    const auto corps = LoadCorps(path, kLanes);
    EXPECT_TRUE(absl::IsPermissionDenied(corps.status())) << mode << ": " << corps.status();
    EXPECT_TRUE(absl::StrContains(corps.status().message(), "chmod 600 " + path)) << corps.status();
    const auto secret = ReadSecretFile(Write("secret", "s\n", static_cast<fs::perms>(mode)));
    EXPECT_TRUE(absl::IsPermissionDenied(secret.status())) << mode << ": " << secret.status();
  }
  EXPECT_TRUE(
      LoadCorps(Write("corps.json", OneCorp("[" + App("1") + "]"), fs::perms::owner_read), kLanes)
          .ok());
}

TEST_F(CorpsTest, ReadsTheFirstLineOfASecretFile) {
  struct Case {
    const char* text;
    const char* secret;
  };
  for (const Case& file : {Case{"s3cret", "s3cret"}, Case{"s3cret\n", "s3cret"},
                           Case{"s3cret\r\n", "s3cret"}, Case{"s3cret\nmore\n", "s3cret"}}) {
    const auto secret = ReadSecretFile(Write("secret", file.text));
    ASSERT_TRUE(secret.ok()) << secret.status();
    EXPECT_EQ(*secret, file.secret);
  }
}

TEST_F(CorpsTest, RefusesEmptyOrMissingSecretFiles) {
  for (const char* text : {"", "\n", "\r\n", "\nlater\n"}) {
    const auto secret = ReadSecretFile(Write("secret", text));
    EXPECT_TRUE(absl::IsInvalidArgument(secret.status())) << secret.status();
    EXPECT_TRUE(absl::StrContains(secret.status().message(), "secret is empty")) << secret.status();
  }
  EXPECT_TRUE(absl::IsNotFound(ReadSecretFile((folder_ / "none").string()).status()));
}

}  // namespace
}  // namespace tidegate::config
