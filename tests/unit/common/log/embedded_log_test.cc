#include "common/log/embedded_log.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rocksdb/db.h"
#include "tests/unit/common/log/log_conformance.h"

namespace tidegate::log {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr TopicPartition kAt = {Topic::kLedger, 0};

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = ::testing::TempDir() + "tidegate_log_XXXXXX";
    CHECK(::mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Fails or holds batches of a log, from the appender thread's write_fault hook.
class FaultSwitch {
 public:
  std::function<absl::Status(size_t)> Hook() {
    return [this](size_t) {
      std::unique_lock lock(mu_);
      CHECK(changed_.wait_for(lock, kPatience, [this] { return !held_; }));
      return std::exchange(next_, absl::OkStatus());
    };
  }
  void Hold() {
    std::lock_guard lock(mu_);
    held_ = true;
  }
  void Release() {
    std::lock_guard lock(mu_);
    held_ = false;
    changed_.notify_all();
  }
  void FailNext(absl::Status status) {
    std::lock_guard lock(mu_);
    next_ = std::move(status);
  }

 private:
  std::mutex mu_;
  std::condition_variable changed_;
  bool held_ = false;
  absl::Status next_;
};

class EmbeddedHarness final : public LogHarness {
 public:
  explicit EmbeddedHarness(HarnessLimits limits) : limits_(limits) { Reopen(); }
  ~EmbeddedHarness() override { faults_.Release(); }
  Log& log() override { return *log_; }
  bool Reopen() override {
    log_.reset();
    auto opened =
        EmbeddedLog::Open(directory_.path(), {.queue_bytes_max = limits_.queue_bytes_max,
                                              .queue_records_max = limits_.queue_records_max,
                                              .write_fault = faults_.Hook()});
    CHECK(opened.ok());
    log_ = *std::move(opened);
    return true;
  }
  void Hold() override { faults_.Hold(); }
  void Release() override { faults_.Release(); }
  void FailNextAppend() override { faults_.FailNext(absl::UnavailableError("told to fail")); }

 private:
  const HarnessLimits limits_;
  TemporaryDirectory directory_;
  FaultSwitch faults_;
  std::unique_ptr<EmbeddedLog> log_;
};

INSTANTIATE_TEST_SUITE_P(EmbeddedLog, LogConformanceTest,
                         ::testing::Values(HarnessFactory([](HarnessLimits limits) {
                           return std::make_unique<EmbeddedHarness>(limits);
                         })),
                         [](const auto&) { return "RocksDb"; });

class EmbeddedLogTest : public ::testing::Test {
 protected:
  std::unique_ptr<EmbeddedLog> Open(const EmbeddedLogOptions& options = {}) {
    auto opened = EmbeddedLog::Open(directory_.path(), options);
    EXPECT_TRUE(opened.ok()) << opened.status();
    return opened.ok() ? *std::move(opened) : nullptr;
  }
  std::string store_path() const { return directory_.path() + "/log"; }
  // The newest write-ahead log file.
  std::filesystem::path LastWal(const std::string& store) {
    std::filesystem::path last;
    for (const auto& entry : std::filesystem::directory_iterator(store)) {
      if (entry.path().extension() == ".log" && entry.path() > last) last = entry.path();
    }
    return last;
  }

  TemporaryDirectory directory_;
};

TEST_F(EmbeddedLogTest, WriteErrorClosesTheLogForGood) {
  size_t asked = 0;
  const auto log = Open({.write_fault = [&asked](size_t nth_batch) {
    asked = nth_batch;
    return nth_batch == 2 ? absl::InternalError("EIO") : absl::OkStatus();
  }});
  ASSERT_NE(log, nullptr);
  ASSERT_TRUE(AppendAndWait(*log, kAt, Values({"a"})).ok());
  const absl::Status failed = AppendAndWait(*log, kAt, Values({"b"}));
  EXPECT_EQ(failed.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(failed.message()), HasSubstr("EIO"));
  EXPECT_EQ(AppendAndWait(*log, kAt, Values({"c"})).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(AppendAndWait(*log, {Topic::kEvents, 0}, Values({"d"})).code(),
            absl::StatusCode::kUnavailable);
  // No third write was tried, and what was durable is still readable.
  EXPECT_EQ(asked, 2u);
  EXPECT_EQ(log->End(kAt), 1u);
  EXPECT_THAT(ReadValues(*log, kAt), ElementsAre("a"));
}

TEST_F(EmbeddedLogTest, WriteErrorFailsWhatQueuedBehindIt) {
  FaultSwitch faults;
  const auto log = Open({.write_fault = faults.Hook()});
  ASSERT_NE(log, nullptr);
  faults.Hold();
  faults.FailNext(absl::InternalError("EIO"));
  std::vector<PendingResult> results(5);
  for (PendingResult& result : results) log->Append(kAt, Values({"a"}), result.Callback());
  faults.Release();
  for (PendingResult& result : results) {
    EXPECT_EQ(result.Wait().code(), absl::StatusCode::kUnavailable);
  }
  EXPECT_EQ(log->End(kAt), 0u);
}

TEST_F(EmbeddedLogTest, GoesOnAfterTheLastDurableRecordOnceReopened) {
  auto log = Open({.write_fault = [](size_t nth_batch) {
    return nth_batch == 2 ? absl::InternalError("EIO") : absl::OkStatus();
  }});
  ASSERT_NE(log, nullptr);
  ASSERT_TRUE(AppendAndWait(*log, kAt, Values({"a"})).ok());
  ASSERT_FALSE(AppendAndWait(*log, kAt, Values({"b"})).ok());
  log.reset();
  log = Open();
  ASSERT_NE(log, nullptr);
  ASSERT_TRUE(AppendAndWait(*log, kAt, Values({"c"})).ok());
  EXPECT_THAT(ReadValues(*log, kAt), ElementsAre("a", "c"));
}

TEST_F(EmbeddedLogTest, WritesWhatQueuedDuringASyncAsOneBatch) {
  FaultSwitch faults;
  std::atomic<size_t> batches = 0;
  const auto log = Open({.write_fault = [&, hook = faults.Hook()](size_t nth_batch) {
    batches = nth_batch;
    return hook(nth_batch);
  }});
  ASSERT_NE(log, nullptr);
  faults.Hold();
  std::vector<PendingResult> results(101);
  for (PendingResult& result : results) log->Append(kAt, Values({"a"}), result.Callback());
  faults.Release();
  for (PendingResult& result : results) ASSERT_TRUE(result.Wait().ok());
  // The first batch holds what was there when the appender looked.
  EXPECT_LE(batches, 2u);
  EXPECT_EQ(log->End(kAt), 101u);
}

TEST_F(EmbeddedLogTest, ClosingFinishesWhatIsQueued) {
  FaultSwitch faults;
  auto log = Open({.batch_bytes_max = 1, .write_fault = faults.Hook()});
  ASSERT_NE(log, nullptr);
  faults.Hold();
  std::vector<PendingResult> results(10);
  for (PendingResult& result : results) log->Append(kAt, Values({"a"}), result.Callback());
  faults.Release();
  log.reset();
  for (PendingResult& result : results) {
    EXPECT_EQ(result.calls(), 1);
    EXPECT_TRUE(result.Wait().ok());
  }
  log = Open();
  ASSERT_NE(log, nullptr);
  EXPECT_EQ(log->End(kAt), 10u);
}

TEST_F(EmbeddedLogTest, ClosingFailsWhatItHasNoTimeFor) {
  FaultSwitch faults;
  auto log = Open({.batch_bytes_max = 1, .close_wait_ms = 0, .write_fault = faults.Hook()});
  ASSERT_NE(log, nullptr);
  faults.Hold();
  std::vector<PendingResult> results(10);
  for (PendingResult& result : results) log->Append(kAt, Values({"a"}), result.Callback());
  std::thread closer([&log] { log.reset(); });
  // The appender is held in its first batch, or refuses all: either way the last one has no time.
  faults.Release();
  closer.join();
  size_t durable = 0;
  for (PendingResult& result : results) {
    EXPECT_EQ(result.calls(), 1);
    const absl::Status status = result.Wait();
    if (status.ok()) {
      ++durable;
    } else {
      EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
    }
  }
  log = Open();
  ASSERT_NE(log, nullptr);
  EXPECT_EQ(log->End(kAt), durable);
}

TEST_F(EmbeddedLogTest, RefusesASecondOpenWhileTheFirstLives) {
  auto first = Open();
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(EmbeddedLog::Open(directory_.path()).status().code(),
            absl::StatusCode::kFailedPrecondition);
  first.reset();
  EXPECT_NE(Open(), nullptr);
}

TEST_F(EmbeddedLogTest, ReadOnlySeesWhatALivingWriterMadeDurable) {
  // A small buffer, so that some records are in table files and the last ones in the WAL only.
  const auto writer = Open({.write_buffer_bytes = 64 << 10});
  ASSERT_NE(writer, nullptr);
  std::vector<Record> records(1000, Record{"k", "h", std::string(300, 'v')});
  ASSERT_TRUE(AppendAndWait(*writer, kAt, records).ok());
  ASSERT_TRUE(AppendAndWait(*writer, kAt, Values({"last"})).ok());

  const auto reader = EmbeddedLog::OpenReadOnly(directory_.path());
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_EQ((*reader)->End(kAt), 1001u);
  EXPECT_THAT(ReadValues(**reader, kAt, 1000), ElementsAre("last"));
  EXPECT_EQ(ReadValues(**reader, kAt).size(), 1001u);
  EXPECT_THAT((*reader)->Partitions(), ElementsAre(kAt));
  EXPECT_EQ(AppendAndWait(**reader, kAt, Values({"x"})).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(AppendAndWait(*writer, kAt, Values({"after"})).ok());
}

TEST_F(EmbeddedLogTest, ReadOnlyOpenOfNoLogIsNotFoundAndMakesNone) {
  EXPECT_EQ(EmbeddedLog::OpenReadOnly(directory_.path()).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_FALSE(std::filesystem::exists(store_path()));
}

TEST_F(EmbeddedLogTest, ReportsAGapWithItsPlace) {
  Open();
  auto log = Open();
  ASSERT_NE(log, nullptr);
  ASSERT_TRUE(AppendAndWait(*log, kAt, Values({"a", "b", "c"})).ok());
  log.reset();
  {
    rocksdb::DB* opened = nullptr;
    ASSERT_TRUE(rocksdb::DB::Open({}, store_path(), &opened).ok());
    const std::unique_ptr<rocksdb::DB> db(opened);
    const char key[] = {4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
    ASSERT_TRUE(db->Delete({}, rocksdb::Slice(key, sizeof(key))).ok());
  }
  log = Open();
  ASSERT_NE(log, nullptr);
  EXPECT_EQ(log->End(kAt), 3u);
  std::vector<StoredRecord> out;
  const absl::Status gap = log->Read(kAt, 0, 10, 1000, &out);
  EXPECT_EQ(gap.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(gap.message()), HasSubstr("tidegate.ledger/0 offset 1"));
  EXPECT_TRUE(out.empty());
  EXPECT_TRUE(log->Read(kAt, 0, 1, 1000, &out).ok());
  EXPECT_TRUE(log->Read(kAt, 2, 10, 1000, &out).ok());
}

TEST_F(EmbeddedLogTest, ReportsADamagedRecordWithItsPlace) {
  Open();
  {
    rocksdb::DB* opened = nullptr;
    ASSERT_TRUE(rocksdb::DB::Open({}, store_path(), &opened).ok());
    const std::unique_ptr<rocksdb::DB> db(opened);
    const char key[] = {4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    // A key length of 9 with 2 bytes behind it.
    ASSERT_TRUE(db->Put({}, rocksdb::Slice(key, sizeof(key)), rocksdb::Slice("\x09\0ab", 4)).ok());
  }
  const auto log = Open();
  ASSERT_NE(log, nullptr);
  std::vector<StoredRecord> out;
  const absl::Status damaged = log->Read(kAt, 0, 10, 1000, &out);
  EXPECT_EQ(damaged.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(damaged.message()), HasSubstr("tidegate.ledger/0 offset 0"));
}

TEST_F(EmbeddedLogTest, DiscardsATornTailAndNothingBeforeIt) {
  auto log = Open();
  ASSERT_NE(log, nullptr);
  std::vector<uintmax_t> size_after;  // of the WAL, after each append
  const std::filesystem::path wal = LastWal(store_path());
  for (int i = 0; i < 8; ++i) {
    ASSERT_TRUE(AppendAndWait(*log, kAt, {{"k", "", absl::StrCat("value ", i)}}).ok());
    size_after.push_back(std::filesystem::file_size(wal));
  }
  log.reset();
  for (uintmax_t cut = 0; cut <= size_after.back(); cut += 3) {
    const TemporaryDirectory copy;
    std::filesystem::copy(store_path(), copy.path() + "/log",
                          std::filesystem::copy_options::recursive);
    std::filesystem::resize_file(copy.path() + "/log/" + wal.filename().string(), cut);
    const auto reopened = EmbeddedLog::Open(copy.path());
    ASSERT_TRUE(reopened.ok()) << "cut at " << cut << ": " << reopened.status();
    uint64_t whole = 0;
    while (whole < size_after.size() && size_after[whole] <= cut) ++whole;
    EXPECT_EQ((*reopened)->End(kAt), whole) << "cut at " << cut;
    EXPECT_EQ(ReadValues(**reopened, kAt).size(), whole) << "cut at " << cut;
    ASSERT_TRUE(AppendAndWait(**reopened, kAt, Values({"next"})).ok());
    EXPECT_THAT(ReadValues(**reopened, kAt, whole), ElementsAre("next"));
  }
}

TEST_F(EmbeddedLogTest, FailsClosedWhenAWalIsDamagedBeforeItsTail) {
  auto log = Open();
  ASSERT_NE(log, nullptr);
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(AppendAndWait(*log, kAt, {{"k", "", std::string(500, 'v')}}).ok());
  }
  const std::filesystem::path wal = LastWal(store_path());
  log.reset();
  std::fstream file(wal, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(3000);
  file.put('\x55');
  file.close();
  EXPECT_EQ(EmbeddedLog::Open(directory_.path()).status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(EmbeddedLogTest, ReplaysWholeWhileOthersAppendAndFlush) {
  const auto log = Open({.write_buffer_bytes = 64 << 10});
  ASSERT_NE(log, nullptr);
  constexpr int kBatches = 100;
  constexpr int kBatchRecords = 50;
  std::thread writer([&log] {
    for (int i = 0; i < kBatches; ++i) {
      std::vector<Record> records;
      for (int n = 0; n < kBatchRecords; ++n) {
        records.push_back({"k", "", absl::StrCat(i * kBatchRecords + n, std::string(200, 'x'))});
      }
      ASSERT_TRUE(AppendAndWait(*log, kAt, std::move(records)).ok());
    }
  });
  std::vector<std::thread> readers;
  for (int reader = 0; reader < 2; ++reader) {
    readers.emplace_back([&log] {
      uint64_t offset = 0;
      std::vector<StoredRecord> out;
      while (offset < uint64_t{kBatches} * kBatchRecords) {
        ASSERT_TRUE(log->Read(kAt, offset, 37, 1 << 20, &out).ok());
        for (const StoredRecord& stored : out) {
          ASSERT_EQ(stored.offset, offset);
          ASSERT_EQ(stored.record.value, absl::StrCat(offset, std::string(200, 'x')));
          ++offset;
        }
        if (out.empty()) std::this_thread::yield();
      }
    });
  }
  writer.join();
  for (std::thread& reader : readers) reader.join();
}

// --- kill -9: this binary runs itself as the writer ---

constexpr char kWriterFlag[] = "--append-until-killed";
constexpr int kAckFd = 3;
constexpr uint32_t kWriterPartitions = 3;

struct Ack {
  uint32_t partition;
  uint64_t offset;
};

Record WriterRecord(uint32_t partition, uint64_t offset) {
  return {absl::StrCat("key ", partition), absl::StrCat("header ", offset),
          absl::StrCat(offset, std::string(offset % 700, 'v'))};
}

// Appends single records and batches to several partitions for ever; writes an Ack of each record
// to kAckFd once it was acknowledged.
int RunWriter(const char* directory) {
  const auto opened = EmbeddedLog::Open(directory, {.write_buffer_bytes = 256 << 10});
  if (!opened.ok()) {
    std::fprintf(stderr, "writer: %s\n", opened.status().ToString().c_str());
    return 1;
  }
  Log& log = **opened;
  uint64_t next[kWriterPartitions];
  for (uint32_t p = 0; p < kWriterPartitions; ++p) next[p] = log.End({Topic::kEvents, p});
  std::mutex mu;
  std::condition_variable settled;
  int in_flight = 0;
  for (uint32_t round = 0;; ++round) {
    const uint32_t partition = round % kWriterPartitions;
    std::vector<Record> records;
    const uint64_t first = next[partition];
    for (uint32_t n = 0; n <= round % 7; ++n) {
      records.push_back(WriterRecord(partition, next[partition]++));
    }
    {
      std::unique_lock lock(mu);
      settled.wait(lock, [&in_flight] { return in_flight < 32; });
      ++in_flight;
    }
    const uint64_t count = records.size();
    log.Append({Topic::kEvents, partition}, std::move(records),
               [&, partition, first, count](absl::Status status) {
                 CHECK(status.ok());
                 for (uint64_t offset = first; offset < first + count; ++offset) {
                   const Ack ack = {partition, offset};
                   if (::write(kAckFd, &ack, sizeof(ack)) != sizeof(ack)) ::_exit(2);
                 }
                 std::lock_guard lock(mu);
                 --in_flight;
                 settled.notify_one();
               });
  }
}

// Starts the writer, kills it after `acks_min` acknowledgements and puts the highest acknowledged
// offset + 1 of each partition into `ends`.
void WriteUntilKilled(const std::string& directory, size_t acks_min,
                      uint64_t (&ends)[kWriterPartitions]) {
  int pipe_fds[2];
  ASSERT_EQ(::pipe2(pipe_fds, O_CLOEXEC), 0);
  posix_spawn_file_actions_t actions;
  ASSERT_EQ(::posix_spawn_file_actions_init(&actions), 0);
  // Onto the same number, dup2 here clears close-on-exec.
  ASSERT_EQ(::posix_spawn_file_actions_adddup2(&actions, pipe_fds[1], kAckFd), 0);
  std::string program = "/proc/self/exe";
  std::string flag = kWriterFlag;
  std::string argument = directory;
  char* arguments[] = {program.data(), flag.data(), argument.data(), nullptr};
  pid_t pid = 0;
  ASSERT_EQ(::posix_spawn(&pid, program.c_str(), &actions, nullptr, arguments, environ), 0);
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(pipe_fds[1]);

  Ack ack;
  size_t acks = 0;
  for (;;) {
    size_t got = 0;
    while (got < sizeof(ack)) {
      const ssize_t n = ::read(pipe_fds[0], reinterpret_cast<char*>(&ack) + got, sizeof(ack) - got);
      if (n <= 0) break;
      got += static_cast<size_t>(n);
    }
    if (got < sizeof(ack)) break;
    ASSERT_LT(ack.partition, kWriterPartitions);
    ASSERT_EQ(ack.offset, ends[ack.partition]) << "acknowledged out of order";
    ends[ack.partition] = ack.offset + 1;
    // What was acknowledged before the kill landed still comes out of the pipe.
    if (++acks == acks_min) ::kill(pid, SIGKILL);
  }
  ::close(pipe_fds[0]);
  int status = 0;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << "writer ended by itself";
  ASSERT_GE(acks, acks_min);
}

TEST_F(EmbeddedLogTest, KeepsEveryAcknowledgedRecordThroughKills) {
  constexpr uint64_t kSeed = 7;
  SCOPED_TRACE(absl::StrCat("seed ", kSeed));
  SeededRandom random(kSeed);
  uint64_t ends[kWriterPartitions] = {};
  for (int kill = 0; kill < 8; ++kill) {
    ASSERT_NO_FATAL_FAILURE(
        WriteUntilKilled(directory_.path(), 1 + random.Below(kill % 2 == 0 ? 6000 : 60), ends));
    const auto log = Open();
    ASSERT_NE(log, nullptr);
    for (uint32_t p = 0; p < kWriterPartitions; ++p) {
      const TopicPartition at = {Topic::kEvents, p};
      ASSERT_GE(log->End(at), ends[p]);
      uint64_t offset = 0;
      std::vector<StoredRecord> out;
      do {
        ASSERT_TRUE(log->Read(at, offset, 1000, 1 << 20, &out).ok());
        for (const StoredRecord& stored : out) {
          const Record expected = WriterRecord(p, offset);
          ASSERT_EQ(stored.offset, offset++);
          ASSERT_EQ(stored.record.key, expected.key);
          ASSERT_EQ(stored.record.header, expected.header);
          ASSERT_EQ(stored.record.value, expected.value);
        }
      } while (!out.empty());
      ASSERT_EQ(offset, log->End(at));
      // Durable but never acknowledged records count as well; the next writer goes on after them.
      ends[p] = log->End(at);
    }
  }
}

}  // namespace
}  // namespace tidegate::log

int main(int argc, char** argv) {
  if (argc == 3 && std::strcmp(argv[1], tidegate::log::kWriterFlag) == 0) {
    return tidegate::log::RunWriter(argv[2]);
  }
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
