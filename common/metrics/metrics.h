// The one place that names metrics. Wraps prometheus-cpp. No label ever holds a corp, customer,
// member or campaign.
//
// Handles are cheap to update (an atomic) and valid as long as Metrics. Where nothing else is said,
// any thread.
#pragma once

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "common/metrics/histogram.h"

namespace tidegate::metrics {

// A counter fed from a running total, by one thread.
class TotalCounter {
 public:
  explicit TotalCounter(prometheus::Counter* counter) : counter_(counter) {}
  void Set(uint64_t total) {
    if (total > last_) counter_->Increment(static_cast<double>(total - last_));
    last_ = total;
  }

 private:
  prometheus::Counter* counter_;
  uint64_t last_ = 0;
};

// in, out, dropped and age of one stage and partition.
class Stage {
 public:
  Stage(TotalCounter in, TotalCounter out, TotalCounter dropped, prometheus::Gauge* age_seconds)
      : in_(in), out_(out), dropped_(dropped), age_seconds_(age_seconds) {}
  void Set(uint64_t in, uint64_t out, uint64_t dropped, int64_t age_ns) {
    in_.Set(in);
    out_.Set(out);
    dropped_.Set(dropped);
    age_seconds_->Set(static_cast<double>(age_ns) * 1e-9);
  }

 private:
  TotalCounter in_;
  TotalCounter out_;
  TotalCounter dropped_;
  prometheus::Gauge* age_seconds_;
};

class Metrics {
 public:
  Metrics();

  // tidegate_stage_{in,out,dropped}_total, tidegate_stage_age_seconds {stage, partition}.
  Stage MakeStage(const std::string& stage, uint32_t partition);
  // tidegate_lag_{records,seconds} {stage, partition, input}.
  struct Lag {
    prometheus::Gauge* records;
    prometheus::Gauge* seconds;
  };
  Lag MakeLag(const std::string& stage, uint32_t partition, const std::string& input);
  // tidegate_journal_{records,void_records,fences}_total, tidegate_journal_live and
  // tidegate_outbox_records {journal}.
  struct Journal {
    TotalCounter records;
    TotalCounter void_records;
    TotalCounter fences;
    prometheus::Gauge* live;
    prometheus::Gauge* outbox;
  };
  Journal MakeJournal(const std::string& journal);

  // tidegate_log_append_seconds, tidegate_log_append_failures_total {topic}.
  struct Append {
    Histogram* seconds;
    prometheus::Counter* failures;
  };
  Append MakeAppend(const std::string& topic);
  // tidegate_kafka_answer_age_seconds; there from the first call on.
  void SetKafkaAnswerAge(double seconds);

  // grpc_server_started_total, grpc_server_handled_total, grpc_server_handling_seconds
  // {grpc_service, grpc_method}, handled by {grpc_code} too: the names that gRPC's users know.
  struct Rpc {
    prometheus::Counter* started;
    Histogram* seconds;
  };
  Rpc MakeRpc(const std::string& service, const std::string& method);
  prometheus::Counter& RpcHandled(const std::string& service, const std::string& method,
                                  const std::string& code);

  // What one lane of dispatch tells; its numbers are held apart until the next ones of this lane.
  // tidegate_token_bucket_{tokens,capacity,lockout_seconds} {api, scope, window}: of all that were
  // told since the page was last written, the one with the smallest share of tokens. What two pages
  // with news of others had no news of is gone.
  void SetBucket(const std::string& api, const std::string& scope, const std::string& window,
                 double tokens, double capacity, double lockout_seconds);
  // tidegate_token_bucket_{near_limit,over_limit}_total {api}. Totals of a lane.
  void SetLimits(uint32_t lane, const std::string& api, uint64_t near_limit, uint64_t over_limit);
  // tidegate_wecom_calls_total {api, errcode}. Totals of a lane.
  void SetCalls(uint32_t lane, const std::string& api, const std::string& errcode, uint64_t total);
  // tidegate_dispatch_delayed_total {cause}. Totals of a lane.
  void SetDelayed(uint32_t lane, const std::string& cause, uint64_t total);
  // tidegate_doubt_open, tidegate_doubt_oldest_seconds, tidegate_doubt_parked {lane}.
  void SetDoubts(uint32_t lane, double open, double oldest_seconds, double parked);
  // tidegate_duplicates_detected_total {lane}.
  void SetDuplicates(uint32_t lane, uint64_t total);
  // tidegate_campaigns {lane, state}, tidegate_campaign_touches {lane, status}.
  void SetCampaigns(uint32_t lane, const std::string& state, double count);
  void SetTouches(uint32_t lane, const std::string& status, double count);
  // tidegate_campaign_forecast_seconds {lane}.
  void SetForecast(uint32_t lane, double seconds);
  // tidegate_lane_untrusted_corps {lane}.
  void SetNotTrusted(uint32_t lane, double corps);
  // tidegate_callbacks_total {result}.
  prometheus::Counter& Callbacks(const std::string& result);

