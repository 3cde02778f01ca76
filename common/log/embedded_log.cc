#include "common/log/embedded_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <shared_mutex>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/log/record_limits.h"
#include "common/log/watch_list.h"
#include "rocksdb/cache.h"
#include "rocksdb/db.h"
#include "rocksdb/env.h"
#include "rocksdb/iterator.h"
#include "rocksdb/options.h"
#include "rocksdb/slice_transform.h"
#include "rocksdb/table.h"
#include "rocksdb/write_batch.h"

namespace tidegate::log {
namespace {

// --- Format ---
// key:    topic u8 | partition u32 big endian | offset u64 big endian        (13 bytes)
// value:  key length varint | header length varint | key | header | value    (value: the rest)
// Big endian, so that the byte order of keys is the order of offsets. Checksums are RocksDB's.
constexpr size_t kPrefixBytes = 5;
constexpr size_t kKeyBytes = kPrefixBytes + 8;
using EncodedKey = std::array<char, kKeyBytes>;

template <typename Integer>
void PutBigEndian(Integer value, char* to) {
  for (size_t i = 0; i < sizeof(Integer); ++i) {
    to[i] = static_cast<char>(value >> (8 * (sizeof(Integer) - 1 - i)));
  }
}

template <typename Integer>
Integer GetBigEndian(const char* from) {
  Integer value = 0;
  for (size_t i = 0; i < sizeof(Integer); ++i) {
    value = static_cast<Integer>(value << 8) | static_cast<unsigned char>(from[i]);
  }
  return value;
}

EncodedKey EncodeKey(TopicPartition at, uint64_t offset) {
  EncodedKey key;
  key[0] = static_cast<char>(at.topic);
  PutBigEndian(at.partition, key.data() + 1);
  PutBigEndian(offset, key.data() + kPrefixBytes);
  return key;
}

struct DecodedKey {
  TopicPartition at;
  uint64_t offset;
};

std::optional<DecodedKey> DecodeKey(const rocksdb::Slice& key) {
  if (key.size() != kKeyBytes) return std::nullopt;
  return DecodedKey{{static_cast<Topic>(key[0]), GetBigEndian<uint32_t>(key.data() + 1)},
                    GetBigEndian<uint64_t>(key.data() + kPrefixBytes)};
}

rocksdb::Slice AsSlice(const EncodedKey& key) { return {key.data(), key.size()}; }

// Appends `value` (7 bits a byte, low bits first); at most 5 bytes.
size_t PutVarint(uint32_t value, char* to) {
  size_t size = 0;
  for (; value >= 0x80; value >>= 7) to[size++] = static_cast<char>(value | 0x80);
  to[size++] = static_cast<char>(value);
  return size;
}

bool TakeVarint(rocksdb::Slice* from, uint32_t* value) {
  *value = 0;
  for (int shift = 0; shift <= 28 && !from->empty(); shift += 7) {
    const auto byte = static_cast<unsigned char>((*from)[0]);
    from->remove_prefix(1);
    *value |= static_cast<uint32_t>(byte & 0x7f) << shift;
    if (byte < 0x80) return true;
  }
  return false;
}

bool DecodeRecord(rocksdb::Slice from, Record* record) {
  uint32_t key_bytes = 0;
  uint32_t header_bytes = 0;
  if (!TakeVarint(&from, &key_bytes) || !TakeVarint(&from, &header_bytes)) return false;
  if (uint64_t{key_bytes} + header_bytes > from.size()) return false;
  record->key.assign(from.data(), key_bytes);
  record->header.assign(from.data() + key_bytes, header_bytes);
  from.remove_prefix(key_bytes + header_bytes);
  record->value.assign(from.data(), from.size());
  return true;
}

void PutRecord(TopicPartition at, uint64_t offset, const Record& record,
               rocksdb::WriteBatch* batch) {
  const EncodedKey key = EncodeKey(at, offset);
  char lengths[10];
  size_t lengths_size = PutVarint(static_cast<uint32_t>(record.key.size()), lengths);
  lengths_size += PutVarint(static_cast<uint32_t>(record.header.size()), lengths + lengths_size);
  const rocksdb::Slice key_parts[] = {AsSlice(key)};
  const rocksdb::Slice value_parts[] = {
      {lengths, lengths_size}, record.key, record.header, record.value};
  const rocksdb::Status status =
      batch->Put(rocksdb::SliceParts(key_parts, 1), rocksdb::SliceParts(value_parts, 4));
  CHECK(status.ok());  // Fails only for sizes that MeasureRecords refuses.
}

// --- RocksDB ---

absl::Status FromRocksDb(const rocksdb::Status& status, absl::string_view what) {
  if (status.ok()) return absl::OkStatus();
  const std::string message = absl::StrCat(what, ": ", status.ToString());
  if (status.IsCorruption()) return absl::DataLossError(message);
  if (status.IsInvalidArgument() || status.IsNotSupported()) return absl::InternalError(message);
  return absl::UnavailableError(message);
}

rocksdb::Options StoreOptions(const EmbeddedLogOptions& options) {
  rocksdb::Options store;
  store.create_if_missing = true;

  // A tail that was being written when the process died was never acknowledged; anything else that
  // does not check out fails the open, so that no older ledger is served in silence.
  store.wal_recovery_mode = rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
  store.track_and_verify_wals_in_manifest = true;
  store.paranoid_checks = true;
  // After a write error only a new process goes on.
  store.max_bgerror_resume_count = 0;

  // A start reads the write-ahead log of one or two small buffers, and touches no table file.
  store.write_buffer_size = options.write_buffer_bytes;
  store.max_write_buffer_number = 4;
  store.avoid_flush_during_recovery = true;
  store.skip_stats_update_on_db_open = true;
  store.skip_checking_sst_file_sizes_on_db_open = true;
  store.max_open_files = 512;
  store.stats_dump_period_sec = 0;
  store.stats_persist_period_sec = 0;

  // One writer that appends to the end of a few prefixes.
  store.allow_concurrent_memtable_write = false;
  store.enable_write_thread_adaptive_yield = false;
  store.memtable_insert_with_hint_prefix_extractor.reset(
      rocksdb::NewFixedPrefixTransform(kPrefixBytes));

  // Merging table files can wait; appends, reads and a start cannot.
  store.level0_file_num_compaction_trigger = 8;
  store.env->LowerThreadPoolCPUPriority(rocksdb::Env::Priority::LOW);
  store.max_background_jobs = 2;
  store.level0_slowdown_writes_trigger = 40;
  store.level0_stop_writes_trigger = 80;
  store.bytes_per_sync = 1 << 20;
  store.compression = rocksdb::kLZ4Compression;
  rocksdb::BlockBasedTableOptions table;
  table.block_size = 32 << 10;
  table.format_version = 5;
  table.block_cache = rocksdb::NewLRUCache(size_t{32} << 20);
  store.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));

