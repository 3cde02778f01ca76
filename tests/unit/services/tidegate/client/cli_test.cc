// The whole client against a server in this process: flags in, standard output, errors and exit
// code out.
#include "services/tidegate/client/cli.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/civil_day.h"
#include "tests/unit/services/tidegate/client/fakes.h"

namespace tidegate::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

class CliTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "cli_XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  int Run(const std::vector<std::string>& arguments) {
    out_.str("");
    err_.str("");
    CliEnvironment environment;
    environment.out = &out_;
    environment.err = &err_;
    environment.clock = &clock_;
    environment.connect =
        [this](const std::string& address,
               const rpc::TlsFiles&) -> absl::StatusOr<std::shared_ptr<grpc::Channel>> {
      address_ = address;
      return server_.Connect();
    };
    environment.serve = [this](const ServeOptions& options) {
      served_ = options;
      return absl::FailedPreconditionError("port taken");
    };
    return RunCli(arguments, environment);
  }

  boost::json::value Json() const { return boost::json::parse(out_.str()); }

  std::string File(const std::string& name, const std::string& text) {
    std::ofstream(dir_ / name, std::ios::binary) << text;
    return dir_ / name;
  }

  // The lines of the client log as "op ids result".
  std::vector<std::string> LogLines() const {
    std::vector<std::string> lines;
    std::ifstream file(dir_ / "client.jsonl");
    for (std::string line; std::getline(file, line);) {
      const boost::json::value json = boost::json::parse(line);
      lines.push_back(absl::StrCat(json.at("op").as_string().c_str(), " ",
                                   boost::json::serialize(json.at("ids")), " ",
                                   json.at("result").as_string().c_str()));
    }
    return lines;
  }

  FakeClock clock_;
  FakeServer server_;
  std::ostringstream out_;
  std::ostringstream err_;
  std::filesystem::path dir_;
  std::string address_;
  ServeOptions served_;
};

TEST_F(CliTest, HelpListsEveryNoun) {
  EXPECT_EQ(Run({"--help"}), 0);
  for (const char* noun : {"serve", "import", "channel", "rule", "segment", "campaign", "quota",
                           "doubt", "writeback", "journal", "generate", "version"}) {
    EXPECT_THAT(out_.str(), HasSubstr(absl::StrCat("\n  ", noun, " "))) << noun;
  }
  EXPECT_THAT(err_.str(), IsEmpty());
}

TEST_F(CliTest, EveryVerbsHelpHasAnExampleOfIt) {
  for (const char* verb : {"serve",           "import purchases", "import customers",
                           "channel add",     "channel list",     "rule add",
                           "rule list",       "segment count",    "segment contains",
                           "campaign create", "campaign plan",    "campaign explain",
                           "campaign launch", "campaign pause",   "campaign resume",
                           "campaign report", "campaign watch",   "campaign list",
                           "quota list",      "quota watch",      "quota acquire",
                           "quota release",   "quota limits set", "quota limits show",
                           "doubt list",      "writeback status", "journal export",
                           "version"}) {
    std::vector<std::string> arguments = absl::StrSplit(verb, ' ');
    arguments.push_back("--help");
    EXPECT_EQ(Run(arguments), 0) << verb;
    EXPECT_THAT(out_.str(), HasSubstr(absl::StrCat("  tidegate ", verb))) << verb;
  }
}

TEST_F(CliTest, WrongUsageIsTwoAndOnStandardError) {
  const std::vector<std::vector<std::string>> rows = {
      {},
      {"segment"},
      {"sgement", "count"},
      {"segment", "count", "all"},
      {"segment", "count", "all", "--corp", "ww1", "--output", "yaml"},
      {"segment", "count", "all", "--corp", "ww1", "--timeout", "0"},
      {"segment", "count", "all", "--corp", "ww1", "--no-such-flag"},
      {"import", "purchases", "f", "--corp", "ww1", "--format", "cdnow", "--shift-days", "1",
       "--shift-to-today"},
      {"campaign", "create", "--corp", "ww1", "--id", "spring"},
  };
  for (const auto& row : rows) {
    EXPECT_EQ(Run(row), 2) << ::testing::PrintToString(row);
    EXPECT_THAT(out_.str(), IsEmpty());
    EXPECT_THAT(err_.str(), Not(IsEmpty()));
  }
}