  // tidegate_build_info {version, commit, build_type}.
  void SetBuildInfo(const std::string& version, const std::string& commit,
                    const std::string& build_type);

  // Text exposition of everything and of the process itself, for /metrics.
  std::string Render();

 private:
  struct Bucket {
    double tokens, capacity, lockout_seconds;
  };
  void WriteBuckets();

  prometheus::Registry registry_;
  prometheus::Family<prometheus::Counter>& stage_in_;
  prometheus::Family<prometheus::Counter>& stage_out_;
  prometheus::Family<prometheus::Counter>& stage_dropped_;
  prometheus::Family<prometheus::Gauge>& stage_age_;
  prometheus::Family<prometheus::Gauge>& lag_records_;
  prometheus::Family<prometheus::Gauge>& lag_seconds_;
  prometheus::Family<prometheus::Counter>& journal_records_;
  prometheus::Family<prometheus::Counter>& journal_void_;
  prometheus::Family<prometheus::Counter>& journal_fences_;
  prometheus::Family<prometheus::Gauge>& journal_live_;
  prometheus::Family<prometheus::Gauge>& outbox_records_;
  prometheus::Family<prometheus::Counter>& append_failures_;
  HistogramFamily append_seconds_;
  prometheus::Family<prometheus::Gauge>& kafka_answer_age_;
  prometheus::Family<prometheus::Counter>& rpc_started_;
  prometheus::Family<prometheus::Counter>& rpc_handled_;
  HistogramFamily rpc_seconds_;
  prometheus::Family<prometheus::Gauge>& bucket_tokens_;
  prometheus::Family<prometheus::Gauge>& bucket_capacity_;
  prometheus::Family<prometheus::Gauge>& bucket_lockout_;
  prometheus::Family<prometheus::Counter>& near_limit_;
  prometheus::Family<prometheus::Counter>& over_limit_;
  prometheus::Family<prometheus::Counter>& calls_;
  prometheus::Family<prometheus::Counter>& delayed_;
  prometheus::Family<prometheus::Counter>& callbacks_;
  prometheus::Family<prometheus::Gauge>& doubt_open_;
  prometheus::Family<prometheus::Gauge>& doubt_oldest_;
  prometheus::Family<prometheus::Gauge>& doubt_parked_;
  prometheus::Family<prometheus::Counter>& duplicates_;
  prometheus::Family<prometheus::Gauge>& campaigns_;
  prometheus::Family<prometheus::Gauge>& touches_;
  prometheus::Family<prometheus::Gauge>& forecast_;
  prometheus::Family<prometheus::Gauge>& not_trusted_;
  prometheus::Family<prometheus::Gauge>& build_info_;

  std::mutex mu_;
  // Guarded by mu_. Of each lane and counter.
  std::map<std::pair<uint32_t, prometheus::Counter*>, TotalCounter> lane_totals_;
  std::map<Labels, Bucket> buckets_;  // told since the page was last written
  // On the page: how many writings with news it was last not told for. Lanes tell apart, so one is
  // too few to be sure.
  std::map<Labels, int> buckets_shown_;
  void SetTotal(uint32_t lane, prometheus::Counter& counter, uint64_t total);
};

}  // namespace tidegate::metrics
