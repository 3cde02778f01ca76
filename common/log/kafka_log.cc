#include "common/log/kafka_log.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/log/kafka_topics.h"

namespace tidegate::log {
namespace {

// Readers of one partition at different places; one more takes the place of the oldest.
constexpr size_t kFeedsMax = 4;
constexpr int kEndTimeoutMs = 1'000;
// Where nobody asks for an end, one is asked for all the same, to know that the cluster is there.
constexpr std::chrono::seconds kProbeEvery(2);
constexpr TopicPartition kProbed{Topic::kDefinitions, 0};
constexpr int64_t kHealthyMs = 10'000;
// Longer than a question takes, so that every other one finds a client that is connected.
constexpr int64_t kRenewEndsClientEveryMs = 1'500;
constexpr int64_t kLookAtCertificatesEveryMs = 500;

int64_t SteadyMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

absl::StatusOr<std::unique_ptr<KafkaLog>> KafkaLog::Open(const KafkaOptions& options) {
  std::unique_ptr<KafkaLog> log(new KafkaLog(options));
  RETURN_IF_ERROR(log->Start());
  return log;
}

absl::Status KafkaLog::Start() {
  RETURN_IF_ERROR(FollowCertificates());
  for (const Topic topic : AllTopics()) {
    for (uint32_t p = 0; p < KafkaPartitionCount(options_, topic); ++p) partitions_[{topic, p}];
  }
  // A client that meets a topic before it is there looks again only after a second: the topics come
  // before producer and consumers.
  ASSIGN_OR_RETURN(const KafkaHandle admin,
                   MakeKafkaClient(RD_KAFKA_PRODUCER, options_, {}, nullptr, nullptr, nullptr));
  RETURN_IF_ERROR(MakeOrVerifyTopics(admin.get(), options_));
  answered_ms_.store(SteadyMs());
  if (char* id = rd_kafka_clusterid(admin.get(), options_.start_timeout_ms)) {
    cluster_id_ = id;
    rd_kafka_mem_free(admin.get(), id);
  }
  ASSIGN_OR_RETURN(producer_,
                   KafkaProducer::Create(options_, [this](TopicPartition at, uint64_t end) {
                     RaiseEnd(at, end);
                     watches_.Wake(at);
                   }));
  RETURN_IF_ERROR(ConsumerOf(0).status());
  RETURN_IF_ERROR(MakeEndsClient());
  ends_thread_ = std::thread([this] { AnswerEnds(); });
  return absl::OkStatus();
}

KafkaLog::~KafkaLog() {
  {
    std::lock_guard lock(ends_mu_);
    stopping_ = true;
    ends_wake_.notify_all();
  }
  if (ends_thread_.joinable()) ends_thread_.join();
  producer_.reset();
  partitions_.clear();
}

// A consumer's connection is busy with a fetch most of the time, for up to fetch.wait.max.ms:
// whoever asks for an end on it waits behind that.
absl::Status KafkaLog::MakeEndsClient() {
  ASSIGN_OR_RETURN(ends_client_,
                   MakeKafkaClient(RD_KAFKA_CONSUMER, options_, {}, nullptr, nullptr, nullptr));
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<KafkaClient>> KafkaLog::ConsumerOf(size_t feed) {
  std::lock_guard lock(consumers_mu_);
  while (consumers_.size() <= feed) {
    ASSIGN_OR_RETURN(KafkaHandle client, MakeKafkaClient(RD_KAFKA_CONSUMER, options_,
                                                         {{"isolation.level", "read_uncommitted"},
                                                          {"auto.offset.reset", "error"},
                                                          {"enable.auto.commit", "false"},
                                                          {"enable.auto.offset.store", "false"},
                                                          {"check.crcs", "true"},
                                                          {"fetch.wait.max.ms", "100"},
                                                          {"fetch.error.backoff.ms", "50"},
                                                          // What may wait unread, per partition.
                                                          {"queued.max.messages.kbytes", "16384"}},
                                                         nullptr, nullptr, nullptr));
    consumers_.push_back(std::make_shared<KafkaClient>(WithTopics(std::move(client), options_)));
  }
  return consumers_[feed];
}

void KafkaLog::Append(TopicPartition at, std::vector<Record> records, AppendDone done) {
  producer_->Append(at, std::move(records), options_.append_timeout_ms, std::move(done));
}

void KafkaLog::AppendWithin(TopicPartition at, std::vector<Record> records, int64_t patience_ms,
                            AppendDone done) {
  producer_->Append(at, std::move(records),
                    std::min<int64_t>(patience_ms, options_.append_timeout_ms), std::move(done));
}

void KafkaLog::RaiseEnd(TopicPartition at, uint64_t end) {
  std::atomic<uint64_t>& known = partitions_.at(at).end;
  uint64_t before = known.load();
  while (before < end && !known.compare_exchange_weak(before, end)) {
  }
}

// Requires partition.mu.
absl::StatusOr<KafkaFeed*> KafkaLog::FeedFor(Partition& partition, TopicPartition at,
                                             uint64_t offset) {
  size_t place = partition.feeds.size();
  for (size_t i = 0; i < partition.feeds.size(); ++i) {
    const KafkaFeed* feed = partition.feeds[i].feed.get();
    if (feed != nullptr && feed->Holds(offset)) return partition.feeds[i].feed.get();
    if (feed == nullptr) place = i;
  }
  if (place == kFeedsMax) place = partition.next_victim++ % kFeedsMax;
  if (place == partition.feeds.size()) partition.feeds.emplace_back();
  Feed& at_place = partition.feeds[place];
  at_place.feed.reset();
  ASSIGN_OR_RETURN(at_place.consumer, ConsumerOf(place));
  ASSIGN_OR_RETURN(at_place.feed, KafkaFeed::Open(at_place.consumer->client.get(),
                                                  at_place.consumer->topics.at(at.topic).get(), at,
                                                  offset, [this, at] { watches_.Wake(at); }));
  return at_place.feed.get();
}

absl::Status KafkaLog::Read(TopicPartition at, uint64_t offset, size_t records_max,
                            size_t bytes_max, std::vector<StoredRecord>* out) {
  out->clear();
  if (records_max == 0) return absl::OkStatus();
  const auto found = partitions_.find(at);
  if (found == partitions_.end()) {
    return absl::InvalidArgumentError(absl::StrCat("there is no ", Name(at)));
  }
  Partition& partition = found->second;
  std::lock_guard lock(partition.mu);
  ASSIGN_OR_RETURN(KafkaFeed* const feed, FeedFor(partition, at, offset));
  const absl::Status status = feed->Read(offset, records_max, bytes_max, out);
  if (absl::IsOutOfRange(status)) {
    for (auto& held : partition.feeds) {
      if (held.feed.get() == feed) held.feed.reset();
    }
    return OnOutOfRange(at, offset);
  }
  RaiseEnd(at, feed->next());
  return status;
}

// A position past the end is only early; one before the beginning is lost.
absl::Status KafkaLog::OnOutOfRange(TopicPartition at, uint64_t offset) {
  ASSIGN_OR_RETURN(const std::shared_ptr<KafkaClient> consumer, ConsumerOf(0));
  int64_t low = 0;
  int64_t high = 0;
  const rd_kafka_resp_err_t error = rd_kafka_query_watermark_offsets(
      consumer->client.get(), KafkaTopicName(options_, at.topic).c_str(),
      static_cast<int32_t>(at.partition), &low, &high, kEndTimeoutMs);
  if (error == RD_KAFKA_RESP_ERR_NO_ERROR && offset < static_cast<uint64_t>(low)) {
    return absl::DataLossError(absl::StrCat(Name(at), ": offset ", offset,
                                            " was asked for, but the partition begins at ", low,
                                            "; its topic must keep everything (retention.ms=-1)"));
  }
  return absl::OkStatus();
}

// With what the brokers told the readers beside the records, so that a backlog shows that was not
// fetched yet.
uint64_t KafkaLog::End(TopicPartition at) {
  const auto found = partitions_.find(at);
  if (found == partitions_.end()) return 0;
  std::lock_guard lock(consumers_mu_);
  for (const auto& consumer : consumers_) {
    int64_t low = 0;
    int64_t high = 0;
    if (rd_kafka_get_watermark_offsets(
            consumer->client.get(), KafkaTopicName(options_, at.topic).c_str(),
            static_cast<int32_t>(at.partition), &low, &high) == RD_KAFKA_RESP_ERR_NO_ERROR &&
        high >= 0) {
      RaiseEnd(at, static_cast<uint64_t>(high));
    }
  }
  return found->second.end.load();
}

void KafkaLog::QueryEnd(TopicPartition at, const EndDone& done) {
  std::lock_guard lock(ends_mu_);
  ends_asked_.emplace_back(at, done);
  ends_wake_.notify_all();
}

void KafkaLog::AnswerEnds() {
  while (true) {
    Questions asked;
    {
      std::unique_lock lock(ends_mu_);
      ends_wake_.wait_for(lock, kProbeEvery, [this] { return stopping_ || !ends_asked_.empty(); });
      asked.swap(ends_asked_);
      if (asked.empty()) asked.emplace_back(kProbed, [](const absl::StatusOr<uint64_t>&) {});
      if (stopping_) {
        lock.unlock();
        for (const auto& [at, done] : asked) done(absl::UnavailableError("the log is closed"));
        return;
      }
    }
    RenewClientsIfRotated();
    std::set<TopicPartition> together;
    for (const auto& [at, done] : asked) {
      if (!silent_.contains(at)) together.insert(at);
    }
    if (together.empty()) together.insert(asked.front().first);
    AnswerFrom(together, &asked);
    // The others that are asked for alone wait for the next turn, before newer questions.
    std::lock_guard lock(ends_mu_);
    ends_asked_.insert(ends_asked_.begin(), std::make_move_iterator(asked.begin()),
                       std::make_move_iterator(asked.end()));
  }
}

// Answers the questions about `of`, and takes them out of `asked`.
void KafkaLog::AnswerFrom(const std::set<TopicPartition>& of, Questions* asked) {
  const Ends ends = AskEnds(of);
  bool failed = false;
  for (const auto& [at, end] : ends) {
    if (end.ok()) {
      silent_.erase(at);
      RaiseEnd(at, *end);
      answered_ms_.store(SteadyMs());
    } else {
      silent_.insert(at);
      failed = true;
    }
  }
  // The library keeps asking the leader that it knew first, also when that one says that it is
  // none any more: only a client without memory asks around again.
  if (failed && SteadyMs() >= renew_ends_client_at_ms_) {
    renew_ends_client_at_ms_ = SteadyMs() + kRenewEndsClientEveryMs;
    if (absl::Status status = MakeEndsClient(); !status.ok()) {
      LogEvent(LogLevel::kError, "kafka_client_not_renewed", {{"status", status.ToString()}});
    }
  }
  std::erase_if(*asked, [&](const auto& question) {
    const auto answer = ends.find(question.first);
    if (answer == ends.end()) return false;
    question.second(answer->second);
    return true;
  });
}

// One request per broker.
KafkaLog::Ends KafkaLog::AskEnds(const std::set<TopicPartition>& of) {
  KafkaPartitionList list(rd_kafka_topic_partition_list_new(static_cast<int>(of.size())));
  for (const TopicPartition& at : of) {
    rd_kafka_topic_partition_list_add(list.get(), KafkaTopicName(options_, at.topic).c_str(),
                                      static_cast<int32_t>(at.partition))
        ->offset = RD_KAFKA_OFFSET_END;
  }
  const rd_kafka_resp_err_t error =
      rd_kafka_offsets_for_times(ends_client_.get(), list.get(), kEndTimeoutMs);
  Ends ends;
  size_t i = 0;
  for (const TopicPartition& at : of) {
    const rd_kafka_topic_partition_t& answer = list->elems[i++];
    const rd_kafka_resp_err_t why = error == RD_KAFKA_RESP_ERR_NO_ERROR ? answer.err : error;
    if (why == RD_KAFKA_RESP_ERR_NO_ERROR && answer.offset >= 0) {
      ends.emplace(at, static_cast<uint64_t>(answer.offset));
    } else {
      ends.emplace(at, absl::UnavailableError(absl::StrCat(
                           "the end of ", Name(at), " is not known: ", KafkaErrorText(why))));
    }
  }
  return ends;
}

absl::Status KafkaLog::FollowCertificates() {
  const auto follow = [this](tls::Follower::Read read, const std::string& name) -> absl::Status {
    ASSIGN_OR_RETURN(std::string text, read());
    certificates_.emplace_back(std::move(read), std::move(text), name);
    return absl::OkStatus();
  };
  if (!options_.ca_file.empty()) {
    RETURN_IF_ERROR(
        follow([file = options_.ca_file] { return tls::ReadAuthorities(file); }, options_.ca_file));
  }
  if (!options_.cert_file.empty()) {
    RETURN_IF_ERROR(follow([cert = options_.cert_file,
                            key = options_.key_file] { return tls::ReadKeyPair(cert, key); },
                           options_.cert_file));
  }
  return absl::OkStatus();
}

// The library reads its files once: after a rotation it takes new clients.
void KafkaLog::RenewClientsIfRotated() {
  if (SteadyMs() < look_at_certificates_at_ms_) return;
  look_at_certificates_at_ms_ = SteadyMs() + kLookAtCertificatesEveryMs;
  bool rotated = false;
  for (tls::Follower& certificate : certificates_) rotated |= certificate.Poll().has_value();
  if (!rotated) return;
  producer_->Renew();
  RenewConsumers();
  if (absl::Status status = MakeEndsClient(); !status.ok()) {
    LogEvent(LogLevel::kError, "kafka_client_not_renewed", {{"status", status.ToString()}});
  }
}

void KafkaLog::RenewConsumers() {
  {
    std::lock_guard lock(consumers_mu_);
    consumers_.clear();
  }
  for (auto& [at, partition] : partitions_) {
    {
      std::lock_guard lock(partition.mu);
      partition.feeds.clear();
    }
    watches_.Wake(at);  // readers go on where they were
  }
}

std::pair<bool, std::string> KafkaLog::Health() const {
  const int64_t age_ms = AnswerAgeMs();
  return {age_ms < kHealthyMs,
          absl::StrCat("cluster ", cluster_id_, " answered ", age_ms, " ms ago")};
}

int64_t KafkaLog::AnswerAgeMs() const { return SteadyMs() - answered_ms_.load(); }

uint64_t KafkaLog::Watch(TopicPartition at, std::function<void()> wake) {
  return watches_.Add(at, std::move(wake));
}

void KafkaLog::Unwatch(uint64_t watch_id) { watches_.Remove(watch_id); }

}  // namespace tidegate::log
