#include "tests/bench/appenders.h"

#include <librdkafka/rdkafka.h>

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <future>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "rocksdb/db.h"
#include "rocksdb/options.h"
#include "rocksdb/write_batch.h"

namespace tidegate::bench {
namespace {

int64_t NowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

int64_t EndOf(const Load& load, int64_t begin_ns) {
  return begin_ns + static_cast<int64_t>(load.seconds * 1e9);
}

// A failed measurement is none.
void Need(bool good, const std::string& what) {
  if (good) return;
  std::fprintf(stderr, "append_bench: %s\n", what.c_str());
  std::exit(1);
}

class LogAppender final : public Appender {
 public:
  LogAppender(log::Log* log, log::TopicPartition at, SampleRecords* records)
      : log_(log), at_(at), records_(records) {}

  Figures Run(const Load& load) override {
    figures_ = {};
    const int64_t begin = NowNs();
    const int64_t end = EndOf(load, begin);
    while (NowNs() < end) {
      std::vector<log::Record> batch = records_->Take(load.batch);
      {
        std::unique_lock lock(mu_);
        changed_.wait(lock, [&] { return under_way_ < load.outstanding; });
        ++under_way_;
      }
      const int64_t start = NowNs();
      log_->Append(at_, std::move(batch), [this, start, &load](const absl::Status& status) {
        Need(status.ok(), status.ToString());
        const int64_t done = NowNs();
        std::lock_guard lock(mu_);
        figures_.latencies_ns.push_back(done - start);
        figures_.records += load.batch;
        --under_way_;
        changed_.notify_one();
      });
    }
    std::unique_lock lock(mu_);
    changed_.wait(lock, [&] { return under_way_ == 0; });
    figures_.seconds = static_cast<double>(NowNs() - begin) / 1e9;
    return std::move(figures_);
  }

 private:
  log::Log* const log_;
  const log::TopicPartition at_;
  SampleRecords* const records_;
  std::mutex mu_;
  std::condition_variable changed_;
  size_t under_way_ = 0;
  Figures figures_;
};

class ReadBackAppender final : public Appender {
 public:
  ReadBackAppender(log::Log* log, log::TopicPartition at, SampleRecords* records)
      : log_(log), at_(at), records_(records) {
    position_ = EndNow();
    watch_ = log_->Watch(at_, [this] { Wake(); });
  }
  ~ReadBackAppender() override { log_->Unwatch(watch_); }

  Figures Run(const Load& load) override {
    Figures figures;
    const int64_t begin = NowNs();
    const int64_t end = EndOf(load, begin);
    std::vector<log::StoredRecord> read;
    while (NowNs() < end) {
      std::vector<log::Record> batch = records_->Take(load.batch);
      const uint64_t wanted = position_ + load.batch;
      acknowledged_ = false;
      const int64_t start = NowNs();
      log_->Append(at_, std::move(batch), [this](const absl::Status& status) {
        Need(status.ok(), status.ToString());
        acknowledged_ = true;
        Wake();
      });
      while (true) {
        woken_ = false;
        const bool acknowledged = acknowledged_;
        const absl::Status status =
            log_->Read(at_, position_, wanted - position_, size_t{4} << 20, &read);
        Need(status.ok(), status.ToString());
        position_ += read.size();
        if (acknowledged && position_ == wanted) break;
        if (!read.empty()) continue;
        std::unique_lock lock(mu_);
        changed_.wait(lock, [&] { return woken_.load(); });
      }
      figures.latencies_ns.push_back(NowNs() - start);
      figures.records += load.batch;
    }
    figures.seconds = static_cast<double>(NowNs() - begin) / 1e9;
    return figures;
  }

