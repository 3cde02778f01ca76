// RPC edge of dispatch: campaigns are wishes (definitions) and what the lane did about them.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/grpc/checks.h"
#include "common/grpc/edge.h"
#include "services/dispatch/adapters/audience_preview.h"
#include "services/dispatch/campaign_watch.h"
#include "services/dispatch/lane.h"
#include "services/dispatch/message_door.h"
#include "tidegate/dispatch/v1/dispatch_service.grpc.pb.h"

namespace tidegate::dispatch {

// Thread-safe. Nothing is owned; all outlive the handler.
class Handler final : public ::tidegate::dispatch::v1::DispatchService::CallbackService {
 public:
  // `lanes`: those of this replica, in rising order. What is pointed to outlives the handler.
  Handler(const rpc::Edge& edge, const Clock* clock, log::Log* log, LaneMap lane_map,
          std::vector<Lane>* lanes)
      : edge_(edge),
        clock_(clock),
        lanes_(std::move(lane_map), edge.replicas, lanes),
        door_(clock, log, &lanes_) {}

  // Who tells the audience of a campaign that is only validated; until it is set, calls that need
  // it are UNAVAILABLE.
  void SetAudiencePreview(AudiencePreview* preview) { preview_.store(preview); }

  grpc::ServerUnaryReactor* CreateCampaign(
      grpc::CallbackServerContext* context,
      const ::tidegate::dispatch::v1::CreateCampaignRequest* request,
      ::tidegate::dispatch::v1::CreateCampaignResponse* response) override;
  grpc::ServerUnaryReactor* LaunchCampaign(
      grpc::CallbackServerContext* context,
      const ::tidegate::dispatch::v1::LaunchCampaignRequest* request,
      ::tidegate::dispatch::v1::LaunchCampaignResponse* response) override;
  grpc::ServerUnaryReactor* PauseCampaign(
      grpc::CallbackServerContext* context,
      const ::tidegate::dispatch::v1::PauseCampaignRequest* request,
      ::tidegate::dispatch::v1::PauseCampaignResponse* response) override;
  grpc::ServerUnaryReactor* ResumeCampaign(
      grpc::CallbackServerContext* context,
      const ::tidegate::dispatch::v1::ResumeCampaignRequest* request,
      ::tidegate::dispatch::v1::ResumeCampaignResponse* response) override;
  grpc::ServerUnaryReactor* GetCampaign(
      grpc::CallbackServerContext* context,
      const ::tidegate::dispatch::v1::GetCampaignRequest* request,
      ::tidegate::dispatch::v1::GetCampaignResponse* response) override;
  grpc::ServerUnaryReactor* GetCampaignTouch(
      grpc::CallbackServerContext* context,
      const ::tidegate::dispatch::v1::GetCampaignTouchRequest* request,
      ::tidegate::dispatch::v1::GetCampaignTouchResponse* response) override;
  grpc::ServerUnaryReactor* ListCampaigns(
      grpc::CallbackServerContext* context,
      const ::tidegate::dispatch::v1::ListCampaignsRequest* request,
      ::tidegate::dispatch::v1::ListCampaignsResponse* response) override;
  grpc::ServerWriteReactor<::tidegate::dispatch::v1::WatchCampaignResponse>* WatchCampaign(
      grpc::CallbackServerContext* context,
      const ::tidegate::dispatch::v1::WatchCampaignRequest* request) override;
  grpc::ServerUnaryReactor* ListDoubts(
      grpc::CallbackServerContext* context,
      const ::tidegate::dispatch::v1::ListDoubtsRequest* request,
      ::tidegate::dispatch::v1::ListDoubtsResponse* response) override;
  grpc::ServerUnaryReactor* GetDoubt(grpc::CallbackServerContext* context,
                                     const ::tidegate::dispatch::v1::GetDoubtRequest* request,
                                     ::tidegate::dispatch::v1::GetDoubtResponse* response) override;
  grpc::ServerUnaryReactor* ResolveDoubt(
      grpc::CallbackServerContext* context,
      const ::tidegate::dispatch::v1::ResolveDoubtRequest* request,
      ::tidegate::dispatch::v1::ResolveDoubtResponse* response) override;
  grpc::ServerUnaryReactor* GetWriteBack(
      grpc::CallbackServerContext* context,
      const ::tidegate::dispatch::v1::GetWriteBackRequest* request,
      ::tidegate::dispatch::v1::GetWriteBackResponse* response) override;