TEST_F(CliTest, CountsASegmentWithGlobalFlagsOnEitherSide) {
  EXPECT_EQ(Run({"--output", "json", "segment", "count", "orders.count >= 3", "--corp", "ww1",
                 "--as-of", "2026-11-01", "--grpc", "10.0.0.1:1"}),
            0);
  const boost::json::object json = Json().as_object();
  EXPECT_EQ(json.at("expression").as_string(), "orders.count >= 3");
  EXPECT_EQ(json.at("canonical").as_string(), "canonical");
  EXPECT_EQ(json.at("count").as_int64(), 7583);
  EXPECT_EQ(json.at("universe").as_int64(), 23570);
  EXPECT_TRUE(json.at("took_ms").is_double());
  EXPECT_EQ(json.size(), 5u);
  EXPECT_EQ(address_, "10.0.0.1:1");
  EXPECT_EQ(server_.counts().at(0).as_of_day(), "2026-11-01");

  EXPECT_EQ(Run({"segment", "count", "all", "--corp", "ww1"}), 0);
  EXPECT_THAT(out_.str(), HasSubstr("customers        7583\n"));
}

TEST_F(CliTest, GivesTheExitCodeOfTheServersStatus) {
  const std::vector<std::pair<grpc::StatusCode, int>> rows = {
      {grpc::StatusCode::INVALID_ARGUMENT, 2},
      {grpc::StatusCode::NOT_FOUND, 3},
      {grpc::StatusCode::ABORTED, 4},
      {grpc::StatusCode::PERMISSION_DENIED, 5},
      {grpc::StatusCode::RESOURCE_EXHAUSTED, 6},
      {grpc::StatusCode::UNAVAILABLE, 7},
      {grpc::StatusCode::DEADLINE_EXCEEDED, 8},
      {grpc::StatusCode::INTERNAL, 1}};
  server_.on_count = [&](size_t nth) { return grpc::Status(rows[nth - 1].first, "because"); };
  for (const auto& [code, exit_code] : rows) {
    EXPECT_EQ(Run({"segment", "count", "all", "--corp", "ww1"}), exit_code);
    EXPECT_THAT(out_.str(), IsEmpty());
    EXPECT_THAT(err_.str(), HasSubstr(": because\n"));
  }
}

TEST_F(CliTest, DrawsASyntaxErrorWithItsCaret) {
  server_.on_count = [](size_t) {
    return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT,
                        "orders.count >\n              ^ 1:15 SYNTAX: expected a number");
  };
  EXPECT_EQ(Run({"segment", "count", "orders.count >", "--corp", "ww1"}), 2);
  EXPECT_EQ(err_.str(),
            "tidegate: invalid argument:\n"
            "  orders.count >\n"
            "                ^ 1:15 SYNTAX: expected a number\n");
}

TEST_F(CliTest, WaitsForAnUnavailableServerAsLongAsTold) {
  server_.on_count = [](size_t) { return grpc::Status(grpc::StatusCode::UNAVAILABLE, "down"); };
  EXPECT_EQ(Run({"segment", "count", "all", "--corp", "ww1", "--wait", "3"}), 7);
  // After 0, 50, 150, 350, 750, 1,550, 2,550 and 3,000 ms.
  EXPECT_EQ(server_.counts().size(), 8u);
  EXPECT_EQ(clock_.Read().raw_ns, 3 * kNanosPerSecond);
}