 private:
  // Also of what others wrote before.
  uint64_t EndNow() {
    while (true) {
      std::promise<absl::StatusOr<uint64_t>> end;
      log_->QueryEnd(at_, [&end](absl::StatusOr<uint64_t> answer) { end.set_value(answer); });
      const absl::StatusOr<uint64_t> answer = end.get_future().get();
      if (answer.ok()) return *answer;
      // A new topic is not known everywhere at once.
      Need(absl::IsUnavailable(answer.status()), answer.status().ToString());
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }

  void Wake() {
    std::lock_guard lock(mu_);
    woken_ = true;
    changed_.notify_one();
  }

  log::Log* const log_;
  const log::TopicPartition at_;
  SampleRecords* const records_;
  uint64_t position_ = 0;
  uint64_t watch_ = 0;
  std::mutex mu_;
  std::condition_variable changed_;
  std::atomic<bool> woken_{false};
  std::atomic<bool> acknowledged_{false};
};

class RocksDbAppender final : public Appender {
 public:
  RocksDbAppender(const std::string& directory, SampleRecords* records) : records_(records) {
    rocksdb::Options options;
    options.create_if_missing = true;
    options.compression = rocksdb::kLZ4Compression;
    rocksdb::DB* db = nullptr;
    const rocksdb::Status status = rocksdb::DB::Open(options, directory, &db);
    Need(status.ok(), status.ToString());
    db_.reset(db);
  }

  Figures Run(const Load& load) override {
    std::vector<Figures> parts(load.outstanding);
    const int64_t begin = NowNs();
    if (load.outstanding == 1) {
      parts[0] = Write(load, EndOf(load, begin));
    } else {
      std::vector<std::thread> threads;
      for (Figures& part : parts) {
        threads.emplace_back([&, end = EndOf(load, begin)] { part = Write(load, end); });
      }
      for (std::thread& thread : threads) thread.join();
    }
    Figures figures;
    figures.seconds = static_cast<double>(NowNs() - begin) / 1e9;
    for (const Figures& part : parts) {
      figures.records += part.records;
      figures.latencies_ns.insert(figures.latencies_ns.end(), part.latencies_ns.begin(),
                                  part.latencies_ns.end());
    }
    return figures;
  }

 private:
  Figures Write(const Load& load, int64_t end) {
    Figures figures;
    rocksdb::WriteOptions options;
    options.sync = true;
    while (NowNs() < end) {
      rocksdb::WriteBatch writes;
      const uint64_t first = next_.fetch_add(load.batch);
      {
        std::lock_guard lock(records_mu_);
        for (size_t i = 0; i < load.batch; ++i) {
          const log::Record& record = records_->Next();
          std::array<char, 8> key;
          for (size_t byte = 0; byte < key.size(); ++byte) {
            key[byte] = static_cast<char>((first + i) >> (56 - 8 * byte));
          }
          const rocksdb::Slice key_part(key.data(), key.size());
          const rocksdb::Slice value_parts[] = {record.key, record.header, record.value};
          Need(writes.Put(rocksdb::SliceParts(&key_part, 1), rocksdb::SliceParts(value_parts, 3))
                   .ok(),
               "WriteBatch::Put");
        }
      }
      const int64_t start = NowNs();
      const rocksdb::Status status = db_->Write(options, &writes);
      Need(status.ok(), status.ToString());
      figures.latencies_ns.push_back(NowNs() - start);
      figures.records += load.batch;
    }
    return figures;
  }

