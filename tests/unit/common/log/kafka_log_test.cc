// The conformance suite, and what is Kafka's own, against a real broker. Run through
// tests/kafka/with_cluster.py, which starts it and tells where it is.
#include "common/log/kafka_log.h"

#include <signal.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/hash.h"
#include "common/log/kafka_topics.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/common/log/log_conformance.h"

namespace tidegate::log {
namespace {

using ::testing::HasSubstr;

constexpr TopicPartition kAt = {Topic::kLedger, 0};

std::string Bootstrap() {
  const char* servers = std::getenv("TIDEGATE_TEST_KAFKA");
  return servers == nullptr ? "" : servers;
}

// Every thread of it is stopped: SIGSTOP reaches those that run only after kill() has returned.
bool IsStopped(int pid) {
  for (const auto& task :
       std::filesystem::directory_iterator(absl::StrCat("/proc/", pid, "/task"))) {
    std::ifstream file(task.path() / "stat");
    const std::string stat{std::istreambuf_iterator<char>(file), {}};
    // The state stands after the name, which may contain anything.
    const size_t name_end = stat.rfind(") ");
    if (name_end == std::string::npos || stat[name_end + 2] != 'T') return false;
  }
  return true;
}

// Stops and continues the only broker: what a client sees of a broker that hangs.
void SignalBroker(int signal) {
  int pid = 0;
  const char* text = std::getenv("TIDEGATE_TEST_KAFKA_PID");
  ASSERT_TRUE(text != nullptr && absl::SimpleAtoi(text, &pid));
  ASSERT_EQ(kill(pid, signal), 0);
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (signal == SIGSTOP && !IsStopped(pid)) {
    ASSERT_LT(std::chrono::steady_clock::now(), give_up) << "the broker does not stop";
    std::this_thread::yield();
  }
}

// Topics of its own for every test.
KafkaOptions Options() {
  static int count = 0;
  KafkaOptions options;
  options.bootstrap_servers = Bootstrap();
  options.topic_prefix = absl::StrCat("t", getpid(), "-", ++count, ".");
  options.partitions = 5;
  options.lanes = 2;
  options.replication = 1;
  options.min_insync_replicas = 1;
  options.close_wait_ms = 1'000;
  return options;
}

std::unique_ptr<KafkaLog> OpenLog(const KafkaOptions& options) {
  auto log = KafkaLog::Open(options);
  EXPECT_TRUE(log.ok()) << log.status();
  return log.ok() ? *std::move(log) : nullptr;
}

class KafkaHarness final : public LogHarness {
 public:
  explicit KafkaHarness(HarnessLimits limits) : options_(Options()) {
    options_.queue_bytes_max = limits.queue_bytes_max;
    options_.queue_records_max = limits.queue_records_max;
    log_ = OpenLog(options_);
  }
  ~KafkaHarness() override { Release(); }
  Log& log() override { return *log_; }
  bool Reopen() override {
    Release();
    log_.reset();
    options_.append_timeout_ms = KafkaOptions().append_timeout_ms;
    log_ = OpenLog(options_);
    return true;
  }
  void Hold() override {
    SignalBroker(SIGSTOP);
    held_ = true;
  }
  void Release() override {
    if (std::exchange(held_, false)) SignalBroker(SIGCONT);
  }
  // A broker that does not answer in time; it may still store what it was sent.
  void FailNextAppend() override {
    log_.reset();
    options_.append_timeout_ms = 1'000;
    log_ = OpenLog(options_);
    Hold();
  }
  uint32_t PartitionCount(Topic topic) override { return KafkaPartitionCount(options_, topic); }

