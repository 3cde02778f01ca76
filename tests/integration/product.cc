#include "tests/integration/product.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <future>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "google/rpc/status.pb.h"

namespace tidegate {
namespace {

namespace json = boost::json;

constexpr auto kBackoff = std::chrono::milliseconds(5);
constexpr char kLimits[] = R"({
  "limits": [{"api": "add_msg_template", "scope": "corp", "amount": 5, "window_ms": 1000,
              "lockout_ms": 1000}],
  "in_flight": [{"api": "add_msg_template", "amount": 3}],
  "http_deadline_ms": 2000,
  "settle": {"user_timeout_ms": 200, "hold_ms": 1000, "list_lag_ms": 200, "skew_ms": 50,
             "factor": 1.5, "list_gap_ms": 100},
  "results": {"first_poll_ms": 200, "poll_ms": 500, "close_after_ms": 3000}})";

void WritePrivate(const std::string& path, const std::string& text) {
  const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  ASSERT_GE(file, 0) << path;
  EXPECT_EQ(write(file, text.data(), text.size()), static_cast<ssize_t>(text.size())) << path;
  close(file);
}

}  // namespace

ErrorDetails DetailsOf(const grpc::Status& status) {
  ErrorDetails found;
  google::rpc::Status details;
  EXPECT_TRUE(details.ParseFromString(status.error_details()));
  EXPECT_EQ(details.code(), static_cast<int>(status.error_code()));
  for (const auto& detail : details.details()) {
    if (google::rpc::ErrorInfo info; detail.UnpackTo(&info)) found.reason = info.reason();
    if (google::rpc::BadRequest bad; detail.UnpackTo(&bad)) {
      for (const auto& violation : bad.field_violations()) {
        found.fields.push_back(violation.field());
        found.descriptions.push_back(violation.description());
      }
    }
  }
  return found;
}

std::string NewRequestId() {
  static int made = 0;
  return absl::StrFormat("%08x-0000-4000-8000-%012x", getpid(), ++made);
}

void ProductTest::SetUp() {
  std::string pattern = absl::StrCat(::testing::TempDir(), "tidegate-test-XXXXXX");
  ASSERT_NE(mkdtemp(pattern.data()), nullptr) << pattern;
  folder_ = pattern;
  WritePrivate(folder_ + "/limits.json", kLimits);
  WritePrivate(folder_ + "/secret", "canary-secret-5d1f");
  WritePrivate(folder_ + "/aes", kAesKey);
  WritePrivate(folder_ + "/corps.json",
               json::serialize(json::object{
                   {"corps", json::array{json::object{
                                 {"corp_id", kCorp},
                                 {"apps", json::array{json::object{{"agent_id", kAgent},
                                                                   {"secret_file", "secret"},
                                                                   {"token", kToken},
                                                                   {"aes_key_file", "aes"}}}}}}}}));

  auto simulator = testing::Process::Spawn(
      {TIDEGATE_SIMULATOR_BINARY, "--seed", "5", "--limits", folder_ + "/limits.json", "--witness",
       folder_ + "/witness.jsonl", "--confirm-mean-ms", "300", "--confirm-never", "0",
       "--distributing-ms", "100", "--address", "127.0.0.1:0", "--ports-file",
       folder_ + "/simulator-ports.json"},
      folder_ + "/simulator.log");
  ASSERT_TRUE(simulator.ok()) << simulator.status();
  simulator_ = *std::move(simulator);
  const auto ports = simulator_->WaitForFile(folder_ + "/simulator-ports.json", kPatience);
  ASSERT_TRUE(ports.ok()) << ports.status();
  wecom_address_ = json::parse(*ports).at("address").as_string().c_str();
  ASSERT_NO_FATAL_FAILURE(StartServer());

  json::array members, customers;
  for (int m = 0; m < kMembers; ++m) members.push_back(json::string(absl::StrCat("m", m)));
  for (int c = 0; c < kCustomers; ++c) {
    customers.push_back(json::object{{"external_userid", absl::StrCat("wm", c)},
                                     {"member", absl::StrCat("m", c % kMembers)}});
  }
  Control("/control/seed", {{"corp_id", kCorp},
                            {"apps", json::array{json::object{{"agent_id", kAgent},
                                                              {"secret", "canary-secret-5d1f"},
                                                              {"token", kToken},
                                                              {"aes_key", kAesKey}}}},
                            {"members", members},
                            {"tags", json::array{"vip"}},
                            {"customers", customers}});
}