  std::mutex records_mu_;
  SampleRecords* const records_;
  std::atomic<uint64_t> next_{0};
  std::unique_ptr<rocksdb::DB> db_;
};

class KafkaAppender final : public Appender {
 public:
  KafkaAppender(const log::KafkaOptions& options, const std::string& topic, bool transactional,
                SampleRecords* records)
      : records_(records), transactional_(transactional) {
    rd_kafka_conf_t* conf = rd_kafka_conf_new();
    char text[512];
    std::vector<std::pair<const char*, std::string>> settings = {
        {"bootstrap.servers", options.bootstrap_servers},
        {"socket.nagle.disable", "true"},
        {"enable.idempotence", "true"},
        {"acks", "all"},
        {"queue.buffering.max.ms", "0"},
        {"compression.codec", "lz4"},
        {"message.max.bytes", "1050000"},
        {"queue.buffering.max.messages", "201000"},
        {"queue.buffering.max.kbytes", "231072"}};
    if (transactional_) {
      settings.emplace_back("transactional.id", absl::StrCat("bench-", topic));
    } else {
      settings.emplace_back("message.timeout.ms", "0");
    }
    for (const auto& [name, value] : settings) {
      Need(rd_kafka_conf_set(conf, name, value.c_str(), text, sizeof text) == RD_KAFKA_CONF_OK,
           text);
    }
    rd_kafka_conf_set_opaque(conf, this);
    rd_kafka_conf_set_dr_msg_cb(conf,
                                [](rd_kafka_t*, const rd_kafka_message_t* message, void* self) {
                                  static_cast<KafkaAppender*>(self)->OnDelivery(*message);
                                });
    client_ = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    Need(client_ != nullptr, text);
    topic_ = rd_kafka_topic_new(client_, topic.c_str(), nullptr);
    if (transactional_) NeedNoError(rd_kafka_init_transactions(client_, 20'000));
  }

  ~KafkaAppender() override {
    rd_kafka_topic_destroy(topic_);
    rd_kafka_destroy(client_);
  }

  Figures Run(const Load& load) override {
    figures_ = {};
    const int64_t begin = NowNs();
    const int64_t end = EndOf(load, begin);
    while (NowNs() < end) {
      while (under_way_.size() >= load.outstanding) rd_kafka_poll(client_, 100);
      Append& append = under_way_.emplace_back(Append{NowNs(), load.batch, load.batch});
      if (transactional_) NeedNoError(rd_kafka_begin_transaction(client_));
      for (size_t i = 0; i < load.batch; ++i) Produce(records_->Next(), &append);
      rd_kafka_poll(client_, 0);
      if (transactional_) {
        NeedNoError(rd_kafka_commit_transaction(client_, 20'000));
        Need(append.left == 0, "records without a report after a commit");
        Finish();
      }
    }
    while (!under_way_.empty()) rd_kafka_poll(client_, 100);
    figures_.seconds = static_cast<double>(NowNs() - begin) / 1e9;
    return std::move(figures_);
  }

 private:
  struct Append {
    int64_t start_ns;
    size_t records;
    size_t left;
  };

  static void NeedNoError(rd_kafka_error_t* error) {
    Need(error == nullptr, rd_kafka_error_string(error));
  }

  void Produce(const log::Record& record, Append* append) {
    rd_kafka_headers_t* headers = rd_kafka_headers_new(1);
    rd_kafka_header_add(headers, "tidegate", -1, record.header.data(),
                        static_cast<ssize_t>(record.header.size()));
    const rd_kafka_resp_err_t error = rd_kafka_producev(
        client_, RD_KAFKA_V_RKT(topic_), RD_KAFKA_V_PARTITION(0),
        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
        RD_KAFKA_V_KEY(record.key.data(), record.key.size()),
        RD_KAFKA_V_VALUE(const_cast<char*>(record.value.data()), record.value.size()),
        RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_OPAQUE(append), RD_KAFKA_V_END);
    Need(error == RD_KAFKA_RESP_ERR_NO_ERROR, rd_kafka_err2str(error));
  }

  // On the thread of Run, inside a poll or a commit.
  void OnDelivery(const rd_kafka_message_t& message) {
    Need(message.err == RD_KAFKA_RESP_ERR_NO_ERROR, rd_kafka_err2str(message.err));
    --static_cast<Append*>(message._private)->left;
    if (!transactional_) Finish();
  }

  // Reports come in the order of the records.
  void Finish() {
    while (!under_way_.empty() && under_way_.front().left == 0) {
      figures_.latencies_ns.push_back(NowNs() - under_way_.front().start_ns);
      figures_.records += under_way_.front().records;
      under_way_.pop_front();
    }
  }

  SampleRecords* const records_;
  const bool transactional_;
  rd_kafka_t* client_ = nullptr;
  rd_kafka_topic_t* topic_ = nullptr;
  std::deque<Append> under_way_;
  Figures figures_;
};

}  // namespace

std::unique_ptr<Appender> ForLog(log::Log* log, log::TopicPartition at, SampleRecords* records) {
  return std::make_unique<LogAppender>(log, at, records);
}

std::unique_ptr<Appender> ForReadBack(log::Log* log, log::TopicPartition at,
                                      SampleRecords* records) {
  return std::make_unique<ReadBackAppender>(log, at, records);
}

std::unique_ptr<Appender> ForRocksDb(const std::string& directory, SampleRecords* records) {
  return std::make_unique<RocksDbAppender>(directory, records);
}

std::unique_ptr<Appender> ForKafka(const log::KafkaOptions& options, const std::string& topic,
                                   bool transactional, SampleRecords* records) {
  return std::make_unique<KafkaAppender>(options, topic, transactional, records);
}

}  // namespace tidegate::bench
