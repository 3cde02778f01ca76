#include "common/log/data_directory.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tidegate::log {
namespace {

using ::testing::HasSubstr;

class DataDirectoryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "tidegate_directory_XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    parent_ = pattern;
    path_ = parent_ + "/data";
  }
  void TearDown() override { std::filesystem::remove_all(parent_); }

  void Write(const std::string& name, const std::string& text) {
    std::filesystem::create_directories(path_);
    std::ofstream(path_ + "/" + name) << text;
  }
  std::string ReadFile(const std::string& name) {
    std::ifstream file(path_ + "/" + name);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }
  bool Exists(const std::string& name) { return std::filesystem::exists(path_ + "/" + name); }
  absl::Status Open(int partitions = 4, int lanes = 1) {
    return DataDirectory::Open(path_, partitions, lanes).status();
  }

  std::string parent_;
  std::string path_;
};

TEST_F(DataDirectoryTest, MakesAPrivateDirectoryWithItsSettings) {
  const auto directory = DataDirectory::Open(path_, 4, 2);
  ASSERT_TRUE(directory.ok()) << directory.status();
  EXPECT_EQ((*directory)->path(), path_);
  EXPECT_EQ((*directory)->settings().partitions, 4);
  EXPECT_EQ((*directory)->settings().lanes, 2);
  EXPECT_EQ(ReadFile("meta.json"), "{\"format\":1,\"partitions\":4,\"lanes\":2}\n");
  struct stat info = {};
  ASSERT_EQ(::stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0700u);
}

TEST_F(DataDirectoryTest, MakesMissingParents) {
  path_ = parent_ + "/a/b/data";
  EXPECT_TRUE(Open().ok());
}

TEST_F(DataDirectoryTest, OpensAgainWithTheSameSettings) {
  ASSERT_TRUE(Open(1024, 64).ok());
  EXPECT_TRUE(Open(1024, 64).ok());
}

TEST_F(DataDirectoryTest, RefusesASecondOwnerAndNamesTheFirst) {
  const auto first = DataDirectory::Open(path_, 4, 1);
  ASSERT_TRUE(first.ok()) << first.status();
  const absl::Status second = Open();
  EXPECT_EQ(second.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(second.message(), absl::StrCat("another process (pid ", ::getpid(), ") uses ", path_,
                                           "; stop it or choose another --data-dir"));
}

TEST_F(DataDirectoryTest, LetsTheNextOwnerInAfterTheFirst) {
  {
    const auto first = DataDirectory::Open(path_, 4, 1);
    ASSERT_TRUE(first.ok()) << first.status();
  }
  EXPECT_TRUE(Open().ok());
}

TEST_F(DataDirectoryTest, RefusesAnotherNumberOfPartitionsOrLanes) {
  ASSERT_TRUE(Open(4, 1).ok());
  const absl::Status partitions = Open(8, 1);
  EXPECT_EQ(partitions.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(partitions.message()),
              HasSubstr("partitions is 8 but the data directory was made with partitions 4"));
  const absl::Status lanes = Open(4, 3);
  EXPECT_EQ(lanes.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(lanes.message()),
              HasSubstr("lanes is 3 but the data directory was made with lanes 1"));
}

TEST_F(DataDirectoryTest, RefusesSettingsOutOfRangeAndMakesNothing) {
  struct Row {
    int partitions;
    int lanes;
  };
  for (const Row row : {Row{0, 1}, Row{-1, 1}, Row{1025, 1}, Row{4, 0}, Row{4, 65}}) {
    EXPECT_EQ(Open(row.partitions, row.lanes).code(), absl::StatusCode::kInvalidArgument)
        << row.partitions << " " << row.lanes;
  }
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(DataDirectoryTest, RefusesAForeignDirectoryAndLeavesItAlone) {
  Write("photo.jpg", "x");
  const absl::Status status = Open();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("not a Tidegate data directory"));
  EXPECT_FALSE(Exists("LOCK"));
  EXPECT_FALSE(Exists("meta.json"));
}

TEST_F(DataDirectoryTest, RefusesAFile) {
  std::ofstream(path_) << "x";
  EXPECT_EQ(Open().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(DataDirectoryTest, TakesAFreshVolume) {
  std::filesystem::create_directories(path_ + "/lost+found");
  EXPECT_TRUE(Open().ok());
}

TEST_F(DataDirectoryTest, FinishesADirectoryThatACrashLeftHalfMade) {
  Write("LOCK", "12345678\n");
  Write("meta.json.new", "{\"form");
  EXPECT_TRUE(Open().ok());
  EXPECT_FALSE(Exists("meta.json.new"));
  EXPECT_EQ(ReadFile("meta.json"), "{\"format\":1,\"partitions\":4,\"lanes\":1}\n");
}

TEST_F(DataDirectoryTest, RefusesANewerFormat) {
  Write("meta.json", R"({"format":2,"shards":"many"})");
  const absl::Status status = Open();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("newer version: format 2"));
}

TEST_F(DataDirectoryTest, ReportsADamagedMetaFile) {
  for (const char* text :
       {"", "{", "[]", "{}", R"({"format":0,"partitions":4,"lanes":1})",
        R"({"format":"1","partitions":4,"lanes":1})", R"({"format":1,"lanes":1})",
        R"({"format":1,"partitions":4.5,"lanes":1})", R"({"format":1,"partitions":4})",
        R"({"format":1,"partitions":4294967300,"lanes":1})",
        R"({"format":1,"partitions":9999,"lanes":1})"}) {
    Write("meta.json", text);
    EXPECT_EQ(Open().code(), absl::StatusCode::kDataLoss) << text;
    EXPECT_EQ(ReadFile("meta.json"), text);
  }
}

TEST_F(DataDirectoryTest, ReadsSettingsBesideARunningOwner) {
  EXPECT_EQ(DataDirectory::ReadSettings(path_).status().code(), absl::StatusCode::kNotFound);
  const auto owner = DataDirectory::Open(path_, 16, 3);
  ASSERT_TRUE(owner.ok()) << owner.status();
  const auto settings = DataDirectory::ReadSettings(path_);
  ASSERT_TRUE(settings.ok()) << settings.status();
  EXPECT_EQ(settings->partitions, 16);
  EXPECT_EQ(settings->lanes, 3);
}

}  // namespace
}  // namespace tidegate::log