 private:
  KafkaOptions options_;
  std::unique_ptr<KafkaLog> log_;
  bool held_ = false;
};

INSTANTIATE_TEST_SUITE_P(KafkaLog, LogConformanceTest,
                         ::testing::Values(HarnessFactory([](HarnessLimits limits) {
                           return std::make_unique<KafkaHarness>(limits);
                         })),
                         [](const auto&) { return std::string("Broker"); });

TEST(KafkaLogTest, SeesWhatAnotherProcessAppended) {
  const KafkaOptions options = Options();
  auto writer = OpenLog(options);
  auto reader = OpenLog(options);
  ASSERT_TRUE(AppendAndWait(*writer, kAt, Values({"a", "b"})).ok());
  EXPECT_EQ(AskedEnd(*reader, kAt), 2u);
  EXPECT_EQ(ReadValues(*reader, kAt), (std::vector<std::string>{"a", "b"}));
  ASSERT_TRUE(AppendAndWait(*writer, kAt, Values({"c"})).ok());
  // Without asking: a reader of the partition is woken by what arrives.
  EXPECT_EQ(ReadUntil(*reader, kAt, 2, 3).at(0).record.value, "c");
}

TEST(KafkaLogTest, ServesManyReadersAtDifferentPlaces) {
  auto log = OpenLog(Options());
  std::vector<std::string> all;
  for (int i = 0; i < 200; ++i) {
    const std::string value = absl::StrCat(i, std::string(100'000, 'v'));
    all.push_back(value);
    log->Append(kAt, {{"k", "h", value}}, [](absl::Status) {});
  }
  ASSERT_TRUE(AppendAndWait(*log, kAt, {}).ok());
  ASSERT_TRUE(AppendAndWait(*log, kAt, Values({"last"})).ok());
  all.push_back("last");
  // 20 MB, far more than what is kept for late readers.
  for (const uint64_t from : {0, 150, 10, 90, 0, 199, 40, 200}) {
    EXPECT_EQ(ReadValues(*log, kAt, from),
              std::vector<std::string>(all.begin() + static_cast<int64_t>(from), all.end()));
  }
}

TEST(KafkaLogTest, ReplacesAProducerThatTheLibraryGaveUp) {
  auto log = OpenLog(Options());
  ASSERT_TRUE(AppendAndWait(*log, kAt, Values({"a"})).ok());
  log->producer().FailFatally();
  // Appends fail until the new producer is there, and never for good.
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  absl::Status status;
  do {
    status = AppendAndWait(*log, kAt, Values({"b"}));
  } while (absl::IsAborted(status) && std::chrono::steady_clock::now() < deadline);
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(ReadValues(*log, kAt).back(), "b");
}

TEST(KafkaLogTest, NamesTopicSettingWantedAndFound) {
  KafkaOptions options = Options();
  OpenLog(options);
  options.partitions = 4;
  const auto other = KafkaLog::Open(options);
  EXPECT_EQ(other.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(
      other.status().message(),
      HasSubstr(absl::StrCat("topic ", options.topic_prefix, "events: partitions is 5, wanted 4")));
  options.partitions = 5;
  options.min_insync_replicas = 2;
  const auto stricter = KafkaLog::Open(options);
  EXPECT_THAT(stricter.status().message(),
              HasSubstr(absl::StrCat("topic ", options.topic_prefix,
                                     "ledger: min.insync.replicas is 1, wanted 2")));
}

TEST(KafkaLogTest, TellsThatTooFewBrokersAreThere) {
  KafkaOptions options = Options();
  options.replication = 3;
  const auto log = KafkaLog::Open(options);
  EXPECT_EQ(log.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(log.status().message(), HasSubstr("log.kafka.replication"));
}

TEST(KafkaLogTest, TellsThatNobodyAnswers) {
  KafkaOptions options = Options();
  options.bootstrap_servers = "127.0.0.1:1";
  options.start_timeout_ms = 500;
  const auto log = KafkaLog::Open(options);
  EXPECT_EQ(log.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(log.status().message(), HasSubstr("127.0.0.1:1"));
}

TEST(KafkaLogTest, AnswersEndsOfManyPartitionsAtOnce) {
  auto log = OpenLog(Options());
  for (uint32_t p = 0; p < 5; ++p) {
    for (uint32_t n = 0; n < p; ++n) {
      ASSERT_TRUE(AppendAndWait(*log, {Topic::kEvents, p}, Values({"v"})).ok());
    }
  }
  for (uint32_t p = 0; p < 5; ++p) EXPECT_EQ(AskedEnd(*log, {Topic::kEvents, p}), p);
}

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

void Copy(const std::string& from, const std::string& to) {
  std::filesystem::copy_file(from, to + ".new", std::filesystem::copy_options::overwrite_existing);
  std::filesystem::rename(to + ".new", to);
}

// Mutual TLS with files that are rotated while the log is open.
class KafkaTlsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : {"client.crt", "client.key"}) Copy(folder_ + name, In(name));
    options_ = Options();
    options_.bootstrap_servers = Environment("TIDEGATE_TEST_KAFKA_TLS");
    options_.ca_file = folder_ + "ca.pem";
    options_.cert_file = In("client.crt");
    options_.key_file = In("client.key");
    options_.append_timeout_ms = 1'000;
  }
  std::string In(const std::string& name) const { return folder_ + "used-" + name; }
  void Rotate(const std::string& name) {
    Copy(folder_ + name + ".key", In("client.key"));
    Copy(folder_ + name + ".crt", In("client.crt"));
  }
  // Appends until it ends that way.
  static bool AppendsUntil(KafkaLog& log, bool good) {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (AppendAndWait(log, kAt, Values({"a"})).ok() != good) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return true;
  }

  const std::string folder_ = Environment("TIDEGATE_TEST_TLS_FOLDER") + "/";
  KafkaOptions options_;
};

TEST_F(KafkaTlsTest, ReadsItsFilesAgain) {
  auto log = OpenLog(options_);
  ASSERT_TRUE(AppendAndWait(*log, kAt, Values({"first"})).ok());
  // No broker takes this one: that appends fail shows that it is in use.
  Rotate("stranger");
  ASSERT_TRUE(AppendsUntil(*log, false));
  Rotate("client");
  ASSERT_TRUE(AppendsUntil(*log, true));
  EXPECT_EQ(ReadValues(*log, kAt).front(), "first");
}

TEST_F(KafkaTlsTest, NamesTheFileThatIsMissing) {
  options_.key_file = folder_ + "none.key";
  const auto log = KafkaLog::Open(options_);
  EXPECT_THAT(log.status().message(), HasSubstr("none.key"));
}

TEST_F(KafkaTlsTest, ABrokerThatRefusesTheCertificateIsTold) {
  Rotate("stranger");
  options_.start_timeout_ms = 2'000;
  const auto log = KafkaLog::Open(options_);
  EXPECT_EQ(log.status().code(), absl::StatusCode::kUnavailable) << log.status();
}

}  // namespace
}  // namespace tidegate::log

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  if (tidegate::log::Bootstrap().empty()) {
    std::fprintf(stderr,
                 "TIDEGATE_TEST_KAFKA is not set: run it through "
                 "tests/kafka/with_cluster.py\n");
    return 2;
  }
  return RUN_ALL_TESTS();
}