  store.info_log_level = rocksdb::InfoLogLevel::WARN_LEVEL;
  store.max_log_file_size = 4 << 20;
  store.keep_log_file_num = 3;
  return store;
}

std::string StorePath(absl::string_view directory) { return absl::StrCat(directory, "/log"); }

absl::Status MakeStoreDirectory(const std::string& directory) {
  const std::string path = StorePath(directory);
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) return absl::ErrnoToStatus(error.value(), absl::StrCat("mkdir ", directory));
  if (::mkdir(path.c_str(), 0700) != 0) {
    if (errno == EEXIST) return absl::OkStatus();
    return absl::ErrnoToStatus(errno, absl::StrCat("mkdir ", path));
  }
  // RocksDB syncs what is inside DIR/log; the entry itself is ours.
  const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat("open ", directory));
  const int result = ::fsync(fd);
  const int fsync_errno = errno;
  ::close(fd);
  if (result != 0) return absl::ErrnoToStatus(fsync_errno, absl::StrCat("fsync ", directory));
  return absl::OkStatus();
}

std::set<std::string> WalNames(const std::string& store_path) {
  std::set<std::string> names;
  std::error_code error;
  for (std::filesystem::directory_iterator it(store_path, error), end; !error && it != end;
       it.increment(error)) {
    if (it->path().extension() == ".log") names.insert(it->path().filename().string());
  }
  return names;
}

