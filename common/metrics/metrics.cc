#include "common/metrics/metrics.h"

#include <prometheus/text_serializer.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/metrics/names.h"
#include "common/metrics/process_metrics.h"

namespace tidegate::metrics {
namespace {

prometheus::Family<prometheus::Counter>& CounterFamily(prometheus::Registry& registry,
                                                       const MetricDescription& metric) {
  return prometheus::BuildCounter()
      .Name(std::string(metric.name))
      .Help(std::string(metric.help))
      .Register(registry);
}

prometheus::Family<prometheus::Gauge>& GaugeFamily(prometheus::Registry& registry,
                                                   const MetricDescription& metric) {
  return prometheus::BuildGauge()
      .Name(std::string(metric.name))
      .Help(std::string(metric.help))
      .Register(registry);
}

}  // namespace

Metrics::Metrics()
    : stage_in_(CounterFamily(registry_, Described("tidegate_stage_in_total"))),
      stage_out_(CounterFamily(registry_, Described("tidegate_stage_out_total"))),
      stage_dropped_(CounterFamily(registry_, Described("tidegate_stage_dropped_total"))),
      stage_age_(GaugeFamily(registry_, Described("tidegate_stage_age_seconds"))),
      lag_records_(GaugeFamily(registry_, Described("tidegate_lag_records"))),
      lag_seconds_(GaugeFamily(registry_, Described("tidegate_lag_seconds"))),
      journal_records_(CounterFamily(registry_, Described("tidegate_journal_records_total"))),
      journal_void_(CounterFamily(registry_, Described("tidegate_journal_void_records_total"))),
      journal_fences_(CounterFamily(registry_, Described("tidegate_journal_fences_total"))),
      journal_live_(GaugeFamily(registry_, Described("tidegate_journal_live"))),
      outbox_records_(GaugeFamily(registry_, Described("tidegate_outbox_records"))),
      append_failures_(CounterFamily(registry_, Described("tidegate_log_append_failures_total"))),
      append_seconds_(Described("tidegate_log_append_seconds")),
      kafka_answer_age_(GaugeFamily(registry_, Described("tidegate_kafka_answer_age_seconds"))),
      rpc_started_(CounterFamily(registry_, Described("grpc_server_started_total"))),
      rpc_handled_(CounterFamily(registry_, Described("grpc_server_handled_total"))),
      rpc_seconds_(Described("grpc_server_handling_seconds")),
      bucket_tokens_(GaugeFamily(registry_, Described("tidegate_token_bucket_tokens"))),
      bucket_capacity_(GaugeFamily(registry_, Described("tidegate_token_bucket_capacity"))),
      bucket_lockout_(GaugeFamily(registry_, Described("tidegate_token_bucket_lockout_seconds"))),
      near_limit_(CounterFamily(registry_, Described("tidegate_token_bucket_near_limit_total"))),
      over_limit_(CounterFamily(registry_, Described("tidegate_token_bucket_over_limit_total"))),
      calls_(CounterFamily(registry_, Described("tidegate_wecom_calls_total"))),
      delayed_(CounterFamily(registry_, Described("tidegate_dispatch_delayed_total"))),
      callbacks_(CounterFamily(registry_, Described("tidegate_callbacks_total"))),
      doubt_open_(GaugeFamily(registry_, Described("tidegate_doubt_open"))),
      doubt_oldest_(GaugeFamily(registry_, Described("tidegate_doubt_oldest_seconds"))),
      doubt_parked_(GaugeFamily(registry_, Described("tidegate_doubt_parked"))),
      duplicates_(CounterFamily(registry_, Described("tidegate_duplicates_detected_total"))),
      campaigns_(GaugeFamily(registry_, Described("tidegate_campaigns"))),
      touches_(GaugeFamily(registry_, Described("tidegate_campaign_touches"))),
      forecast_(GaugeFamily(registry_, Described("tidegate_campaign_forecast_seconds"))),
      not_trusted_(GaugeFamily(registry_, Described("tidegate_lane_untrusted_corps"))),
      build_info_(GaugeFamily(registry_, Described("tidegate_build_info"))) {}

Stage Metrics::MakeStage(const std::string& stage, uint32_t partition) {
  const std::map<std::string, std::string> labels = {{"stage", stage},
                                                     {"partition", absl::StrCat(partition)}};
  return Stage(TotalCounter(&stage_in_.Add(labels)), TotalCounter(&stage_out_.Add(labels)),
               TotalCounter(&stage_dropped_.Add(labels)), &stage_age_.Add(labels));
}

Metrics::Journal Metrics::MakeJournal(const std::string& journal) {
  const std::map<std::string, std::string> labels = {{"journal", journal}};
  return {TotalCounter(&journal_records_.Add(labels)), TotalCounter(&journal_void_.Add(labels)),
          TotalCounter(&journal_fences_.Add(labels)), &journal_live_.Add(labels),
          &outbox_records_.Add(labels)};
}

Metrics::Lag Metrics::MakeLag(const std::string& stage, uint32_t partition,
                              const std::string& input) {
  const Labels labels = {
      {"stage", stage}, {"partition", absl::StrCat(partition)}, {"input", input}};
  return {&lag_records_.Add(labels), &lag_seconds_.Add(labels)};
}

Metrics::Append Metrics::MakeAppend(const std::string& topic) {
  const Labels labels = {{"topic", topic}};
  return {&append_seconds_.Add(labels), &append_failures_.Add(labels)};
}

void Metrics::SetKafkaAnswerAge(double seconds) { kafka_answer_age_.Add({}).Set(seconds); }

Metrics::Rpc Metrics::MakeRpc(const std::string& service, const std::string& method) {
  const Labels labels = {{"grpc_service", service}, {"grpc_method", method}};
  return {&rpc_started_.Add(labels), &rpc_seconds_.Add(labels)};
}

prometheus::Counter& Metrics::RpcHandled(const std::string& service, const std::string& method,
                                         const std::string& code) {
  return rpc_handled_.Add(
      {{"grpc_service", service}, {"grpc_method", method}, {"grpc_code", code}});
}

void Metrics::SetBucket(const std::string& api, const std::string& scope, const std::string& window,
                        double tokens, double capacity, double lockout_seconds) {
  const auto share = [](const Bucket& of) { return of.capacity > 0 ? of.tokens / of.capacity : 0; };
  const Bucket told{tokens, capacity, lockout_seconds};
  std::lock_guard lock(mu_);
  const auto [it, fresh] =
      buckets_.try_emplace({{"api", api}, {"scope", scope}, {"window", window}}, told);
  if (fresh) return;
  const double longest = std::max(it->second.lockout_seconds, lockout_seconds);
  if (share(told) < share(it->second)) it->second = told;
  it->second.lockout_seconds = longest;
}

void Metrics::WriteBuckets() {
  std::lock_guard lock(mu_);
  if (buckets_.empty()) return;
  for (auto& [labels, missed] : buckets_shown_) ++missed;
  for (const auto& [labels, bucket] : buckets_) {
    bucket_tokens_.Add(labels).Set(bucket.tokens);
    bucket_capacity_.Add(labels).Set(bucket.capacity);
    bucket_lockout_.Add(labels).Set(bucket.lockout_seconds);
    buckets_shown_[labels] = 0;
  }
  buckets_.clear();
  std::erase_if(buckets_shown_, [this](const auto& shown) {
    if (shown.second < 2) return false;
    for (auto* family : {&bucket_tokens_, &bucket_capacity_, &bucket_lockout_}) {
      family->Remove(&family->Add(shown.first));
    }
    return true;
  });
}

void Metrics::SetTotal(uint32_t lane, prometheus::Counter& counter, uint64_t total) {
  std::lock_guard lock(mu_);
  lane_totals_.try_emplace({lane, &counter}, TotalCounter(&counter)).first->second.Set(total);
}

void Metrics::SetLimits(uint32_t lane, const std::string& api, uint64_t near_limit,
                        uint64_t over_limit) {
  SetTotal(lane, near_limit_.Add({{"api", api}}), near_limit);
  SetTotal(lane, over_limit_.Add({{"api", api}}), over_limit);
}

void Metrics::SetCalls(uint32_t lane, const std::string& api, const std::string& errcode,
                       uint64_t total) {
  SetTotal(lane, calls_.Add({{"api", api}, {"errcode", errcode}}), total);
}

void Metrics::SetDelayed(uint32_t lane, const std::string& cause, uint64_t total) {
  SetTotal(lane, delayed_.Add({{"cause", cause}}), total);
}

void Metrics::SetDoubts(uint32_t lane, double open, double oldest_seconds, double parked) {
  const Labels labels = {{"lane", absl::StrCat(lane)}};
  doubt_open_.Add(labels).Set(open);
  doubt_oldest_.Add(labels).Set(oldest_seconds);
  doubt_parked_.Add(labels).Set(parked);
}

void Metrics::SetDuplicates(uint32_t lane, uint64_t total) {
  SetTotal(lane, duplicates_.Add({{"lane", absl::StrCat(lane)}}), total);
}

void Metrics::SetCampaigns(uint32_t lane, const std::string& state, double count) {
  campaigns_.Add({{"lane", absl::StrCat(lane)}, {"state", state}}).Set(count);
}

void Metrics::SetTouches(uint32_t lane, const std::string& status, double count) {
  touches_.Add({{"lane", absl::StrCat(lane)}, {"status", status}}).Set(count);
}

void Metrics::SetForecast(uint32_t lane, double seconds) {
  forecast_.Add({{"lane", absl::StrCat(lane)}}).Set(seconds);
}

void Metrics::SetNotTrusted(uint32_t lane, double corps) {
  not_trusted_.Add({{"lane", absl::StrCat(lane)}}).Set(corps);
}

void Metrics::SetBuildInfo(const std::string& version, const std::string& commit,
                           const std::string& build_type) {
  build_info_.Add({{"version", version}, {"commit", commit}, {"build_type", build_type}}).Set(1);
}

prometheus::Counter& Metrics::Callbacks(const std::string& result) {
  return callbacks_.Add({{"result", result}});
}

std::string Metrics::Render() {
  WriteBuckets();
  std::vector<prometheus::MetricFamily> all = registry_.Collect();
  for (const HistogramFamily* family : {&append_seconds_, &rpc_seconds_}) {
    all.push_back(family->Collect());
  }
  for (prometheus::MetricFamily& family : CollectProcess()) all.push_back(std::move(family));
  // A family without a series would be a name without a value.
  std::erase_if(all, [](const prometheus::MetricFamily& family) { return family.metric.empty(); });
  return prometheus::TextSerializer().Serialize(all);
}

}  // namespace tidegate::metrics
