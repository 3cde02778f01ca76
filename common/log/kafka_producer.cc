#include "common/log/kafka_producer.h"

#include <chrono>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"

namespace tidegate::log {
namespace {

constexpr int kPollMs = 100;
// The largest that the library takes.
constexpr size_t kQueueRecordsMax = 10'000'000;
constexpr size_t kQueueKilobytesMax = 2'147'483'647;
constexpr std::chrono::seconds kRenewPatience(5);

absl::Status ToStatus(rd_kafka_resp_err_t error) {
  const std::string text = KafkaErrorText(error);
  switch (error) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
      return absl::OkStatus();
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
      return absl::InvalidArgumentError(text);
    default:
      return absl::AbortedError(text);
  }
}

}  // namespace

// One append until its last delivery report.
struct KafkaProducer::UnderWay {
  KafkaProducer* producer;
  TopicPartition at;
  Log::AppendDone done;
  size_t bytes;
  size_t records;
  // Records without a report, and one for Append itself.
  std::atomic<size_t> left;
  // In waiting_, while `done` was not called.
  std::optional<std::multimap<std::chrono::steady_clock::time_point, UnderWay*>::iterator> place;
  std::mutex mu;
  absl::Status status;  // the first error
  uint64_t end = 0;

  void Note(rd_kafka_resp_err_t error, int64_t offset) {
    std::lock_guard lock(mu);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
      if (status.ok()) status = ToStatus(error);
    } else if (offset >= 0) {
      end = std::max(end, static_cast<uint64_t>(offset) + 1);
    }
  }
};

KafkaProducer::KafkaProducer(const KafkaOptions& options, OnEnd on_end)
    : options_(options), on_end_(std::move(on_end)) {
  for (const Topic topic : AllTopics()) {
    for (uint32_t p = 0; p < KafkaPartitionCount(options_, topic); ++p) {
      partitions_.try_emplace({topic, p}, options_.queue_bytes_max, options_.queue_records_max);
    }
  }
}

absl::StatusOr<std::unique_ptr<KafkaProducer>> KafkaProducer::Create(const KafkaOptions& options,
                                                                     OnEnd on_end) {
  std::unique_ptr<KafkaProducer> producer(new KafkaProducer(options, std::move(on_end)));
  ASSIGN_OR_RETURN(producer->instance_, producer->MakeInstance());
  producer->thread_ = std::thread([p = producer.get()] { p->Run(); });
  return producer;
}

