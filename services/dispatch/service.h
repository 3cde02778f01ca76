// Wiring of dispatch: one core, one thread and one caller per egress lane, and the RPC handler.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/runtime/environment.h"
#include "common/runtime/partition_thread.h"
#include "services/dispatch/adapters/audience_preview.h"
#include "services/dispatch/adapters/wecom_caller.h"
#include "services/dispatch/config.h"
#include "services/dispatch/handler.h"
#include "services/dispatch/lane.h"

namespace tidegate::dispatch {

class Service {
 public:
  // INVALID_ARGUMENT: the WeCom URL is not usable.
  static absl::StatusOr<std::unique_ptr<Service>> Create(const Config& config,
                                                         const runtime::Environment& environment);
  ~Service() { Stop(); }

  // Where campaigns that are only validated learn their audience; before Start().
  void ConnectSegmentation(std::shared_ptr<grpc::Channel> channel);

  // Replays the ledger and begins to send; returns at once. See Ready().
  void Start();
  bool Ready() const;
  // No new attempt; waits up to `patience` for the answers of those under way. What is left becomes
  // doubt at the next start.
  void Drain(absl::Duration patience);
  void Stop();

  grpc::Service* handler() { return handler_.get(); }
  std::vector<const runtime::PartitionRunner*> runners() const;

 private:
  Service(const Config& config, const runtime::Environment& environment);
  void PublishMetrics(const DispatchCore& core, BucketSet& buckets, const Now& now);

  const Config config_;
  const runtime::Environment environment_;
  std::vector<Lane> lanes_;
  std::unique_ptr<AudiencePreview> preview_;
  std::unique_ptr<Handler> handler_;
  std::vector<std::unique_ptr<WecomCaller>> callers_;  // destroyed first: they post to the lanes
};

}  // namespace tidegate::dispatch
