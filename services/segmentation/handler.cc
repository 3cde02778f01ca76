#include "services/segmentation/handler.h"

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/civil_day.h"
#include "common/base/hash.h"
#include "common/base/partitioner.h"
#include "common/expression/expression.h"
#include "common/grpc/checks.h"
#include "common/grpc/errors.h"
#include "common/grpc/stream_reader.h"

namespace tidegate::segmentation {

using expression::EvaluationTime;
using expression::Expression;
using ::tidegate::log::v1::Definition;
namespace v1 = ::tidegate::segmentation::v1;

namespace {

constexpr int kPreviewCustomersPerMessage = 2000;

// The question of a request, checked.
struct Question {
  std::optional<Expression> expression;
  std::optional<int64_t> as_of_day;

  EvaluationTime At(const Now& now) const {
    return as_of_day.has_value() ? expression::AtEndOfDay(*as_of_day)
                                 : expression::AtInstant(now.wall_ns / kNanosPerSecond);
  }
};

grpc::Status Check(const config::Corp* corp, const std::string& text, const std::string& as_of_day,
                   Question* question) {
  if (corp == nullptr) return rpc::UnknownCorp();
  if (!as_of_day.empty()) {
    const auto day = ParseCivilDay(as_of_day);
    if (!day.ok())
      return rpc::InvalidArgument({{"as_of_day", std::string(day.status().message())}});
    question->as_of_day = *day;
  }
  std::vector<expression::Violation> violations;
  auto parsed = Expression::Parse(text, {}, &violations);
  if (!parsed.ok()) return rpc::InvalidExpression("expression", text, violations);
  question->expression = *std::move(parsed);
  return grpc::Status::OK;
}

// Collects the answers of all shards, here and elsewhere; a missing one makes the whole an error,
// never a partial count.
class Gathering {
 public:
  Gathering(size_t parts, std::function<void(grpc::Status)> done)
      : left_(parts), done_(std::move(done)) {}
  void Answer(grpc::Status status, const std::function<void()>& add) {
    std::unique_lock lock(mu_);
    if (status.ok()) {
      add();
    } else if (status_.ok()) {
      status_ = std::move(status);
    }
    if (--left_ > 0) return;
    lock.unlock();
    done_(status_);
  }