// A place in a topic partition where reading goes on. It pins what it reads from (memory buffers,
// table files), so only unfinished replays are kept, and few of them.
struct Cursor {
  explicit Cursor(TopicPartition partition) : at(partition) {
    // The first key of the next partition. The largest partition number has none: a carry into the
    // topic byte is just right.
    upper_bound = EncodeKey(partition, 0);
    for (size_t i = kPrefixBytes; i-- > 0;) {
      if (++upper_bound[i] != 0) break;
    }
    upper_bound_slice = AsSlice(upper_bound);
  }

  const TopicPartition at;
  EncodedKey upper_bound;
  rocksdb::Slice upper_bound_slice;
  uint64_t next = 0;
  std::unique_ptr<rocksdb::Iterator> iterator;
};
constexpr size_t kCursorsMax = 16;

}  // namespace

class EmbeddedLog::Store {
 public:
  Store(std::unique_ptr<rocksdb::DB> db, const Options& options, bool read_only)
      : options_(options),
        read_only_(read_only),
        db_(std::move(db)),
        budget_(options.queue_bytes_max, options.queue_records_max) {}

  ~Store() {
    {
      std::lock_guard lock(mu_);
      close_deadline_ =
          std::chrono::steady_clock::now() + std::chrono::milliseconds(options_.close_wait_ms);
      closing_ = true;
    }
    queued_.notify_one();
    if (appender_.joinable()) appender_.join();
    cursors_.clear();
    const rocksdb::Status status = db_->Close();
    if (!status.ok() && !read_only_) {
      LogEvent(LogLevel::kWarning, "log_close_failed", {{"error", status.ToString()}});
    }
  }

