// Every metric that a Tidegate process shows: name, type, labels, help. The one list: whoever
// makes a metric, draws it or alerts on it takes the name from here. Not for values (metrics.h).
//
//   CounterFamily(registry, Described("tidegate_stage_in_total"))   // a wrong name does not
//   compile
//
// Names follow Prometheus: base units, _total for counters, and of a histogram x the series
// x_bucket, x_sum and x_count. No label ever holds a customer, member or campaign. Constants only:
// any thread may read them.
#pragma once

#include <array>
#include <stdexcept>
#include <string_view>

namespace tidegate::metrics {

enum class MetricType { kCounter, kGauge, kHistogram };

struct MetricDescription {
  std::string_view name;
  MetricType type;
  // Unused places are empty. `le` of histograms is not listed.
  std::array<std::string_view, 3> labels;
  std::string_view help;
};

inline constexpr MetricDescription kMetrics[] = {
    // Stages: {stage} is ingestion, tagging, segmentation or dispatch.
    {"tidegate_stage_in_total",
     MetricType::kCounter,
     {"stage", "partition"},
     "Records that a stage took in."},
    {"tidegate_stage_out_total",
     MetricType::kCounter,
     {"stage", "partition"},
     "Records that a stage finished."},
    {"tidegate_stage_dropped_total",
     MetricType::kCounter,
     {"stage", "partition"},
     "Records that a stage refused (dead letters, invalid items)."},
    {"tidegate_stage_age_seconds",
     MetricType::kGauge,
     {"stage", "partition"},
     "Age of the last record when the stage took it, since receipt; of dispatch, how long its last "
     "call took."},
    {"tidegate_lag_records",
     MetricType::kGauge,
     {"stage", "partition", "input"},
     "Records of an input that are not taken yet."},
    {"tidegate_lag_seconds",
     MetricType::kGauge,
     {"stage", "partition", "input"},
     "Seconds since all of an input was taken last; 0 if nothing is left."},

    // Journals: {journal} as in tidegate.ledger/0.
    {"tidegate_journal_records_total",
     MetricType::kCounter,
     {"journal"},
     "Counted records applied."},
    {"tidegate_journal_void_records_total",
     MetricType::kCounter,
     {"journal"},
     "Records that the validity rule ignored."},
    {"tidegate_journal_fences_total", MetricType::kCounter, {"journal"}, "Fences read."},
    {"tidegate_journal_live",
     MetricType::kGauge,
     {"journal"},
     "1 if this process owns the journal and has read all of it, else 0."},
    {"tidegate_outbox_records",
     MetricType::kGauge,
     {"journal"},
     "Records that are decided and not yet acknowledged by their target topic."},

    // The log.
    {"tidegate_log_append_seconds",
     MetricType::kHistogram,
     {"topic"},
     "Seconds from an append to its durable end."},
    {"tidegate_log_append_failures_total",
     MetricType::kCounter,
     {"topic"},
     "Appends that ended in an error."},
    {"tidegate_kafka_answer_age_seconds",
     MetricType::kGauge,
     {},
     "Seconds since the Kafka cluster answered last; absent on the embedded log."},

    // Callbacks and calls.
    {"tidegate_callbacks_total", MetricType::kCounter, {"result"}, "Callbacks by result."},
    {"tidegate_wecom_calls_total",
     MetricType::kCounter,
     {"api", "errcode"},
     "Calls by endpoint and errcode class."},
    {"tidegate_token_bucket_tokens",
     MetricType::kGauge,
     {"api", "scope", "window"},
     "Tokens left in the bucket; of several corps the one with the fewest."},
    {"tidegate_token_bucket_capacity",
     MetricType::kGauge,
     {"api", "scope", "window"},
     "Tokens in all of that bucket."},
    {"tidegate_token_bucket_lockout_seconds",
     MetricType::kGauge,
     {"api", "scope", "window"},
     "Seconds until WeCom's lockout ends."},
    {"tidegate_token_bucket_near_limit_total",
     MetricType::kCounter,
     {"api"},
     "Calls let go with less than a fifth of a bucket left."},
    {"tidegate_token_bucket_over_limit_total",
     MetricType::kCounter,
     {"api"},
     "Calls that had to wait for tokens."},
    {"tidegate_dispatch_delayed_total",
     MetricType::kCounter,
     {"cause"},
     "Calls that were delayed, by cause."},

    // Campaigns and doubts: {lane} is the number of the egress lane.
    {"tidegate_doubt_open", MetricType::kGauge, {"lane"}, "Calls in doubt now."},
    {"tidegate_doubt_oldest_seconds",
     MetricType::kGauge,
     {"lane"},
     "Age of the oldest open doubt."},
    {"tidegate_doubt_parked", MetricType::kGauge, {"lane"}, "Calls in doubt left to an operator."},
    {"tidegate_duplicates_detected_total",
     MetricType::kCounter,
     {"lane"},
     "Mass sends found that were one too many; each is taken back where it was not sent yet."},
    {"tidegate_campaigns",
     MetricType::kGauge,
     {"lane", "state"},
     "Campaigns by state: freezing, running, paused, collecting, completed."},
    {"tidegate_campaign_touches",
     MetricType::kGauge,
     {"lane", "status"},
     "Touches of campaigns that are not completed: open, sent, failed, unconfirmed, skipped, "
     "parked."},
    {"tidegate_campaign_forecast_seconds",
     MetricType::kGauge,
     {"lane"},
     "Seconds until the last call of the running campaigns is sent, by the limits."},

    {"tidegate_lane_untrusted_corps",
     MetricType::kGauge,
     {"lane"},
     "Corps that do not trust the lane's address (errcode 60020): nothing is sent for them."},

    // gRPC.
    {"grpc_server_started_total",
     MetricType::kCounter,
     {"grpc_service", "grpc_method"},
     "RPCs that began."},
    {"grpc_server_handled_total",
     MetricType::kCounter,
     {"grpc_service", "grpc_method", "grpc_code"},
     "RPCs that ended, by status code."},
    {"grpc_server_handling_seconds",
     MetricType::kHistogram,
     {"grpc_service", "grpc_method"},
     "Seconds that an RPC took."},

    // The process.
    {"process_cpu_seconds_total", MetricType::kCounter, {}, "CPU time used, user and system."},
    {"process_resident_memory_bytes", MetricType::kGauge, {}, "Resident memory."},
    {"process_open_fds", MetricType::kGauge, {}, "Open file descriptors."},
    {"process_max_fds", MetricType::kGauge, {}, "Limit of open file descriptors."},
    {"process_start_time_seconds", MetricType::kGauge, {}, "Start of the process, Unix time."},
    {"process_threads", MetricType::kGauge, {}, "Threads."},
    {"tidegate_build_info",
     MetricType::kGauge,
     {"version", "commit", "build_type"},
     "1; its labels say what was built."},
};

// nullptr if there is none of that name.
constexpr const MetricDescription* FindMetric(std::string_view name) {
  for (const MetricDescription& metric : kMetrics) {
    if (metric.name == name) return &metric;
  }
  return nullptr;
}

// At compile time only; an unknown name ends the compilation.
consteval const MetricDescription& Described(std::string_view name) {
  const MetricDescription* const metric = FindMetric(name);
  if (metric == nullptr) throw std::invalid_argument("no such metric in kMetrics");
  return *metric;
}

}  // namespace tidegate::metrics
