// The one place that names metrics. Wraps prometheus-cpp. No label ever holds a customer, member or
// campaign.
//
// Handles are cheap to update (an atomic) and valid as long as Metrics.
#pragma once

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <tuple>

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
  // tidegate_journal_{records,void_records,fences}_total {journal}.
  struct Journal {
    TotalCounter records;
    TotalCounter void_records;
    TotalCounter fences;
  };
  Journal MakeJournal(const std::string& journal);

  // tidegate_token_bucket_tokens / _capacity / _lockout_seconds {api, scope, window}.
  void SetBucket(const std::string& api, const std::string& scope, const std::string& window,
                 double tokens, double capacity, double lockout_seconds);
  // tidegate_wecom_calls_total {api, errcode}.
  void SetCalls(const std::string& api, const std::string& errcode, uint64_t total);
  // tidegate_dispatch_delayed_total {cause}.
  void SetDelayed(const std::string& cause, uint64_t total);
  // tidegate_doubt_open, tidegate_doubt_oldest_seconds, tidegate_doubt_parked.
  void SetDoubts(double open, double oldest_seconds, double parked);
  // tidegate_callbacks_total {result}.
  prometheus::Counter& Callbacks(const std::string& result);

  // Text exposition of everything, for /metrics.
  std::string Render() const;

 private:
  prometheus::Registry registry_;
  prometheus::Family<prometheus::Counter>& stage_in_;
  prometheus::Family<prometheus::Counter>& stage_out_;
  prometheus::Family<prometheus::Counter>& stage_dropped_;
  prometheus::Family<prometheus::Gauge>& stage_age_;
  prometheus::Family<prometheus::Counter>& journal_records_;
  prometheus::Family<prometheus::Counter>& journal_void_;
  prometheus::Family<prometheus::Counter>& journal_fences_;
  prometheus::Family<prometheus::Gauge>& bucket_tokens_;
  prometheus::Family<prometheus::Gauge>& bucket_capacity_;
  prometheus::Family<prometheus::Gauge>& bucket_lockout_;
  prometheus::Family<prometheus::Counter>& calls_;
  prometheus::Family<prometheus::Counter>& delayed_;
  prometheus::Family<prometheus::Counter>& callbacks_;
  prometheus::Gauge& doubt_open_;
  prometheus::Gauge& doubt_oldest_;
  prometheus::Gauge& doubt_parked_;
  // Totals by label: SetCalls and SetDelayed come from one thread.
  std::map<std::pair<std::string, std::string>, TotalCounter> call_totals_;
  std::map<std::string, TotalCounter> delayed_totals_;
};

}  // namespace tidegate::metrics
