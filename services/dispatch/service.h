// Wiring of dispatch: one core, one thread and one caller per egress lane, and the RPC handler.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/process/service.h"
#include "common/runtime/partition_thread.h"
#include "services/dispatch/adapters/audience_preview.h"
#include "services/dispatch/adapters/wecom_caller.h"
#include "services/dispatch/config.h"
#include "services/dispatch/handler.h"
#include "services/dispatch/lane.h"
#include "services/dispatch/quota_handler.h"

namespace tidegate::dispatch {

class Service final : public process::Service {
 public:
  // INVALID_ARGUMENT: the WeCom URL or an address of a lane is not usable.
  static absl::StatusOr<std::unique_ptr<Service>> Create(const Config& config,
                                                         const process::Environment& environment);
  ~Service() override { Stop(); }

  // Finds segmentation, which tells the audience of campaigns that are only validated.
  void Connect(const process::ChannelsTo& channels_to) override;
  // Replays the ledgers of its lanes and begins to send.
  void Start() override;
  // No new attempt; waits up to `patience` for the answers of those under way. What is left becomes
  // doubt at the next start.
  void Drain(absl::Duration patience) override;
  void Stop() override;

  std::vector<RpcHandler> rpc_handlers() override {
    return {{::tidegate::dispatch::v1::DispatchService::service_full_name(), handler_.get()},
            {::tidegate::dispatch::v1::QuotaService::service_full_name(), quota_handler_.get()}};
  }
  std::vector<const runtime::PartitionRunner*> runners() const override;
  void PublishMetrics() override;

 private:
  // `limits`: those of its lanes, by lane.
  Service(const Config& config, std::map<uint32_t, wecom_table::Limits> limits,
          const process::Environment& environment);
  void PublishLane(uint32_t lane, DispatchCore& core, const Now& now);
  void WakeLanes();
  // Ends the process if the lane has something of other lanes' corps. No lane sends before all of
  // this process have passed.
  void CheckLane(uint32_t lane, DispatchCore* core);
  // Finds out which former owners of the lane have ended, now and then.
  void LookForFormerOwners(uint32_t lane);

  const Config config_;
  const std::map<uint32_t, wecom_table::Limits> limits_;  // by lane
  const process::Environment environment_;
  std::vector<Lane> lanes_;
  std::atomic<size_t> lanes_checked_{0};
  std::unique_ptr<AudiencePreview> preview_;
  std::unique_ptr<Handler> handler_;
  std::unique_ptr<QuotaHandler> quota_handler_;
  std::vector<std::unique_ptr<WecomCaller>> callers_;  // destroyed first: they post to the lanes
};

// How a process makes it.
process::ServiceSpec Spec();

}  // namespace tidegate::dispatch
