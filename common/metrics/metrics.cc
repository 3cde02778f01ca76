#include "common/metrics/metrics.h"

#include <prometheus/text_serializer.h>

#include "absl/strings/str_cat.h"

namespace tidegate::metrics {
namespace {

prometheus::Family<prometheus::Counter>& CounterFamily(prometheus::Registry& registry,
                                                       const char* name, const char* help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
}

prometheus::Family<prometheus::Gauge>& GaugeFamily(prometheus::Registry& registry, const char* name,
                                                   const char* help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry);
}

}  // namespace

Metrics::Metrics()
    : stage_in_(
          CounterFamily(registry_, "tidegate_stage_in_total", "Records that a stage took in.")),
      stage_out_(
          CounterFamily(registry_, "tidegate_stage_out_total", "Records that a stage finished.")),
      stage_dropped_(CounterFamily(registry_, "tidegate_stage_dropped_total",
                                   "Records that a stage refused (dead letters, invalid items).")),
      stage_age_(GaugeFamily(registry_, "tidegate_stage_age_seconds",
                             "Age of the last record when the stage took it, since receipt.")),
      journal_records_(
          CounterFamily(registry_, "tidegate_journal_records_total", "Counted records applied.")),
      journal_void_(CounterFamily(registry_, "tidegate_journal_void_records_total",
                                  "Records that the validity rule ignored.")),
      journal_fences_(CounterFamily(registry_, "tidegate_journal_fences_total", "Fences read.")),
      bucket_tokens_(
          GaugeFamily(registry_, "tidegate_token_bucket_tokens", "Tokens left in the bucket.")),
      bucket_capacity_(GaugeFamily(registry_, "tidegate_token_bucket_capacity", "Tokens in all.")),
      bucket_lockout_(GaugeFamily(registry_, "tidegate_token_bucket_lockout_seconds",
                                  "Seconds until WeCom's lockout ends.")),
      calls_(CounterFamily(registry_, "tidegate_wecom_calls_total",
                           "Calls by endpoint and errcode class.")),
      delayed_(CounterFamily(registry_, "tidegate_dispatch_delayed_total",
                             "Calls that WeCom made us delay.")),
      callbacks_(CounterFamily(registry_, "tidegate_callbacks_total", "Callbacks by result.")),
      doubt_open_(GaugeFamily(registry_, "tidegate_doubt_open", "Calls in doubt now.").Add({})),
      doubt_oldest_(
          GaugeFamily(registry_, "tidegate_doubt_oldest_seconds", "Age of the oldest open doubt.")
              .Add({})),
      doubt_parked_(
          GaugeFamily(registry_, "tidegate_doubt_parked", "Calls in doubt left to an operator.")
              .Add({})) {}

Stage Metrics::MakeStage(const std::string& stage, uint32_t partition) {
  const std::map<std::string, std::string> labels = {{"stage", stage},
                                                     {"partition", absl::StrCat(partition)}};
  return Stage(TotalCounter(&stage_in_.Add(labels)), TotalCounter(&stage_out_.Add(labels)),
               TotalCounter(&stage_dropped_.Add(labels)), &stage_age_.Add(labels));
}

Metrics::Journal Metrics::MakeJournal(const std::string& journal) {
  const std::map<std::string, std::string> labels = {{"journal", journal}};
  return {TotalCounter(&journal_records_.Add(labels)), TotalCounter(&journal_void_.Add(labels)),
          TotalCounter(&journal_fences_.Add(labels))};
}

void Metrics::SetBucket(const std::string& api, const std::string& scope, const std::string& window,
                        double tokens, double capacity, double lockout_seconds) {
  const std::map<std::string, std::string> labels = {
      {"api", api}, {"scope", scope}, {"window", window}};
  bucket_tokens_.Add(labels).Set(tokens);
  bucket_capacity_.Add(labels).Set(capacity);
  bucket_lockout_.Add(labels).Set(lockout_seconds);
}

void Metrics::SetCalls(const std::string& api, const std::string& errcode, uint64_t total) {
  const auto it = call_totals_
                      .try_emplace({api, errcode},
                                   TotalCounter(&calls_.Add({{"api", api}, {"errcode", errcode}})))
                      .first;
  it->second.Set(total);
}

void Metrics::SetDelayed(const std::string& cause, uint64_t total) {
  delayed_totals_.try_emplace(cause, TotalCounter(&delayed_.Add({{"cause", cause}})))
      .first->second.Set(total);
}

void Metrics::SetDoubts(double open, double oldest_seconds, double parked) {
  doubt_open_.Set(open);
  doubt_oldest_.Set(oldest_seconds);
  doubt_parked_.Set(parked);
}

prometheus::Counter& Metrics::Callbacks(const std::string& result) {
  return callbacks_.Add({{"result", result}});
}

std::string Metrics::Render() const {
  return prometheus::TextSerializer().Serialize(registry_.Collect());
}

}  // namespace tidegate::metrics