absl::StatusOr<std::unique_ptr<KafkaClient>> KafkaProducer::MakeInstance() {
  // On the producer's thread, of the present instance or of one that is being dropped.
  const auto on_error = [](rd_kafka_t* client, int error, const char* reason, void* opaque) {
    auto* self = static_cast<KafkaProducer*>(opaque);
    if (error == RD_KAFKA_RESP_ERR__FATAL) {
      if (self->instance_->client.get() == client) self->fatal_.store(true);
    } else {
      LogEvent(LogLevel::kWarning, "kafka_producer", {{"error", reason}});
    }
  };
  ASSIGN_OR_RETURN(
      KafkaHandle client,
      MakeKafkaClient(
          RD_KAFKA_PRODUCER, options_,
          {{"enable.idempotence", "true"},
           {"acks", "all"},
           // A batch is what queued while others were under way.
           {"queue.buffering.max.ms", "0"},
           {"compression.codec", "lz4"},
           {"message.max.bytes", absl::StrCat(kRecordBytesMax + 50'000)},
           // A record that the library gave up while a later one went out would be a hole. So it
           // never gives up: the timeout of an append is ours, see Expire().
           {"message.timeout.ms", "0"},
           // Nor does it go on behind a batch that a broker refused for good.
           {"enable.gapless.guarantee", "true"},
           {"request.timeout.ms", "8000"},
           // Above our own bounds, which are the ones that refuse.
           {"queue.buffering.max.messages",
            absl::StrCat(std::min(kQueueRecordsMax,
                                  partitions_.size() * options_.queue_records_max + 1000))},
           {"queue.buffering.max.kbytes",
            absl::StrCat(std::min(kQueueKilobytesMax,
                                  partitions_.size() * options_.queue_bytes_max / 512 + 100'000))}},
          on_error, &KafkaProducer::OnDelivery, this));
  return std::make_unique<KafkaClient>(WithTopics(std::move(client), options_));
}

KafkaProducer::~KafkaProducer() {
  if (!thread_.joinable()) return;
  closing_.store(true);
  thread_.join();
  rd_kafka_flush(instance_->client.get(), options_.close_wait_ms);
  Drop(*instance_);
}

rd_kafka_resp_err_t KafkaProducer::Produce(TopicPartition at, const Record& record,
                                           UnderWay* append) {
  rd_kafka_headers_t* headers = nullptr;
  if (!record.header.empty()) {
    headers = rd_kafka_headers_new(1);
    rd_kafka_header_add(headers, kKafkaHeaderName, -1, record.header.data(),
                        static_cast<ssize_t>(record.header.size()));
  }
  const rd_kafka_resp_err_t error = rd_kafka_producev(
      instance_->client.get(), RD_KAFKA_V_RKT(instance_->topics.at(at.topic).get()),
      RD_KAFKA_V_PARTITION(static_cast<int32_t>(at.partition)),
      RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
      RD_KAFKA_V_KEY(record.key.data(), record.key.size()),
      RD_KAFKA_V_VALUE(const_cast<char*>(record.value.data()), record.value.size()),
      RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_OPAQUE(append), RD_KAFKA_V_END);
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR && headers != nullptr) rd_kafka_headers_destroy(headers);
  return error;
}

void KafkaProducer::Append(TopicPartition at, std::vector<Record> records, int64_t patience_ms,
                           Log::AppendDone done) {
  size_t bytes = 0;
  absl::Status status = MeasureRecords(at, records, &bytes);
  const auto partition = partitions_.find(at);
  if (status.ok() && partition == partitions_.end()) {
    status = absl::InvalidArgumentError(absl::StrCat("there is no ", Name(at)));
  }
  if (status.ok()) {
    std::lock_guard lock(budget_mu_);
    status = partition->second.budget.Take(bytes, records.size());
  }
  if (!status.ok()) return done(std::move(status));

  auto* append = new UnderWay{.producer = this,
                              .at = at,
                              .done = std::move(done),
                              .bytes = bytes,
                              .records = records.size(),
                              .left = records.size() + 1};
  {
    std::lock_guard lock(waiting_mu_);
    append->place = waiting_.emplace(
        std::chrono::steady_clock::now() + std::chrono::milliseconds(patience_ms), append);
  }
  {
    std::shared_lock instance(instance_mu_);
    std::lock_guard in_order(partition->second.order);
    rd_kafka_resp_err_t error = RD_KAFKA_RESP_ERR_NO_ERROR;
    for (const Record& record : records) {
      // After the first refusal nothing may follow, or there would be a hole.
      if (error == RD_KAFKA_RESP_ERR_NO_ERROR) error = Produce(at, record, append);
      if (error == RD_KAFKA_RESP_ERR_NO_ERROR) continue;
      append->Note(error, -1);
      append->left.fetch_sub(1);
    }
  }
  if (append->left.fetch_sub(1) == 1) Settle(append);
}

void KafkaProducer::OnDelivery(rd_kafka_t*, const rd_kafka_message_t* message, void*) {
  auto* append = static_cast<UnderWay*>(message->_private);
  append->Note(message->err, message->offset);
  if (append->left.fetch_sub(1) == 1) append->producer->Settle(append);
}

void KafkaProducer::Settle(UnderWay* append) {
  const std::unique_ptr<UnderWay> settled(append);
  {
    std::lock_guard lock(budget_mu_);
    partitions_.at(settled->at).budget.Return(settled->bytes, settled->records);
  }
  if (settled->status.ok() && settled->records > 0) on_end_(settled->at, settled->end);
  {
    std::lock_guard lock(waiting_mu_);
    if (!settled->place.has_value()) return;  // it was told that it took too long
    waiting_.erase(*settled->place);
  }
  if (!settled->status.ok() && closing_.load()) {
    settled->status = absl::UnavailableError("the log is closed");
  }
  settled->done(std::move(settled->status));
}

// Tells appends that took too long. Their records still go out, in order, when the brokers are
// back.
void KafkaProducer::Expire() {
  const auto now = std::chrono::steady_clock::now();
  std::vector<Log::AppendDone> late;
  {
    std::lock_guard lock(waiting_mu_);
    while (!waiting_.empty() && waiting_.begin()->first <= now) {
      UnderWay* append = waiting_.begin()->second;
      late.push_back(std::move(append->done));
      append->place.reset();
      waiting_.erase(waiting_.begin());
    }
  }
  for (const Log::AppendDone& done : late) {
    done(absl::DeadlineExceededError(
        "Kafka did not acknowledge it in time; it may be stored all the same"));
  }
}

void KafkaProducer::Run() {
  while (!closing_.load()) {
    rd_kafka_poll(instance_->client.get(), kPollMs);
    Expire();
    if (fatal_.load() || renew_.exchange(false)) Replace();
  }
}

// A new instance takes the place of the present one, which is returned; nullptr: there can be none
// now, as while certificates are being written.
std::unique_ptr<KafkaClient> KafkaProducer::Exchange() {
  auto fresh = MakeInstance();
  if (!fresh.ok()) {
    LogEvent(LogLevel::kError, "kafka_producer_not_replaced",
             {{"status", fresh.status().ToString()}});
    return nullptr;
  }
  std::unique_lock exclusive(instance_mu_);
  instance_.swap(*fresh);
  return *std::move(fresh);
}

// After a fatal error, what waits in the library's producer fails. Otherwise it is sent first,
// while later appends go to the new one.
void KafkaProducer::Replace() {
  char text[512] = "renewed";
  const bool fatal = fatal_.exchange(false);
  if (fatal) rd_kafka_fatal_error(instance_->client.get(), text, sizeof text);
  LogEvent(fatal ? LogLevel::kError : LogLevel::kInfo, "kafka_producer_replaced",
           {{"reason", text}});
  const std::unique_ptr<KafkaClient> old = Exchange();
  if (old == nullptr) {
    (fatal ? fatal_ : renew_).store(true);  // tried again in the next turn
    return;
  }
  const auto give_up = std::chrono::steady_clock::now() + kRenewPatience;
  while (!fatal && rd_kafka_outq_len(old->client.get()) > 0 &&
         std::chrono::steady_clock::now() < give_up) {
    rd_kafka_poll(old->client.get(), 1);
    rd_kafka_poll(instance_->client.get(), 1);
    Expire();
  }
  Drop(*old);
}

// Every append that waits in it is settled.
void KafkaProducer::Drop(KafkaClient& instance) {
  rd_kafka_purge(instance.client.get(), RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
  while (rd_kafka_outq_len(instance.client.get()) > 0) {
    rd_kafka_poll(instance.client.get(), kPollMs);
  }
}

void KafkaProducer::FailFatally() {
  std::shared_lock instance(instance_mu_);
  rd_kafka_test_fatal_error(instance_->client.get(), RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
                            "told to fail");
}

}  // namespace tidegate::log
