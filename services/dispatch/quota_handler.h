// RPC edge of what may be sent and what must not.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/grpc/edge.h"
#include "services/dispatch/lane.h"
#include "services/dispatch/quota_watch.h"
#include "tidegate/dispatch/v1/quota_service.grpc.pb.h"

namespace tidegate::dispatch {

// Thread-safe. Nothing is owned; all outlive the handler.
class QuotaHandler final : public ::tidegate::dispatch::v1::QuotaService::CallbackService {
 public:
  // As Handler.
  QuotaHandler(const rpc::Edge& edge, const Clock* clock, LaneMap lane_map,
               std::vector<Lane>* lanes)
      : edge_(edge), clock_(clock), lanes_(std::move(lane_map), edge.replicas, lanes) {}

  grpc::ServerUnaryReactor* ListBuckets(
      grpc::CallbackServerContext* context,
      const ::tidegate::dispatch::v1::ListBucketsRequest* request,
      ::tidegate::dispatch::v1::ListBucketsResponse* response) override;
  grpc::ServerUnaryReactor* Peek(grpc::CallbackServerContext* context,
                                 const ::tidegate::dispatch::v1::PeekRequest* request,
                                 ::tidegate::dispatch::v1::PeekResponse* response) override;
  grpc::ServerUnaryReactor* ForecastCompletion(
      grpc::CallbackServerContext* context,
      const ::tidegate::dispatch::v1::ForecastCompletionRequest* request,
      ::tidegate::dispatch::v1::ForecastCompletionResponse* response) override;
  grpc::ServerUnaryReactor* Block(grpc::CallbackServerContext* context,
                                  const ::tidegate::dispatch::v1::BlockRequest* request,
                                  ::tidegate::dispatch::v1::BlockResponse* response) override;
  grpc::ServerUnaryReactor* Unblock(grpc::CallbackServerContext* context,
                                    const ::tidegate::dispatch::v1::UnblockRequest* request,
                                    ::tidegate::dispatch::v1::UnblockResponse* response) override;
  grpc::ServerUnaryReactor* ListBlocks(
      grpc::CallbackServerContext* context,
      const ::tidegate::dispatch::v1::ListBlocksRequest* request,
      ::tidegate::dispatch::v1::ListBlocksResponse* response) override;
  grpc::ServerUnaryReactor* Acquire(grpc::CallbackServerContext* context,
                                    const ::tidegate::dispatch::v1::AcquireRequest* request,
                                    ::tidegate::dispatch::v1::AcquireResponse* response) override;
  grpc::ServerUnaryReactor* Release(grpc::CallbackServerContext* context,
                                    const ::tidegate::dispatch::v1::ReleaseRequest* request,
                                    ::tidegate::dispatch::v1::ReleaseResponse* response) override;
  grpc::ServerUnaryReactor* SetLimits(
      grpc::CallbackServerContext* context,
      const ::tidegate::dispatch::v1::SetLimitsRequest* request,
      ::tidegate::dispatch::v1::SetLimitsResponse* response) override;
  grpc::ServerUnaryReactor* GetLimits(
      grpc::CallbackServerContext* context,
      const ::tidegate::dispatch::v1::GetLimitsRequest* request,
      ::tidegate::dispatch::v1::GetLimitsResponse* response) override;
  grpc::ServerWriteReactor<::tidegate::dispatch::v1::WatchUsageResponse>* WatchUsage(
      grpc::CallbackServerContext* context,
      const ::tidegate::dispatch::v1::WatchUsageRequest* request) override;

 private:
  // Answers with what `ask` fills in on the lane's thread, at the replica that owns it.
  template <typename Request, typename Response>
  grpc::ServerUnaryReactor* AskLane(grpc::CallbackServerContext* context, const Request* request,
                                    Response* response,
                                    std::function<void(DispatchCore&, const Now&)> ask);
  // Sets or ends a block in the lanes that it concerns, here and at other replicas.
  template <typename Request, typename Response>
  grpc::ServerUnaryReactor* Change(grpc::CallbackServerContext* context, const Request* request,
                                   Response* response,
                                   const ::tidegate::log::v1::LedgerRecord& record);
  // Passes on what the owner of the lane tells.
  void WatchElsewhere(const grpc::CallbackServerContext& context,
                      const ::tidegate::dispatch::v1::WatchUsageRequest& request,
                      const std::shared_ptr<QuotaWatch>& reactor);

  const rpc::Edge edge_;
  const Clock* const clock_;
  const Lanes lanes_;
  std::atomic<size_t> watches_ = 0;  // calls of WatchUsage
};

}  // namespace tidegate::dispatch