TEST_F(CliTest, AMutationIsRepeatedUnderOneRequestIdAndLogged) {
  server_.on_create = [](size_t nth, const auto&) {
    return nth == 1 ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "killed") : grpc::Status::OK;
  };
  EXPECT_EQ(Run({"campaign", "create", "--corp", "ww1", "--id", "spring", "--audience", "all",
                 "--variant", "Hi|https://x.example|X", "--variant", "[Yo]|https://x.example|[Y]",
                 "--wait", "1", "--client-log", dir_ / "client.jsonl", "--output", "json"}),
            0)
      << err_.str();
  const auto creates = server_.creates();
  ASSERT_EQ(creates.size(), 2u);
  EXPECT_EQ(creates[0].request_id().size(), 36u);
  EXPECT_EQ(creates[0].request_id(), creates[1].request_id());
  ASSERT_EQ(creates[0].campaign().variants_size(), 2);
  EXPECT_EQ(creates[0].campaign().variants(1).text(), "[Yo]");
  EXPECT_EQ(Json().at("campaign").at("spec").at("campaign_id").as_string(), "spring");
  EXPECT_THAT(LogLines(),
              ElementsAre("create_campaign [\"spring\"] info", "create_campaign [\"spring\"] ok"));
}

TEST_F(CliTest, ACallThatAStoppingServerCancelledIsRepeated) {
  server_.on_count = [](size_t nth) {
    return nth == 1 ? grpc::Status(grpc::StatusCode::CANCELLED, "CANCELLED") : grpc::Status::OK;
  };
  EXPECT_EQ(Run({"segment", "count", "all", "--corp", "ww1", "--wait", "1"}), 0) << err_.str();
  EXPECT_EQ(server_.counts().size(), 2u);
}

TEST_F(CliTest, ARefusedMutationIsLoggedAsFail) {
  server_.on_create = [](size_t, const auto&) {
    return grpc::Status(grpc::StatusCode::ALREADY_EXISTS, "there is a spring");
  };
  const std::string file =
      File("spring.json", R"({"campaign_id": "spring", "audience": "all", "variants": []})");
  EXPECT_EQ(Run({"campaign", "create", "--corp", "ww1", "-f", file, "--request-id",
                 "5b0f3c1e-0000-4000-8000-000000000000", "--client-log", dir_ / "client.jsonl"}),
            4);
  EXPECT_EQ(server_.creates().at(0).request_id(), "5b0f3c1e-0000-4000-8000-000000000000");
  EXPECT_THAT(LogLines(), ElementsAre("create_campaign [\"spring\"] fail"));
}

TEST_F(CliTest, AddsARuleWithSeveralTags) {
  EXPECT_EQ(
      Run({"rule", "add", "--corp", "ww1", "--id", "vip", "--when", "orders.sum >= 500.00", "--on",
           "order_paid", "--tag", "vip", "big", "--untag", "small", "--output", "json"}),
      0);
  const auto rule = server_.rules().at(0).rule();
  EXPECT_THAT(std::vector<std::string>(rule.tags().begin(), rule.tags().end()),
              ElementsAre("vip", "big"));
  EXPECT_EQ(rule.untags(0), "small");
  EXPECT_EQ(rule.event_kind(), "order_paid");
  EXPECT_EQ(Json().at("corp_revision").as_int64(), 7);
}

TEST_F(CliTest, ListsEveryPage) {
  EXPECT_EQ(Run({"campaign", "list", "--corp", "ww1", "--output", "json"}), 0);
  const boost::json::array campaigns = Json().at("campaigns").as_array();
  ASSERT_EQ(campaigns.size(), 2u);
  EXPECT_EQ(campaigns[1].at("spec").at("campaign_id").as_string(), "second");
}

TEST_F(CliTest, WatchGoesOnAcrossARestartAndPrintsTheFinalReport) {
  tidegate::dispatch::v1::Campaign running;
  running.set_state(tidegate::dispatch::v1::CAMPAIGN_STATE_RUNNING);
  tidegate::dispatch::v1::Campaign completed;
  completed.set_state(tidegate::dispatch::v1::CAMPAIGN_STATE_COMPLETED);
  completed.set_touches_sent(9);
  server_.watches = {{{running}, {grpc::StatusCode::UNAVAILABLE, "restart"}},
                     {{running}, grpc::Status::OK},
                     {{running, completed}, grpc::Status::OK}};
  EXPECT_EQ(Run({"campaign", "watch", "--corp", "ww1", "--id", "spring", "--wait", "5", "--output",
                 "json"}),
            0);
  EXPECT_EQ(Json().at("touches_sent").as_int64(), 9);
}

