// The verb: flags in, files and their names out, exit codes.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "services/tidegate/client/cli.h"
#include "services/tidegate/client/client_clock.h"

namespace tidegate::client {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

class GenerateTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "generate_XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  int Run(const std::vector<std::string>& arguments) {
    out_.str("");
    err_.str("");
    SystemClientClock clock;
    CliEnvironment environment;
    environment.out = &out_;
    environment.err = &err_;
    environment.clock = &clock;
    environment.connect =
        [](const std::string&,
           const rpc::TlsFiles&) -> absl::StatusOr<std::shared_ptr<grpc::Channel>> {
      return grpc::CreateChannel("127.0.0.1:1", grpc::InsecureChannelCredentials());
    };
    return RunCli(arguments, environment);
  }

  std::string Read(const std::string& name) const {
    std::ifstream file(dir_ / name, std::ios::binary);
    return std::string((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  }

  std::filesystem::path dir_;
  std::ostringstream out_;
  std::ostringstream err_;
};

TEST_F(GenerateTest, DashboardsWritesAFilePerBoard) {
  ASSERT_EQ(Run({"generate", "dashboards", "--out", dir_ / "a" / "b", "--output", "json"}), 0)
      << err_.str();
  const boost::json::value told = boost::json::parse(out_.str());
  EXPECT_EQ(told.at("files").as_array().size(), 5u);
  for (const char* name : {"overview", "wecom", "campaigns", "log", "process"}) {
    const std::string text = Read(std::string("a/b/") + name + ".json");
    EXPECT_EQ(boost::json::parse(text).at("uid").as_string(), std::string("tidegate-") + name);
  }
}

TEST_F(GenerateTest, AlertsTakesTheUrlOfTheRunbooks) {
  ASSERT_EQ(Run({"generate", "alerts", "--out", dir_}), 0) << err_.str();
  EXPECT_THAT(Read("alerts.yaml"),
              HasSubstr("https://github.com/tidegate/tidegate/blob/main/docs/runbooks.md#"
                        "tidegatedoubtold"));
  ASSERT_EQ(Run({"generate", "alerts", "--out", dir_, "--runbooks", "https://wiki.example/t"}), 0);
  EXPECT_THAT(Read("alerts.yaml"), HasSubstr("\"https://wiki.example/t#tidegatedoubtold\""));
}

TEST_F(GenerateTest, PrometheusConfigWritesItsRulesToo) {
  ASSERT_EQ(Run({"generate", "prometheus-config", "--out", dir_, "--target", "serve=127.0.0.1:7602",
                 "--target", "dispatch=d:1"}),
            0)
      << err_.str();
  EXPECT_THAT(Read("prometheus.yml"), HasSubstr("service: serve"));
  EXPECT_THAT(Read("prometheus.yml"), HasSubstr("\"d:1\""));
  EXPECT_THAT(Read("alerts.yaml"), HasSubstr("alert: TidegateProcessDown"));
}

TEST_F(GenerateTest, WrongUseEndsWithTwoAndWritesNothing) {
  EXPECT_EQ(Run({"generate", "dashboards"}), 2);
  EXPECT_EQ(Run({"generate", "prometheus-config", "--out", dir_}), 2);
  EXPECT_EQ(Run({"generate", "prometheus-config", "--out", dir_, "--target", "serve"}), 2);
  EXPECT_THAT(err_.str(), HasSubstr("write SERVICE=HOST:PORT"));
  std::ofstream(dir_ / "file") << "x";
  EXPECT_EQ(Run({"generate", "alerts", "--out", dir_ / "file"}), 2);
  EXPECT_EQ(Read("file"), "x");
  EXPECT_THAT(Read("prometheus.yml"), IsEmpty());
}

TEST_F(GenerateTest, HelpShowsExamples) {
  for (const char* verb : {"dashboards", "alerts", "prometheus-config"}) {
    EXPECT_EQ(Run({"generate", verb, "--help"}), 0);
    EXPECT_THAT(out_.str(), HasSubstr(std::string("  tidegate generate ") + verb)) << verb;
  }
}

}  // namespace
}  // namespace tidegate::client