  // Finds the end of every topic partition, from the last key backwards.
  absl::Status FindEnds() {
    const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(rocksdb::ReadOptions()));
    it->SeekToLast();
    while (it->Valid()) {
      const std::optional<DecodedKey> last = DecodeKey(it->key());
      if (!last.has_value()) return absl::DataLossError("the log holds a key of unknown form");
      Partition* partition = FindOrAdd(last->at);
      partition->next_offset = last->offset + 1;
      partition->durable_end.store(last->offset + 1, std::memory_order_release);
      const EncodedKey first = EncodeKey(last->at, 0);
      it->SeekForPrev(AsSlice(first));
      if (it->Valid() && it->key() == AsSlice(first)) it->Prev();
    }
    return FromRocksDb(it->status(), "find the ends of the log");
  }

  void Start() {
    appender_ = std::thread([this] { AppendBatches(); });
  }

  void Append(TopicPartition at, std::vector<Record> records, AppendDone done) {
    absl::Status status = Enqueue(at, &records, &done);
    if (!status.ok() && done) done(std::move(status));
  }

  absl::Status Read(TopicPartition at, uint64_t offset, size_t records_max, size_t bytes_max,
                    std::vector<StoredRecord>* out) {
    out->clear();
    // Before the iterator is made: what is durable now is then in its view.
    const uint64_t end = End(at);
    if (offset >= end || records_max == 0) return absl::OkStatus();
    std::unique_ptr<Cursor> cursor = TakeCursor(at, offset);
    bool fresh = cursor == nullptr;
    if (fresh) cursor = NewCursor(at, offset);

    rocksdb::Iterator* it = cursor->iterator.get();
    size_t bytes = 0;
    while (offset < end && out->size() < records_max && (out->empty() || bytes < bytes_max)) {
      const EncodedKey key = EncodeKey(at, offset);
      if (!it->Valid() || it->key() != AsSlice(key)) {
        absl::Status status = FromRocksDb(it->status(), Position(at, offset));
        if (status.ok() && !fresh) {
          // A kept iterator sees the log as it was when it was made.
          status = FromRocksDb(it->Refresh(), Position(at, offset));
          it->Seek(AsSlice(key));
          fresh = true;
          if (status.ok()) continue;
        }
        out->clear();
        if (!status.ok()) return status;
        return absl::DataLossError(absl::StrCat(Position(at, offset), ": the record is missing"));
      }
      StoredRecord& stored = out->emplace_back();
      stored.offset = offset;
      if (!DecodeRecord(it->value(), &stored.record)) {
        out->clear();
        return absl::DataLossError(absl::StrCat(Position(at, offset), ": the record is damaged"));
      }
      bytes += RecordBytes(stored.record);
      it->Next();
      ++offset;
    }
    if (offset < end) {
      cursor->next = offset;
      KeepCursor(std::move(cursor));
    }
    return absl::OkStatus();
  }

  uint64_t End(TopicPartition at) {
    std::shared_lock lock(partitions_mu_);
    const auto found = partitions_.find(at);
    if (found == partitions_.end()) return 0;
    return found->second->durable_end.load(std::memory_order_acquire);
  }

  std::vector<TopicPartition> Partitions() {
    std::shared_lock lock(partitions_mu_);
    std::vector<TopicPartition> all;
    for (const auto& [at, partition] : partitions_) {
      if (partition->durable_end.load(std::memory_order_acquire) > 0) all.push_back(at);
    }
    return all;
  }

  WatchList& watches() { return watches_; }

 private:
  struct Partition {
    std::atomic<uint64_t> durable_end{0};
    uint64_t next_offset = 0;  // the appender's own
  };
  struct PendingAppend {
    TopicPartition at;
    std::vector<Record> records;
    AppendDone done;
    size_t bytes = 0;
  };

  static std::string Position(TopicPartition at, uint64_t offset) {
    return absl::StrCat(Name(at), " offset ", offset);
  }

  // Takes `records` and `done` only when it returns OK.
  absl::Status Enqueue(TopicPartition at, std::vector<Record>* records, AppendDone* done) {
    if (read_only_) return absl::FailedPreconditionError("the log is open for reading only");
    size_t bytes = 0;
    RETURN_IF_ERROR(MeasureRecords(at, *records, &bytes));
    {
      std::lock_guard lock(mu_);
      RETURN_IF_ERROR(closed_);
      if (closing_) return absl::UnavailableError("the log is closing");
      RETURN_IF_ERROR(budget_.Take(bytes, records->size()));
      queue_.push_back({at, std::move(*records), std::move(*done), bytes});
    }
    queued_.notify_one();
    return absl::OkStatus();
  }

  // The appender thread.
  void AppendBatches() {
    for (;;) {
      std::vector<PendingAppend> batch = NextBatch();
      if (batch.empty()) return;
      const absl::Status status = WriteBatch(batch);
      if (status.ok()) PublishEnds(batch);
      std::deque<PendingAppend> refused = Settle(batch, status);
      for (PendingAppend& append : batch) {
        if (append.done) append.done(status);
      }
      for (PendingAppend& append : refused) {
        if (append.done) append.done(status);
      }
      if (status.ok()) WakeWatchers(batch);
    }
  }

  // What queued since the last call, up to a bound; empty when the log closes and nothing is left.
  std::vector<PendingAppend> NextBatch() {
    std::vector<PendingAppend> batch;
    std::deque<PendingAppend> late;
    {
      std::unique_lock lock(mu_);
      queued_.wait(lock, [this] { return !queue_.empty() || closing_; });
      if (closing_ && std::chrono::steady_clock::now() >= close_deadline_) {
        late.swap(queue_);
      }
      size_t bytes = 0;
      while (!queue_.empty() && (batch.empty() || bytes < options_.batch_bytes_max)) {
        bytes += queue_.front().bytes;
        batch.push_back(std::move(queue_.front()));
        queue_.pop_front();
      }
    }
    for (PendingAppend& append : late) {
      if (append.done) append.done(absl::UnavailableError("the log closed before this append"));
    }
    return batch;
  }

  // Gives out the offsets and makes the batch durable. Errors are always UNAVAILABLE.
  absl::Status WriteBatch(const std::vector<PendingAppend>& batch) {
    ++batches_;
    if (options_.write_fault) {
      const absl::Status fault = options_.write_fault(batches_);
      if (!fault.ok()) return Closed(fault.ToString());
    }
    size_t bytes = 0;
    for (const PendingAppend& append : batch) bytes += append.bytes + append.records.size() * 32;
    rocksdb::WriteBatch writes(bytes);
    for (const PendingAppend& append : batch) {
      Partition* partition = FindOrAdd(append.at);
      for (const Record& record : append.records) {
        PutRecord(append.at, partition->next_offset++, record, &writes);
      }
    }
    if (writes.Count() == 0) return absl::OkStatus();
    rocksdb::WriteOptions write_options;
    write_options.sync = TIDEGATE_MUTANT != 1;
    const rocksdb::Status status = db_->Write(write_options, &writes);
    return status.ok() ? absl::OkStatus() : Closed(status.ToString());
  }

  static absl::Status Closed(absl::string_view cause) {
    return absl::UnavailableError(
        absl::StrCat("the log is closed after a write error; start the process again: ", cause));
  }

  void PublishEnds(const std::vector<PendingAppend>& batch) {
    for (const PendingAppend& append : batch) {
      Partition* partition = FindOrAdd(append.at);
      partition->durable_end.store(partition->next_offset, std::memory_order_release);
    }
  }

  // Frees the batch's room in the queue. After an error it closes the log, and returns what queued
  // meanwhile, which now fails too.
  std::deque<PendingAppend> Settle(const std::vector<PendingAppend>& batch,
                                   const absl::Status& status) {
    std::deque<PendingAppend> refused;
    {
      std::lock_guard lock(mu_);
      for (const PendingAppend& append : batch) {
        budget_.Return(append.bytes, append.records.size());
      }
      if (status.ok()) return refused;
      closed_ = status;
      refused.swap(queue_);
    }
    LogEvent(LogLevel::kError, "log_write_failed", {{"error", std::string(status.message())}});
    return refused;
  }

  void WakeWatchers(const std::vector<PendingAppend>& batch) {
    std::set<TopicPartition> moved;
    for (const PendingAppend& append : batch) {
      if (!append.records.empty()) moved.insert(append.at);
    }
    for (const TopicPartition at : moved) watches_.Wake(at);
  }

  Partition* FindOrAdd(TopicPartition at) {
    {
      std::shared_lock lock(partitions_mu_);
      const auto found = partitions_.find(at);
      if (found != partitions_.end()) return found->second.get();
    }
    std::unique_lock lock(partitions_mu_);
    std::unique_ptr<Partition>& partition = partitions_[at];
    if (partition == nullptr) partition = std::make_unique<Partition>();
    return partition.get();
  }

  std::unique_ptr<Cursor> NewCursor(TopicPartition at, uint64_t offset) {
    auto cursor = std::make_unique<Cursor>(at);
    rocksdb::ReadOptions read_options;
    read_options.iterate_upper_bound = &cursor->upper_bound_slice;
    read_options.adaptive_readahead = true;
    cursor->iterator.reset(db_->NewIterator(read_options));
    const EncodedKey key = EncodeKey(at, offset);
    cursor->iterator->Seek(AsSlice(key));
    return cursor;
  }

  // The kept cursor that stands at this place, if any. Its taker is its only user.
  std::unique_ptr<Cursor> TakeCursor(TopicPartition at, uint64_t offset) {
    std::lock_guard lock(cursors_mu_);
    for (auto it = cursors_.begin(); it != cursors_.end(); ++it) {
      if ((*it)->at != at || (*it)->next != offset) continue;
      std::unique_ptr<Cursor> cursor = std::move(*it);
      cursors_.erase(it);
      return cursor;
    }
    return nullptr;
  }

  // Full means that the least recently used one goes; its reader then makes a new one.
  void KeepCursor(std::unique_ptr<Cursor> cursor) {
    std::unique_ptr<Cursor> dropped;
    std::lock_guard lock(cursors_mu_);
    if (cursors_.size() == kCursorsMax) {
      dropped = std::move(cursors_.front());
      cursors_.erase(cursors_.begin());
    }
    cursors_.push_back(std::move(cursor));
  }

  const Options options_;
  const bool read_only_;
  const std::unique_ptr<rocksdb::DB> db_;
  WatchList watches_;

  std::shared_mutex partitions_mu_;  // guards the map; partitions are never removed
  std::map<TopicPartition, std::unique_ptr<Partition>> partitions_;

  std::mutex cursors_mu_;
  std::vector<std::unique_ptr<Cursor>> cursors_;  // least recently used first

  std::mutex mu_;  // guards the queue, down to closed_
  std::condition_variable queued_;
  std::deque<PendingAppend> queue_;
  QueueBudget budget_;
  bool closing_ = false;
  std::chrono::steady_clock::time_point close_deadline_;
  absl::Status closed_;  // the write error that closed the log for good

  size_t batches_ = 0;  // the appender's own
  std::thread appender_;
};