void ProductTest::TearDown() {
  server_.reset();
  simulator_.reset();
  if (folder_.empty()) return;
  if (HasFailure()) {
    std::fprintf(stderr, "logs and data are kept in %s\n", folder_.c_str());
  } else {
    std::filesystem::remove_all(folder_);
  }
}

void ProductTest::StartServer() {
  const std::string ports_file = folder_ + "/ports.json";
  std::filesystem::remove(ports_file);
  auto server = testing::Process::Spawn(
      {TIDEGATE_BINARY, "serve", "--data-dir", folder_ + "/data", "--corps-file",
       folder_ + "/corps.json", "--limits", folder_ + "/limits.json", "--wecom-url",
       "http://" + wecom_address_, "--grpc", grpc_address_, "--callback", callback_address_,
       "--admin", admin_address_, "--ports-file", ports_file},
      folder_ + "/tidegate.log");
  ASSERT_TRUE(server.ok()) << server.status();
  server_ = *std::move(server);
  const auto text = server_->WaitForFile(ports_file, kPatience);
  ASSERT_TRUE(text.ok()) << text.status();
  const json::value ports = json::parse(*text);
  ASSERT_EQ(ports.at("pid").as_int64(), server_->pid());
  grpc_address_ = ports.at("grpc").as_string().c_str();
  callback_address_ = ports.at("callback").as_string().c_str();
  admin_address_ = ports.at("admin").as_string().c_str();

  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 20);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 100);
  channel_ =
      grpc::CreateCustomChannel(grpc_address_, grpc::InsecureChannelCredentials(), arguments);
  ingestion_ = ingestion::v1::IngestionService::NewStub(channel_);
  tagging_ = tagging::v1::TaggingService::NewStub(channel_);
  segmentation_ = segmentation::v1::SegmentationService::NewStub(channel_);
  dispatch_ = dispatch::v1::DispatchService::NewStub(channel_);
  quota_ = dispatch::v1::QuotaService::NewStub(channel_);
}

http::HttpResult ProductTest::Http(const std::string& address, const std::string& method,
                                   const std::string& target, const std::string& body) {
  auto client = http::Client::Create({.base_url = "http://" + address});
  EXPECT_TRUE(client.ok()) << client.status();
  std::promise<http::HttpResult> result;
  (*client)->Send({.method = method,
                   .target = target,
                   .content_type = body.empty() ? "" : "text/xml",
                   .body = body,
                   .deadline = kPatience},
                  [&result](http::HttpResult answer) { result.set_value(std::move(answer)); });
  return result.get_future().get();
}

json::object ProductTest::Control(const std::string& path, const json::object& arguments) {
  const http::HttpResult answer = Http(wecom_address_, "POST", path, json::serialize(arguments));
  EXPECT_EQ(answer.http_status, 200) << path << ": " << answer.status << answer.body;
  return answer.http_status == 200 ? json::parse(answer.body).as_object() : json::object{};
}

std::vector<std::string> ProductTest::Reached() const {
  std::vector<std::string> reached;
  std::ifstream witness(folder_ + "/witness.jsonl");
  for (std::string line; std::getline(witness, line);) {
    const json::value entry = json::parse(line);
    if (entry.at("api").as_string() != "add_msg_template") continue;
    if (entry.at("verdict").as_string() != "executed") continue;
    for (const json::value& customer : entry.at("recipients").as_array()) {
      reached.emplace_back(customer.as_string().c_str());
    }
  }
  std::sort(reached.begin(), reached.end());
  return reached;
}

int64_t ProductTest::Count(const std::string& expression) {
  segmentation::v1::CountCustomersRequest request;
  request.set_corp(kCorp);
  request.set_expression(expression);
  segmentation::v1::CountCustomersResponse response;
  const grpc::Status status =
      Call(*segmentation_, &segmentation::v1::SegmentationService::Stub::CountCustomers, request,
           &response);
  EXPECT_TRUE(status.ok()) << expression << ": " << status.error_message();
  return status.ok() ? response.count() : -1;
}

void ProductTest::Eventually(const std::string& what, const std::function<bool()>& condition) {
  const absl::Time deadline = absl::Now() + kPatience;
  while (!condition()) {
    ASSERT_LT(absl::Now(), deadline) << "did not happen in time: " << what;
    std::this_thread::sleep_for(kBackoff);
  }
}

}  // namespace tidegate
