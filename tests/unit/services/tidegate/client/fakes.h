// A clock whose sleeps only move it, and a server in this process whose answers the test decides.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "services/tidegate/client/client_clock.h"
#include "tidegate/dispatch/v1/dispatch_service.grpc.pb.h"
#include "tidegate/ingestion/v1/ingestion_service.grpc.pb.h"
#include "tidegate/segmentation/v1/segmentation_service.grpc.pb.h"
#include "tidegate/tagging/v1/tagging_service.grpc.pb.h"

namespace tidegate::client {

class FakeClock final : public ClientClock {
 public:
  // 2026-11-24 12:00 in Shanghai.
  static constexpr int64_t kStartWallNs = int64_t{1'795'492'800} * kNanosPerSecond;

  Now Read() const override {
    std::lock_guard lock(mu_);
    return {.wall_ns = kStartWallNs + elapsed_ns_, .raw_ns = elapsed_ns_, .boot_ns = elapsed_ns_};
  }
  void SleepMs(int64_t ms) override {
    std::lock_guard lock(mu_);
    elapsed_ns_ += ms * kNanosPerMilli;
    ++sleeps_;
  }
  int sleeps() const {
    std::lock_guard lock(mu_);
    return sleeps_;
  }

 private:
  mutable std::mutex mu_;
  int64_t elapsed_ns_ = 0;
  int sleeps_ = 0;
};

// Each hook is asked for the n-th call (from 1) of its method; without one the call succeeds.
class FakeServer final : public tidegate::ingestion::v1::IngestionService::Service,
                         public tidegate::segmentation::v1::SegmentationService::Service,
                         public tidegate::dispatch::v1::DispatchService::Service,
                         public tidegate::tagging::v1::TaggingService::Service {
 public:
  using Publish = tidegate::ingestion::v1::BatchPublishEventsRequest;
  using PublishResponse = tidegate::ingestion::v1::BatchPublishEventsResponse;
  using CreateCampaignCall = tidegate::dispatch::v1::CreateCampaignRequest;

  FakeServer() {
    grpc::ServerBuilder builder;
    builder.RegisterService(static_cast<tidegate::ingestion::v1::IngestionService::Service*>(this));
    builder.RegisterService(
        static_cast<tidegate::segmentation::v1::SegmentationService::Service*>(this));
    builder.RegisterService(static_cast<tidegate::dispatch::v1::DispatchService::Service*>(this));
    builder.RegisterService(static_cast<tidegate::tagging::v1::TaggingService::Service*>(this));
    server_ = builder.BuildAndStart();
  }
  ~FakeServer() override { server_->Shutdown(); }

  std::shared_ptr<grpc::Channel> Connect() { return server_->InProcessChannel({}); }

  // Set before the first call. The response already holds an OK per event.
  std::function<grpc::Status(size_t nth, const Publish&, PublishResponse*)> on_publish;
  std::function<grpc::Status(size_t nth)> on_count;
  std::function<grpc::Status(size_t nth, const CreateCampaignCall&)> on_create;
  // One inner list per stream: what it sends before it ends, then its status.
  std::vector<std::pair<std::vector<tidegate::dispatch::v1::Campaign>, grpc::Status>> watches;

  std::vector<Publish> publishes() const { return Copy(publishes_); }
  std::vector<tidegate::segmentation::v1::CountCustomersRequest> counts() const {
    return Copy(counts_);
  }
  std::vector<CreateCampaignCall> creates() const { return Copy(creates_); }
  std::vector<tidegate::tagging::v1::PutRuleRequest> rules() const { return Copy(rules_); }

 private:
  grpc::Status BatchPublishEvents(grpc::ServerContext*, const Publish* request,
                                  PublishResponse* response) override {
    for (int i = 0; i < request->events_size(); ++i) response->add_results();
    const size_t nth = Note(*request, &publishes_);
    return on_publish ? on_publish(nth, *request, response) : grpc::Status::OK;
  }

  grpc::Status CountCustomers(
      grpc::ServerContext*, const tidegate::segmentation::v1::CountCustomersRequest* request,
      tidegate::segmentation::v1::CountCustomersResponse* response) override {
    response->set_count(7583);
    response->set_universe(23570);
    response->set_canonical_expression("canonical");
    const size_t nth = Note(*request, &counts_);
    return on_count ? on_count(nth) : grpc::Status::OK;
  }

  grpc::Status CreateCampaign(grpc::ServerContext*, const CreateCampaignCall* request,
                              tidegate::dispatch::v1::CreateCampaignResponse* response) override {
    *response->mutable_campaign()->mutable_spec() = request->campaign();
    const size_t nth = Note(*request, &creates_);
    return on_create ? on_create(nth, *request) : grpc::Status::OK;
  }

  grpc::Status WatchCampaign(
      grpc::ServerContext*, const tidegate::dispatch::v1::WatchCampaignRequest*,
      grpc::ServerWriter<tidegate::dispatch::v1::WatchCampaignResponse>* writer) override {
    std::unique_lock lock(mu_);
    if (next_watch_ >= watches.size()) return {grpc::StatusCode::UNAVAILABLE, "no more"};
    const auto [campaigns, status] = watches[next_watch_++];
    lock.unlock();
    for (const tidegate::dispatch::v1::Campaign& campaign : campaigns) {
      tidegate::dispatch::v1::WatchCampaignResponse response;
      *response.mutable_campaign() = campaign;
      writer->Write(response);
    }
    return status;
  }

  grpc::Status ListCampaigns(grpc::ServerContext*,
                             const tidegate::dispatch::v1::ListCampaignsRequest* request,
                             tidegate::dispatch::v1::ListCampaignsResponse* response) override {
    const bool first = request->page_token().empty();
    response->add_campaigns()->mutable_spec()->set_campaign_id(first ? "first" : "second");
    if (first) response->set_next_page_token("more");
    return grpc::Status::OK;
  }

  grpc::Status PutRule(grpc::ServerContext*, const tidegate::tagging::v1::PutRuleRequest* request,
                       tidegate::tagging::v1::PutRuleResponse* response) override {
    *response->mutable_rule() = request->rule();
    response->set_corp_revision(7);
    Note(*request, &rules_);
    return grpc::Status::OK;
  }

  template <typename Request>
  size_t Note(const Request& request, std::vector<Request>* requests) {
    std::lock_guard lock(mu_);
    requests->push_back(request);
    return requests->size();
  }
  template <typename Request>
  std::vector<Request> Copy(const std::vector<Request>& requests) const {
    std::lock_guard lock(mu_);
    return requests;
  }

  mutable std::mutex mu_;  // guards the requests and next_watch_
  std::vector<Publish> publishes_;
  std::vector<tidegate::segmentation::v1::CountCustomersRequest> counts_;
  std::vector<CreateCampaignCall> creates_;
  std::vector<tidegate::tagging::v1::PutRuleRequest> rules_;
  size_t next_watch_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace tidegate::client