 private:
  std::mutex mu_;
  size_t left_;
  grpc::Status status_;
  const std::function<void(grpc::Status)> done_;
};

grpc::Status ShardStatus(const absl::Status& status) {
  return rpc::ToGrpcStatus(status, "SHARD_NOT_READY");
}

}  // namespace

void Handler::AskShard(const Shard& shard, absl::Time deadline, Ask ask) {
  if (asking_.fetch_add(1) >= kAskingMax) {
    --asking_;
    return ask(
        absl::ResourceExhaustedError("too many questions wait for a shard; try again in a second"),
        *shard.core, Now{});
  }
  log_->QueryEnd({log::Topic::kEvents, shard.partition},
                 [this, &shard, deadline, ask](absl::StatusOr<uint64_t> end) {
                   --asking_;
                   if (!end.ok()) return ask(end.status(), *shard.core, Now{});
                   WaitForEvents(shard, *end, deadline, ask);
                 });
}

void Handler::WaitForEvents(const Shard& shard, uint64_t events_end, absl::Time deadline, Ask ask) {
  const SegmentationCore* core = shard.core.get();
  runtime::WaitList* waiting = shard.waiting.get();
  const int64_t deadline_raw_ns =
      clock_->Read().raw_ns + absl::ToInt64Nanoseconds(deadline - absl::Now());
  const absl::Status posted = shard.thread->runner().PostQuery([=](absl::Status status,
                                                                   const Now& now) {
    if (!status.ok()) return ask(std::move(status), *core, now);
    waiting->Add(
        now, deadline_raw_ns, [core, events_end] { return core->events_position() >= events_end; },
        [core, ask](absl::Status waited, const Now& then) { ask(std::move(waited), *core, then); });
  });
  if (!posted.ok()) ask(posted, *core, Now{});
}

grpc::Status Handler::CountParts(const grpc::CallbackServerContext& context, bool* hopped,
                                 size_t* parts) const {
  const grpc::Status status = edge_.replicas->CheckHop(context, hopped);
  *parts = shards_->size() + (*hopped ? 0 : edge_.replicas->own().count - 1);
  return status;
}

grpc::ServerUnaryReactor* Handler::CountCustomers(grpc::CallbackServerContext* context,
                                                  const v1::CountCustomersRequest* request,
                                                  v1::CountCustomersResponse* response) {
  auto question = std::make_shared<Question>();
  if (auto status = Check(edge_.Find(*context, request->corp()), request->expression(),
                          request->as_of_day(), question.get());
      !status.ok()) {
    return rpc::Finish(context, std::move(status));
  }
  bool hopped = false;
  size_t parts = 0;
  if (auto status = CountParts(*context, &hopped, &parts); !status.ok()) {
    return rpc::Finish(context, std::move(status));
  }
  response->set_canonical_expression(question->expression->canonical_text());
  auto* reactor = context->DefaultReactor();
  if (parts == 0) {  // more replicas than partitions
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
  auto gathering = std::make_shared<Gathering>(
      parts, [reactor](grpc::Status status) { reactor->Finish(std::move(status)); });
  const auto add = [gathering, response](grpc::Status status, int64_t matching, int64_t universe) {
    gathering->Answer(std::move(status), [=] {
      response->set_count(response->count() + matching);
      response->set_universe(response->universe() + universe);
    });
  };
  const std::string corp = request->corp();
  for (const Shard& shard : *shards_) {
    AskShard(shard, rpc::DeadlineOf(*context),
             [=](absl::Status status, const SegmentationCore& core, const Now& now) {
               SegmentIndex::Count count;
               if (status.ok()) {
                 count = core.index().CountMatching(corp, *question->expression, question->At(now));
               }
               add(ShardStatus(status), count.matching, count.universe);
             });
  }
  if (!hopped) {
    edge_.replicas->Scatter<v1::CountCustomersRequest, v1::CountCustomersResponse>(
        *context, *request, [add](grpc::Status status, v1::CountCustomersResponse& part) {
          add(std::move(status), part.count(), part.universe());
        });
  }
  return reactor;
}

grpc::ServerUnaryReactor* Handler::ContainsCustomer(grpc::CallbackServerContext* context,
                                                    const v1::ContainsCustomerRequest* request,
                                                    v1::ContainsCustomerResponse* response) {
  auto question = std::make_shared<Question>();
  if (auto status = Check(edge_.Find(*context, request->corp()), request->expression(),
                          request->as_of_day(), question.get());
      !status.ok()) {
    return rpc::Finish(context, std::move(status));
  }
  std::vector<rpc::FieldViolation> wrong;
  rpc::CheckText("customer", request->customer(), 64, &wrong);
  if (!wrong.empty()) return rpc::Finish(context, rpc::InvalidArgument(wrong));
  const std::string corp = request->corp();
  const std::string customer = request->customer();
  const uint32_t partition = PartitionOf(CustomerKey(corp, customer), partitions_);
  const Replica& own = edge_.replicas->own();
  if (!own.Owns(partition)) {
    return edge_.replicas->Forward(context, partition, request, response);
  }
  auto* reactor = context->DefaultReactor();
  AskShard((*shards_)[own.PlaceOf(partition)], rpc::DeadlineOf(*context),
           [=](absl::Status status, const SegmentationCore& core, const Now& now) {
             if (status.ok()) {
               const auto membership =
                   core.index().Contains(corp, customer, *question->expression, question->At(now));
               response->set_contained(membership.contained);
               response->set_known(membership.known);
             }
             reactor->Finish(ShardStatus(status));
           });
  return reactor;
}

namespace {

// Writes the gathered customers message by message.
class PreviewReactor : public grpc::ServerWriteReactor<v1::PreviewAudienceResponse> {
 public:
  void Begin(grpc::Status status, std::deque<v1::PreviewAudienceResponse> messages) {
    if (!status.ok()) return Finish(std::move(status));
    messages_ = std::move(messages);
    Next();
  }
  void Refuse(grpc::Status status) { Finish(std::move(status)); }
  void OnWriteDone(bool ok) override {
    if (!ok) return Finish(grpc::Status(grpc::StatusCode::CANCELLED, "the caller went away"));
    messages_.pop_front();
    Next();
  }
  void OnDone() override { delete this; }

 private:
  void Next() {
    if (messages_.empty()) return Finish(grpc::Status::OK);
    StartWrite(&messages_.front());
  }
  std::deque<v1::PreviewAudienceResponse> messages_;
};

}  // namespace

grpc::ServerWriteReactor<v1::PreviewAudienceResponse>* Handler::PreviewAudience(
    grpc::CallbackServerContext* context, const v1::PreviewAudienceRequest* request) {
  auto* reactor = new PreviewReactor;
  auto question = std::make_shared<Question>();
  if (auto status =
          Check(edge_.Find(*context, request->corp()), request->expression(), "", question.get());
      !status.ok()) {
    reactor->Refuse(std::move(status));
    return reactor;
  }
  bool hopped = false;
  size_t parts = 0;
  if (auto status = CountParts(*context, &hopped, &parts); !status.ok()) {
    reactor->Refuse(std::move(status));
    return reactor;
  }
  if (parts == 0) {
    reactor->Begin(grpc::Status::OK, {});
    return reactor;
  }
  using Messages = std::deque<v1::PreviewAudienceResponse>;
  // In the order of partitions, whoever answers first.
  auto by_part = std::make_shared<std::map<uint32_t, Messages>>();
  auto gathering = std::make_shared<Gathering>(parts, [reactor, by_part](grpc::Status status) {
    Messages all;
    for (auto& [part, messages] : *by_part) {
      for (auto& message : messages) all.push_back(std::move(message));
    }
    reactor->Begin(std::move(status), std::move(all));
  });
  const std::string corp = request->corp();
  for (const Shard& shard : *shards_) {
    AskShard(shard, rpc::DeadlineOf(*context),
             [=, partition = shard.partition](absl::Status status, const SegmentationCore& core,
                                              const Now& now) {
               Messages messages;
               if (status.ok()) {
                 core.index().ForEachMatching(
                     corp, *question->expression, question->At(now),
                     [&](const std::string& customer, const std::string& owner) {
                       if (messages.empty() ||
                           messages.back().customers_size() == kPreviewCustomersPerMessage) {
                         messages.emplace_back();
                         messages.back().set_partition(partition);
                       }
                       auto* added = messages.back().add_customers();
                       added->set_customer(customer);
                       added->set_owner(owner);
                     });
               }
               gathering->Answer(ShardStatus(status),
                                 [&] { (*by_part)[partition] = std::move(messages); });
             });
  }
  if (!hopped) {
    PreviewElsewhere(*context, *request, [gathering, by_part](grpc::Status status, Messages part) {
      gathering->Answer(std::move(status), [&] {
        for (auto& message : part) {
          (*by_part)[message.partition()].push_back(std::move(message));
        }
      });
    });
  }
  return reactor;
}

void Handler::PreviewElsewhere(
    const grpc::CallbackServerContext& context, const v1::PreviewAudienceRequest& request,
    const std::function<void(grpc::Status, std::deque<v1::PreviewAudienceResponse>)>& done) {
  const rpc::Replicas* replicas = edge_.replicas;
  for (uint32_t ordinal = 0; ordinal < replicas->own().count; ++ordinal) {
    if (ordinal == replicas->own().ordinal) continue;
    auto stub = std::shared_ptr<v1::SegmentationService::Stub>(
        v1::SegmentationService::NewStub(replicas->channel(ordinal)));
    auto messages = std::make_shared<std::deque<v1::PreviewAudienceResponse>>();
    auto hop = replicas->HopContext(context, ordinal);
    hop->set_deadline(absl::ToChronoTime(rpc::DeadlineOf(context)));
    auto* reader = new rpc::StreamReader<v1::PreviewAudienceResponse>(
        std::move(hop),
        [messages](v1::PreviewAudienceResponse&& message) {
          messages->push_back(std::move(message));
        },
        [replicas, ordinal, messages, done, stub](const grpc::Status& status) {
          done(replicas->Explain(status, ordinal), std::move(*messages));
        });
    reader->Start([&](grpc::ClientContext* client, auto* reactor) {
      stub->async()->PreviewAudience(client, &request, reactor);
    });
  }
}

grpc::ServerUnaryReactor* Handler::FreezeAudience(grpc::CallbackServerContext* context,
                                                  const v1::FreezeAudienceRequest* request,
                                                  v1::FreezeAudienceResponse* response) {
  Question question;
  if (auto status =
          Check(edge_.Find(*context, request->corp()), request->expression(), "", &question);
      !status.ok()) {
    return rpc::Finish(context, std::move(status));
  }
  std::vector<rpc::FieldViolation> wrong;
  rpc::CheckRequestId(request->request_id(), &wrong);
  rpc::CheckId("audience_id", request->audience_id(), &wrong);
  if (!wrong.empty()) return rpc::Finish(context, rpc::InvalidArgument(wrong));
  Definition definition;
  definition.set_id(request->audience_id());
  definition.mutable_audience()->set_expression(question.expression->canonical_text());
  auto* reactor = context->DefaultReactor();
  edge_.definitions->Propose(
      edge_.ProposalOf(*context, *request, ""),
      [definition](
          const definitions::CorpDefinitions& corp) -> absl::StatusOr<std::vector<Definition>> {
        if (corp.audiences.contains(definition.id()) || corp.campaigns.contains(definition.id())) {
          return absl::AlreadyExistsError("an audience is frozen once; choose another audience_id");
        }
        return std::vector<Definition>{definition};
      },
      [reactor, response](absl::StatusOr<definitions::AcceptedRequest> accepted) {
        if (accepted.ok()) {
          response->set_canonical_expression(
              accepted->proposal.definitions(0).audience().expression());
          response->set_corp_revision(accepted->revision);
        }
        reactor->Finish(rpc::ToGrpcStatus(accepted.status(), "AUDIENCE_NOT_STORED"));
      });
  return reactor;
}

}  // namespace tidegate::segmentation