  grpc::ServerUnaryReactor* SendMessage(
      grpc::CallbackServerContext* context,
      const ::tidegate::dispatch::v1::SendMessageRequest* request,
      ::tidegate::dispatch::v1::SendMessageResponse* response) override;
  grpc::ServerUnaryReactor* BatchSend(
      grpc::CallbackServerContext* context,
      const ::tidegate::dispatch::v1::BatchSendRequest* request,
      ::tidegate::dispatch::v1::BatchSendResponse* response) override;
  grpc::ServerBidiReactor<::tidegate::dispatch::v1::SendMessagesRequest,
                          ::tidegate::dispatch::v1::SendMessagesResponse>*
  SendMessages(grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* GetTouch(grpc::CallbackServerContext* context,
                                     const ::tidegate::dispatch::v1::GetTouchRequest* request,
                                     ::tidegate::dispatch::v1::GetTouchResponse* response) override;
  grpc::ServerUnaryReactor* ListTouches(
      grpc::CallbackServerContext* context,
      const ::tidegate::dispatch::v1::ListTouchesRequest* request,
      ::tidegate::dispatch::v1::ListTouchesResponse* response) override;
  grpc::ServerUnaryReactor* CancelTouch(
      grpc::CallbackServerContext* context,
      const ::tidegate::dispatch::v1::CancelTouchRequest* request,
      ::tidegate::dispatch::v1::CancelTouchResponse* response) override;
  grpc::ServerWriteReactor<::tidegate::dispatch::v1::WatchTouchesResponse>* WatchTouches(
      grpc::CallbackServerContext* context,
      const ::tidegate::dispatch::v1::WatchTouchesRequest* request) override;

 private:
  // Fills in an answer, or says why there is none.
  using Ask =
      std::function<absl::Status(const definitions::CorpDefinitions&, DispatchCore&, const Now&)>;

  // Answers the call with what `ask` fills in on the lane's thread, at the replica that owns it.
  template <typename Request, typename Response>
  grpc::ServerUnaryReactor* AskLane(grpc::CallbackServerContext* context, const Request* request,
                                    Response* response, Ask ask);
  // Answers with the plan of a campaign that is not stored: segmentation tells the audience, the
  // lane the rest.
  void Preview(grpc::CallbackServerContext* context,
               const ::tidegate::dispatch::v1::CreateCampaignRequest* request,
               ::tidegate::dispatch::v1::CreateCampaignResponse* response,
               grpc::ServerUnaryReactor* reactor,
               const ::tidegate::log::v1::Definition& definition);
  void WatchLane(const std::string& corp, const std::string& id,
                 const std::shared_ptr<CampaignWatch>& reactor);
  void WatchElsewhere(const grpc::CallbackServerContext& context,
                      const ::tidegate::dispatch::v1::WatchCampaignRequest& request,
                      const std::shared_ptr<CampaignWatch>& reactor);
  // Proposes the campaign's new intent; `allowed` names the state it needs. The reply waits until
  // the lane has taken it in.
  template <typename Request, typename Response>
  grpc::ServerUnaryReactor* ChangeIntent(grpc::CallbackServerContext* context,
                                         const Request& request, Response* response,
                                         ::tidegate::log::v1::CampaignIntent from,
                                         ::tidegate::log::v1::CampaignIntent to,
                                         const std::string& reason, const std::string& needed);
  // One batch of a stream, here or at the replica that owns the corp's lane.
  grpc::Status TakeBatch(grpc::CallbackServerContext* context,
                         const ::tidegate::dispatch::v1::SendMessagesRequest& request,
                         std::function<void(::tidegate::dispatch::v1::SendMessagesResponse)> done);
  void ForwardBatch(grpc::CallbackServerContext* context,
                    const ::tidegate::dispatch::v1::SendMessagesRequest& request,
                    std::function<void(::tidegate::dispatch::v1::SendMessagesResponse)> done);
  // Answers with what `ask` fills in once all that was acknowledged before has been taken in.
  template <typename Request, typename Response>
  grpc::ServerUnaryReactor* AskFolded(grpc::CallbackServerContext* context, const Request* request,
                                      Response* response, MessageDoor::Ask ask) {
    const std::string& corp = request->corp();
    if (edge_.Find(*context, corp) == nullptr) return rpc::Finish(context, rpc::UnknownCorp());
    if (!lanes_.Owns(corp)) {
      return edge_.replicas->Forward(context, lanes_.NumberOf(corp), request, response);
    }
    auto* reactor = context->DefaultReactor();
    door_.WhenFolded(
        corp, rpc::DeadlineOf(*context), std::move(ask), [reactor](const absl::Status& status) {
          reactor->Finish(
              rpc::ToGrpcStatus(status, absl::IsNotFound(status) ? "NOT_FOUND" : "LANE_NOT_READY"));
        });
    return reactor;
  }
  void ReplyWhenTaken(const std::string& corp, const std::string& campaign, uint64_t revision,
                      absl::Time deadline, std::function<void(absl::Status)> done);

  const rpc::Edge edge_;
  const Clock* const clock_;
  const Lanes lanes_;
  MessageDoor door_;
  std::atomic<AudiencePreview*> preview_{nullptr};
};

}  // namespace tidegate::dispatch