absl::StatusOr<std::unique_ptr<EmbeddedLog>> EmbeddedLog::Open(absl::string_view directory) {
  return Open(directory, Options());
}

absl::StatusOr<std::unique_ptr<EmbeddedLog>> EmbeddedLog::Open(absl::string_view directory,
                                                               const Options& options) {
  RETURN_IF_ERROR(MakeStoreDirectory(std::string(directory)));
  const std::string path = StorePath(directory);
  rocksdb::DB* opened = nullptr;
  const rocksdb::Status status = rocksdb::DB::Open(StoreOptions(options), path, &opened);
  if (!status.ok()) {
    // RocksDB has no code of its own for a lock that somebody else holds.
    if (status.IsIOError() && absl::StrContains(status.ToString(), path + "/LOCK")) {
      return absl::FailedPreconditionError(absl::StrCat(path, " is open already"));
    }
    return FromRocksDb(status, absl::StrCat("open ", path));
  }
  auto store = std::make_unique<Store>(std::unique_ptr<rocksdb::DB>(opened), options, false);
  RETURN_IF_ERROR(store->FindEnds());
  store->Start();
  return std::unique_ptr<EmbeddedLog>(new EmbeddedLog(std::move(store)));
}

absl::StatusOr<std::unique_ptr<EmbeddedLog>> EmbeddedLog::OpenReadOnly(
    absl::string_view directory) {
  const std::string path = StorePath(directory);
  rocksdb::Options store_options = StoreOptions(Options());
  store_options.create_if_missing = false;
  // Every table file is opened now and stays open, whatever the writer's compaction removes later.
  store_options.max_open_files = -1;
  std::error_code error;
  if (!std::filesystem::exists(path + "/CURRENT", error)) {
    return absl::NotFoundError(absl::StrCat("there is no log in ", directory));
  }

  // While this reads the manifest and then the write-ahead logs, the writer may turn one of the
  // latter into a table file: its records would then be in neither. So it has to see the same files
  // after as before; an error in between counts as such a race too, until the tries are used up.
  constexpr int kTries = 10;
  absl::Status failure;
  for (int i = 0; i < kTries; ++i) {
    if (i > 0) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    const std::set<std::string> before = WalNames(path);
    rocksdb::DB* opened = nullptr;
    const rocksdb::Status status = rocksdb::DB::OpenForReadOnly(store_options, path, &opened);
    failure = FromRocksDb(status, absl::StrCat("open for reading ", path));
    if (!failure.ok()) continue;
    auto store = std::make_unique<Store>(std::unique_ptr<rocksdb::DB>(opened), Options(), true);
    const std::set<std::string> after = WalNames(path);
    bool all_there = true;
    for (const std::string& name : before) all_there = all_there && after.count(name) > 0;
    if (!all_there) {
      failure = absl::UnavailableError(absl::StrCat(path, " changes too fast to be read; retry"));
      continue;
    }
    RETURN_IF_ERROR(store->FindEnds());
    return std::unique_ptr<EmbeddedLog>(new EmbeddedLog(std::move(store)));
  }
  return failure;
}

EmbeddedLog::EmbeddedLog(std::unique_ptr<Store> store) : store_(std::move(store)) {}

EmbeddedLog::~EmbeddedLog() = default;

void EmbeddedLog::Append(TopicPartition at, std::vector<Record> records, AppendDone done) {
  store_->Append(at, std::move(records), std::move(done));
}

absl::Status EmbeddedLog::Read(TopicPartition at, uint64_t offset, size_t records_max,
                               size_t bytes_max, std::vector<StoredRecord>* out) {
  return store_->Read(at, offset, records_max, bytes_max, out);
}

uint64_t EmbeddedLog::End(TopicPartition at) { return store_->End(at); }

uint64_t EmbeddedLog::Watch(TopicPartition at, std::function<void()> wake) {
  return store_->watches().Add(at, std::move(wake));
}

void EmbeddedLog::Unwatch(uint64_t watch_id) { store_->watches().Remove(watch_id); }

std::vector<TopicPartition> EmbeddedLog::Partitions() { return store_->Partitions(); }

}  // namespace tidegate::log
