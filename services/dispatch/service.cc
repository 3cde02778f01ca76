#include "services/dispatch/service.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/crash_point.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/process/former_owner.h"
#include "services/dispatch/lane_limits.h"
#include "services/dispatch/lane_summary.h"

namespace tidegate::dispatch {

using runtime::PartitionRunner;

namespace {

constexpr int64_t kOwnersGapNs = 200 * kNanosPerMilli;
constexpr int64_t kMetricsGapNs = 1000 * kNanosPerMilli;

// The lane's corps, and those of other lanes.
DispatchOptions OptionsOf(uint32_t lane, const Config& config,
                          const process::Environment& environment) {
  DispatchOptions options{.lane = lane, .partitions = config.partitions};
  const LaneMap lanes = environment.lane_map();
  for (const config::Corp& corp : environment.corps->corps) {
    if (const uint32_t own = lanes.Of(corp.corp_id); own != lane) {
      options.elsewhere[corp.corp_id] = own;
    } else {
      options.agent_ids[corp.corp_id] = corp.apps.front().agent_id;
    }
  }
  const config::Egress egress = config.EgressOf(lane);
  if (!egress.source.empty() || !egress.proxy.empty()) options.source = egress.Name();
  return options;
}

// Of the lanes that this process owns: what each may use of its address, and how
// long its calls may take effect.
absl::StatusOr<std::map<uint32_t, wecom_table::Limits>> LimitsOfLanes(
    const Config& config, const process::Environment& environment) {
  ASSIGN_OR_RETURN(const std::vector<int64_t> shares,
                   config::SharesOf(config.egress, config.lanes));
  std::map<uint32_t, wecom_table::Limits> limits;
  for (uint32_t lane = 0; lane < config.lanes; ++lane) {
    if (!environment.replicas->own().Owns(lane)) continue;
    ASSIGN_OR_RETURN(limits[lane], LimitsOfLane(config, shares[lane], lane));
  }
  return limits;
}

// Such a lane must not run: the work would wait for ever, or be done from two addresses.
void TellLeftWork(uint32_t lane, const std::vector<LeftWork>& left_work) {
  for (const LeftWork& left : left_work) {
    LogEvent(LogLevel::kError, "corp_not_drained",
             {{"corp", left.corp},
              {"lane", absl::StrCat(lane)},
              {"lane_of_corp", absl::StrCat(left.lane)},
              {"open", left.what},
              {"next", absl::StrCat("put the corp back with \"lane\": ", lane,
                                    " in the corps file, start, let it end, then move it")}});
  }
}

}  // namespace

process::ServiceSpec Spec() {
  return {"dispatch",
          [](const process::Environment& environment)
              -> absl::StatusOr<std::unique_ptr<process::Service>> {
            return Service::Create(Config{.partitions = environment.partitions(),
                                          .lanes = environment.lanes(),
                                          .wecom_url = environment.settings->wecom.url,
                                          .egress = environment.settings->egress,
                                          .send = environment.settings->send,
                                          .limits = *environment.limits},
                                   environment);
          }};
}

absl::StatusOr<std::unique_ptr<Service>> Service::Create(const Config& config,
                                                         const process::Environment& environment) {
  ASSIGN_OR_RETURN(auto limits, LimitsOfLanes(config, environment));
  std::unique_ptr<Service> service(new Service(config, std::move(limits), environment));
  for (Lane& lane : service->lanes_) {
    PartitionRunner* runner = &lane.thread->runner();
    const config::Egress egress = config.EgressOf(lane.number);
    ASSIGN_OR_RETURN(
        auto caller,
        WecomCaller::Create(
            {.base_url = config.wecom_url,
             .source_address = egress.source,
             .proxy = egress.proxy,
             .proxy_credentials = egress.credentials},
            environment.corps, &service->config_.limits, environment.clock,
            [runner](std::unique_ptr<CallAnswer> answer) {
              // Refused only when the lane is gone: then it is doubt anyway.
              if (absl::Status status = runner->PostLocal(std::move(answer)); !status.ok()) {
                LogEvent(LogLevel::kWarning, "answer_not_taken", {{"status", status.ToString()}});
              }
            }));
    if (!config.send) lane.core->SetDraining();
    lane.core->OnCalls([caller = caller.get()](std::vector<CallToMake> calls) {
      for (CallToMake& call : calls) caller->Make(std::move(call));
    });
    lane.core->OnBlocks(
        [caller = caller.get()](const BlockList& blocks) { caller->SetBlocks(blocks); });
    service->callers_.push_back(std::move(caller));
  }
  return service;
}

Service::Service(const Config& config, std::map<uint32_t, wecom_table::Limits> limits,
                 const process::Environment& environment)
    : config_(config), limits_(std::move(limits)), environment_(environment) {
  for (uint32_t n = 0; n < config_.lanes; ++n) {
    if (!environment.replicas->own().Owns(n)) continue;
    Lane lane;
    lane.number = n;
    lane.core = std::make_unique<DispatchCore>(OptionsOf(n, config_, environment), &limits_.at(n));
    lane.core->Hold(true);
    lane.waiting = std::make_unique<runtime::WaitList>();
    lane.watchers = std::make_unique<std::list<std::function<bool(const Now&)>>>();
    runtime::RunnerOptions options = process::OwnedRunner(environment, {log::Topic::kLedger, n});
    options.folded_inputs = {{.at = {log::Topic::kDefinitions, 0}},
                             {.at = {log::Topic::kAudiences, n}},
                             {.at = {log::Topic::kCommands, n}}};
    options.after_turn =
        [this, n, core = lane.core.get(), waiting = lane.waiting.get(),
         watchers = lane.watchers.get(), checked = false, look_raw_ns = int64_t{0},
         publish_raw_ns = int64_t{0},
         stage = environment.metrics->MakeStage("dispatch", n)](const Now& now) mutable {
          if (!std::exchange(checked, true)) CheckLane(n, core);
          if (lanes_checked_.load() == lanes_.size()) core->Hold(false);
          waiting->Check(now);
          std::erase_if(*watchers, [&](auto& watch) { return !watch(now); });
          if (now.raw_ns >= look_raw_ns) {
            look_raw_ns = now.raw_ns + kOwnersGapNs;
            LookForFormerOwners(n);
          }
          if (now.raw_ns < publish_raw_ns) return;
          publish_raw_ns = now.raw_ns + kMetricsGapNs;
          const DispatchCounters& counters = core->counters();
          stage.Set(counters.attempts, counters.outcomes, counters.skipped + counters.strays,
                    counters.last_call_ns);
          PublishLane(n, *core, now);
        };
    lane.thread = std::make_unique<runtime::PartitionThread>(std::move(options), environment.log,
                                                             lane.core.get(), environment.clock,
                                                             environment.on_end);
    lanes_.push_back(std::move(lane));
  }
  handler_ = std::make_unique<Handler>(environment.edge(), environment.clock, environment.log,
                                       environment.lane_map(), &lanes_);
  quota_handler_ = std::make_unique<QuotaHandler>(environment.edge(), environment.clock,
                                                  environment.lane_map(), &lanes_);
}

void Service::Connect(const process::ChannelsTo& channels_to) {
  preview_ = std::make_unique<AudiencePreview>(channels_to("segmentation"));
  handler_->SetAudiencePreview(preview_.get());
}

void Service::Start() {
  for (Lane& lane : lanes_) lane.thread->Start();
}

void Service::Drain(absl::Duration patience) {
  struct Progress {
    std::mutex mu;
    std::condition_variable changed;
    size_t open = 0;
    bool answered = false;
  };
  const absl::Time deadline = absl::Now() + patience;
  for (Lane& lane : lanes_) {
    DispatchCore* core = lane.core.get();
    while (absl::Now() < deadline) {
      auto progress = std::make_shared<Progress>();
      const absl::Status posted =
          lane.thread->runner().PostQuery([core, progress](absl::Status status, const Now&) {
            std::lock_guard lock(progress->mu);
            if (status.ok()) {
              core->SetDraining();
              progress->open = core->open_attempts();
            }
            progress->answered = true;
            progress->changed.notify_all();
          });
      if (!posted.ok()) break;
      std::unique_lock lock(progress->mu);
      progress->changed.wait_for(lock, std::chrono::milliseconds(500),
                                 [&] { return progress->answered; });
      TIDEGATE_CRASH_POINT_IF(progress->answered && progress->open > 0, "D1");
      if (progress->answered && (progress->open == 0 || TIDEGATE_MUTANT == 19)) break;
      // An answer is at most one HTTP deadline away.
      progress->changed.wait_for(lock, std::chrono::milliseconds(20));
    }
  }
}

void Service::Stop() {
  for (Lane& lane : lanes_) {
    lane.thread->Stop();
    lane.waiting.reset();  // answers those who still wait
  }
  callers_.clear();
}

std::vector<const PartitionRunner*> Service::runners() const {
  std::vector<const PartitionRunner*> runners;
  for (const Lane& lane : lanes_) runners.push_back(&lane.thread->runner());
  return runners;
}

// The answer comes back through the journal: until then it may be asked for again, which changes
// nothing.
void Service::LookForFormerOwners(uint32_t lane) {
  const Lane& at = lanes_[environment_.replicas->own().PlaceOf(lane)];
  const std::string& policy = environment_.settings->former_owner.policy;
  for (const auto& [owner, boot_id] : at.core->former_owners()) {
    const bool over = policy == "check"       ? process::HasEnded(owner, boot_id)
                      : policy == "same_host" ? process::WasReplaced(owner, boot_id)
                                              : false;
    if (!over) continue;
    auto ended = std::make_unique<FormerOwnerEnded>();
    ended->owner = owner;
    (void)at.thread->runner().PostLocal(std::move(ended));
  }
}

void Service::CheckLane(uint32_t lane, DispatchCore* core) {
  if (!core->left_work().empty()) {
    TellLeftWork(lane, core->left_work());
    environment_.on_end(PartitionRunner::State::kFailed);
  }
  if (++lanes_checked_ == lanes_.size()) WakeLanes();
}

void Service::WakeLanes() {
  for (const Lane& lane : lanes_) {
    (void)lane.thread->runner().PostQuery([](const absl::Status&, const Now&) {});
  }
}

// A lane that has nothing to do tells nothing: it is woken, for the next page.
void Service::PublishMetrics() { WakeLanes(); }

void Service::PublishLane(uint32_t lane, DispatchCore& core, const Now& now) {
  metrics::Metrics& metrics = *environment_.metrics;
  for (const config::Corp& corp : environment_.corps->corps) {
    for (const BucketRow& row : core.buckets().Rows(corp.corp_id, now.raw_ns)) {
      metrics.SetBucket(
          row.api, row.scope,
          absl::StrCat(static_cast<double>(row.window_ns) * 1e-9,
                       row.cost == wecom_table::Cost::kPersonTimes ? " person_times" : ""),
          static_cast<double>(row.tokens), static_cast<double>(row.capacity),
          static_cast<double>(std::max<int64_t>(0, row.lockout_until_ns - now.raw_ns)) * 1e-9);
    }
  }
  const DispatchCounters& counters = core.counters();
  for (const auto& [label, total] : counters.calls) {
    metrics.SetCalls(lane, label.first, label.second, total);
  }
  for (const auto& [cause, total] : counters.delayed) metrics.SetDelayed(lane, cause, total);
  for (const auto& [api, total] : counters.near_limit) {
    const auto over = counters.over_limit.find(api);
    metrics.SetLimits(lane, api, total, over == counters.over_limit.end() ? 0 : over->second);
  }
  const LaneSummary summary =
      Summarize(core.campaigns().campaigns(), core.blocks(), core.corp_limits(), now);
  metrics.SetDoubts(lane, summary.doubts_open, summary.doubt_oldest_seconds, summary.doubts_parked);
  metrics.SetDuplicates(lane, core.ghosts().found());
  for (const auto& [state, count] : summary.campaigns) metrics.SetCampaigns(lane, state, count);
  for (const auto& [status, count] : summary.touches) metrics.SetTouches(lane, status, count);
  metrics.SetForecast(lane, summary.forecast_seconds);
  metrics.SetNotTrusted(lane, static_cast<double>(core.trust().not_trusted()));
}

}  // namespace tidegate::dispatch