TEST_F(CliTest, WatchWithoutWaitEndsWithTheServer) {
  server_.watches = {{{}, {grpc::StatusCode::UNAVAILABLE, "restart"}}};
  EXPECT_EQ(Run({"campaign", "watch", "--corp", "ww1", "--id", "spring"}), 7);
  EXPECT_THAT(out_.str(), IsEmpty());
}

constexpr char kCdnow[] =
    "customer_id date number_of_cds dollar_value\r\n"
    " 00001 19970101 1 11.77\r\n"
    " 00002 19970230 1 5.00\r\n"
    " 00002 19970131 1 5.00\r\n"
    " 00003 19970201 1 7.50\r\n";

TEST_F(CliTest, ImportShiftsToTodayByTheLastImportedDate) {
  EXPECT_EQ(Run({"import", "purchases", File("cdnow.txt", kCdnow), "--corp", "ww1", "--format",
                 "cdnow", "--until", "1997-01-31", "--shift-to-today", "--output", "json"}),
            1);
  const boost::json::object json = Json().as_object();
  EXPECT_EQ(json.at("rows").as_int64(), 4);
  EXPECT_EQ(json.at("published").as_int64(), 2);
  EXPECT_EQ(json.at("skipped_until").as_int64(), 1);
  EXPECT_EQ(json.at("failed").as_int64(), 1);
  EXPECT_EQ(json.at("errors").as_array().size(), 1u);
  EXPECT_EQ(json.at("errors").at(0).at("row").as_int64(), 2);
  EXPECT_EQ(json.at("errors").at(0).at("field").as_string(), "date");
  EXPECT_TRUE(json.contains("seconds") && json.contains("events_per_second"));
  EXPECT_EQ(err_.str(),
            "row 2: date: \"19970230\" is not a date; write YYYYMMDD, as in 19970131\n"
            "tidegate: 1 of 4 rows failed\n");

  const auto publishes = server_.publishes();
  ASSERT_EQ(publishes.size(), 1u);
  EXPECT_EQ(publishes[0].source(), "cdnow");
  const auto& last = publishes[0].events(1);
  EXPECT_EQ(last.customer(), "wm000000000000000000000000000002");
  EXPECT_EQ(last.order_paid().order_id(), "3");
  EXPECT_EQ(last.order_paid().amount().amount_fen(), 500);
  EXPECT_EQ(last.event_time().seconds(), StartOfCivilDay(ParseCivilDay("2026-11-24").value()));
}

TEST_F(CliTest, ImportingAgainUsesEqualIdsAndACorrectedRowAnotherOne) {
  const std::string header = "customer,order_id,paid_time,amount\n";
  const std::vector<std::string> import = {"import", "purchases", dir_ / "orders.csv",
                                           "--corp", "ww1",       "--format",
                                           "csv",    "--source",  "shop"};
  for (const char* amount : {"3.00", "3.00", "4.00"}) {
    File("orders.csv", absl::StrCat(header, "wm1,o1,2026-01-01,", amount, "\n"));
    EXPECT_EQ(Run(import), 0) << err_.str();
  }
  const auto publishes = server_.publishes();
  ASSERT_EQ(publishes.size(), 3u);
  const std::string& first = publishes[0].events(0).event_id();
  EXPECT_EQ(publishes[1].events(0).event_id(), first);
  EXPECT_NE(publishes[2].events(0).event_id(), first);
  EXPECT_EQ(publishes[2].events(0).order_paid().order_id(), "o1");
}

