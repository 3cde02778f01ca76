// Appends on Kafka: one idempotent producer per process. An append is its records one after the
// other; it is settled by the delivery report of each, never by a flush.
//
// Thread-safe. Delivery reports, and so `done`, run on the producer's own thread.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/log/kafka_client.h"
#include "common/log/record_limits.h"

namespace tidegate::log {

class KafkaProducer {
 public:
  // Called before `done` of a good append: the partition now ends there at least.
  using OnEnd = std::function<void(TopicPartition, uint64_t end)>;
  static absl::StatusOr<std::unique_ptr<KafkaProducer>> Create(const KafkaOptions& options,
                                                               OnEnd on_end);
  // Sends what is queued, up to close_wait_ms; the rest ends UNAVAILABLE.
  ~KafkaProducer();

  // Tells DEADLINE_EXCEEDED after `patience_ms`, up to a tenth of a second later.
  void Append(TopicPartition at, std::vector<Record> records, int64_t patience_ms,
              Log::AppendDone done);

  // Goes on with a new client, which reads its certificates anew; what waits in the old one is sent
  // by it. Returns at once.
  void Renew() { renew_.store(true); }

  // For tests: as if the library had met an error that ends its producer.
  void FailFatally();

 private:
  struct UnderWay;
  KafkaProducer(const KafkaOptions& options, OnEnd on_end);
  absl::StatusOr<std::unique_ptr<KafkaClient>> MakeInstance();
  rd_kafka_resp_err_t Produce(TopicPartition at, const Record& record, UnderWay* append);
  static void OnDelivery(rd_kafka_t*, const rd_kafka_message_t* message, void* self);
  void Settle(UnderWay* append);
  void Run();
  void Expire();
  void Replace();
  std::unique_ptr<KafkaClient> Exchange();
  static void Drop(KafkaClient& instance);

  const KafkaOptions options_;
  const OnEnd on_end_;
  std::atomic<bool> closing_{false};
  std::atomic<bool> fatal_{false};
  std::atomic<bool> renew_{false};

  struct Partition {
    Partition(size_t bytes_max, size_t records_max) : budget(bytes_max, records_max) {}
    QueueBudget budget;  // guarded by budget_mu_
    std::mutex order;    // the records of an append stay next to each other
  };
  std::map<TopicPartition, Partition> partitions_;  // constant after construction
  std::mutex budget_mu_;

  std::mutex waiting_mu_;
  std::multimap<std::chrono::steady_clock::time_point, UnderWay*>
      waiting_;  // guarded by waiting_mu_

  // Shared: while records are handed to the instance. Exclusive: while it is replaced.
  std::shared_mutex instance_mu_;
  std::unique_ptr<KafkaClient> instance_;

  std::thread thread_;
};

}  // namespace tidegate::log
