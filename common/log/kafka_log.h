// The log of many machines: Apache Kafka through librdkafka. One idempotent producer per process,
// acks=all, no transactions, no consumer groups: who may write is settled by fences in the journals
// (docs/runtime.md), not by the broker.
//
// A record's key and value are those of the Kafka record; its header is the one Kafka header
// "tidegate". Readers see a record once it is replicated (the high watermark).
//
//   ASSIGN_OR_RETURN(auto log, KafkaLog::Open({.bootstrap_servers = "kafka-0:9092"}));
//   log->Append({Topic::kLedger, 0}, std::move(records), [](absl::Status s) { ... });
#pragma once

#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/log/kafka_feed.h"
#include "common/log/kafka_options.h"
#include "common/log/kafka_producer.h"
#include "common/log/log.h"
#include "common/log/watch_list.h"
#include "common/tls/certificate_files.h"

namespace tidegate::log {

// Thread-safe. `done` of appends runs on the producer's thread, `done` of ends on a thread of this
// log, `wake` on threads of librdkafka.
//
// A failed append (DEADLINE_EXCEEDED, ABORTED) says nothing of later ones; a producer that the
// library gave up is replaced by a new one.
class KafkaLog final : public Log {
 public:
  // Waits until the cluster answers; makes or verifies the topics. Errors: UNAVAILABLE it does not
  // answer in start_timeout_ms; FAILED_PRECONDITION a topic differs from what is wanted (each is
  // named); INVALID_ARGUMENT a setting.
  static absl::StatusOr<std::unique_ptr<KafkaLog>> Open(const KafkaOptions& options);
  // Sends what is queued (bounded by close_wait_ms), then closes. No other call may run.
  ~KafkaLog() override;

  void Append(TopicPartition at, std::vector<Record> records, AppendDone done) override;
  void AppendWithin(TopicPartition at, std::vector<Record> records, int64_t patience_ms,
                    AppendDone done) override;
  absl::Status Read(TopicPartition at, uint64_t offset, size_t records_max, size_t bytes_max,
                    std::vector<StoredRecord>* out) override;
  uint64_t End(TopicPartition at) override;
  void QueryEnd(TopicPartition at, const EndDone& done) override;
  uint64_t Watch(TopicPartition at, std::function<void()> wake) override;
  void Unwatch(uint64_t watch_id) override;

  // As the cluster tells it.
  const std::string& cluster_id() const { return cluster_id_; }
  // Whether the cluster answered lately, and how long ago, for people. Any thread.
  std::pair<bool, std::string> Health() const;
  int64_t AnswerAgeMs() const;
  // For tests.
  KafkaProducer& producer() { return *producer_; }

 private:
  struct Feed {
    std::shared_ptr<KafkaClient> consumer;
    std::unique_ptr<KafkaFeed> feed;  // destroyed first; null: the place is free
  };
  struct Partition {
    std::atomic<uint64_t> end{0};
    std::mutex mu;
    // Guarded by mu. Feed i reads through consumers_[i]. Nothing that they read is lost with them.
    std::vector<Feed> feeds;
    size_t next_victim = 0;
  };

  explicit KafkaLog(const KafkaOptions& options) : options_(options) {}
  absl::Status Start();
  absl::StatusOr<std::shared_ptr<KafkaClient>> ConsumerOf(size_t feed);
  absl::StatusOr<KafkaFeed*> FeedFor(Partition& partition, TopicPartition at, uint64_t offset);
  absl::Status OnOutOfRange(TopicPartition at, uint64_t offset);
  absl::Status MakeEndsClient();
  absl::Status FollowCertificates();
  void RenewClientsIfRotated();
  void RenewConsumers();
  void RaiseEnd(TopicPartition at, uint64_t end);
  using Ends = std::map<TopicPartition, absl::StatusOr<uint64_t>>;
  using Questions = std::vector<std::pair<TopicPartition, EndDone>>;
  void AnswerEnds();
  Ends AskEnds(const std::set<TopicPartition>& of);
  void AnswerFrom(const std::set<TopicPartition>& of, Questions* asked);

  const KafkaOptions options_;
  std::string cluster_id_;
  WatchList watches_;
  std::map<TopicPartition, Partition> partitions_;  // constant after Start

  std::mutex consumers_mu_;
  // Guarded by consumers_mu_. Held by whoever reads through it.
  std::vector<std::shared_ptr<KafkaClient>> consumers_;

  std::mutex ends_mu_;
  std::condition_variable ends_wake_;
  // Guarded by ends_mu_.
  Questions ends_asked_;
  bool stopping_ = false;
  std::thread ends_thread_;
  std::atomic<int64_t> answered_ms_{0};  // steady clock, of the last answer of the cluster

  // Of the ends' thread.
  std::vector<tls::Follower> certificates_;
  int64_t look_at_certificates_at_ms_ = 0;
  KafkaHandle ends_client_;
  int64_t renew_ends_client_at_ms_ = 0;
  // Whose end was not told when it was last asked for. One of these makes the question fail for all
  // that are asked with it, so each is asked for alone.
  std::set<TopicPartition> silent_;

  std::unique_ptr<KafkaProducer> producer_;
};

}  // namespace tidegate::log