TEST_F(CliTest, ImportsCustomersWithTheirOwners) {
  const std::string file = File("customers.csv", "owner,external_userid\nm1,wm1\n,wm2\nm2,wm3\n");
  EXPECT_EQ(
      Run({"import", "customers", file, "--corp", "ww1", "--client-log", dir_ / "client.jsonl"}),
      1);
  EXPECT_THAT(err_.str(), HasSubstr("row 2: owner: is empty\n"));
  const auto publishes = server_.publishes();
  ASSERT_EQ(publishes.size(), 1u);
  EXPECT_EQ(publishes[0].source(), "customers");
  EXPECT_EQ(publishes[0].events(0).event_id(), "customer:wm1:m1");
  EXPECT_EQ(publishes[0].events(0).customer_imported().owner(), "m1");
  EXPECT_THAT(LogLines(),
              ElementsAre("publish_events [\"customer:wm1:m1\",\"customer:wm3:m2\"] ok"));
}

TEST_F(CliTest, ImportRefusesWhatIsNoSuchFile) {
  const std::string directory = dir_;
  const std::string empty = File("empty", "");
  const std::string extra = File("extra.csv", "external_userid,owner,phone\n");
  for (const std::string& file : {directory, empty, directory + "/none"}) {
    EXPECT_EQ(Run({"import", "purchases", file, "--corp", "ww1", "--format", "cdnow"}), 2) << file;
    EXPECT_THAT(err_.str(), HasSubstr(file));
  }
  EXPECT_EQ(Run({"import", "customers", extra, "--corp", "ww1"}), 2);
  EXPECT_THAT(err_.str(), HasSubstr("unknown column \"phone\""));
  EXPECT_THAT(server_.publishes(), IsEmpty());
}

TEST_F(CliTest, ServeIsHandedItsOptions) {
  EXPECT_EQ(Run({"serve", "--config", "c.yaml", "--set", "lanes=3", "--data-dir", "d", "--grpc",
                 "127.0.0.1:0", "--check-config"}),
            4);
  EXPECT_EQ(served_.config_file, "c.yaml");
  EXPECT_THAT(served_.set, ElementsAre("lanes=3"));
  EXPECT_THAT(served_.named,
              UnorderedElementsAre(Pair("log.data_dir", "d"), Pair("listen.grpc", "127.0.0.1:0")));
  EXPECT_TRUE(served_.check_config);
}

TEST_F(CliTest, ServicesMayBeApart) {
  EXPECT_EQ(Run({"segment", "count", "all", "--corp", "ww1", "--grpc",
                 "dispatch=127.0.0.1:1,segmentation=127.0.0.1:2,segmentation=127.0.0.1:3"}),
            0);
  EXPECT_EQ(address_, "ipv4:127.0.0.1:2,127.0.0.1:3");
  EXPECT_EQ(Run({"segment", "count", "all", "--corp", "ww1", "--grpc", "segments=127.0.0.1:2"}), 2);
  EXPECT_THAT(err_.str(), HasSubstr("\"segments=127.0.0.1:2\" is no server"));
  EXPECT_EQ(Run({"segment", "count", "all", "--corp", "ww1", "--grpc",
                 "segmentation=127.0.0.1:2,segmentation=two.example:3"}),
            2);
  EXPECT_THAT(err_.str(), HasSubstr("\"two.example:3\" is one of several servers"));
  EXPECT_THAT(err_.str(), HasSubstr("IPv4:PORT"));
}

TEST_F(CliTest, VersionNamesItsLibraries) {
  EXPECT_EQ(Run({"version", "--output", "json"}), 0);
  EXPECT_THAT(std::string(Json().at("grpc").as_string()), HasSubstr("."));
  EXPECT_TRUE(Json().as_object().contains("git"));
}

TEST_F(CliTest, AClientLogThatCannotBeWrittenIsToldBeforeAnyCall) {
  EXPECT_EQ(Run({"rule", "add", "--corp", "ww1", "--id", "a", "--when", "all", "--tag", "t",
                 "--client-log", "/no/such/dir/log"}),
            2);
  EXPECT_THAT(err_.str(), HasSubstr("/no/such/dir/log"));
  EXPECT_THAT(server_.rules(), IsEmpty());
}

}  // namespace
}  // namespace tidegate::client
