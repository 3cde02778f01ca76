#include "services/segmentation/handler.h"

#include <deque>
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

grpc::Status Check(const config::Corps& corps, const std::string& corp, const std::string& text,
                   const std::string& as_of_day, Question* question) {
  if (corps.Find(corp) == nullptr) {
    return rpc::UnknownCorp();
  }
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

// Collects the answers of all shards; a missing one makes the whole an error, never a partial
// count.
class Gathering {
 public:
  Gathering(size_t shards, std::function<void(absl::Status)> done)
      : left_(shards), done_(std::move(done)) {}
  void Answer(absl::Status status, const std::function<void()>& add) {
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
  absl::Status status_;
  const std::function<void(absl::Status)> done_;
};

}  // namespace

void Handler::AskShard(uint32_t shard, absl::Time deadline,
                       std::function<void(absl::Status, const SegmentationCore&, const Now&)> ask) {
  const Shard& at = (*shards_)[shard];
  const SegmentationCore* core = at.core.get();
  runtime::WaitList* waiting = at.waiting.get();
  // What was acknowledged before the question has to be in the answer.
  const uint64_t events_end = log_->End({log::Topic::kEvents, shard});
  const int64_t deadline_raw_ns =
      clock_->Read().raw_ns + absl::ToInt64Nanoseconds(deadline - absl::Now());
  const absl::Status posted = at.thread->runner().PostQuery([=](absl::Status status,
                                                                const Now& now) {
    if (!status.ok()) return ask(std::move(status), *core, now);
    waiting->Add(
        now, deadline_raw_ns, [core, events_end] { return core->events_position() >= events_end; },
        [core, ask](absl::Status waited, const Now& then) { ask(std::move(waited), *core, then); });
  });
  if (!posted.ok()) ask(posted, *core, Now{});
}

grpc::ServerUnaryReactor* Handler::CountCustomers(grpc::CallbackServerContext* context,
                                                  const v1::CountCustomersRequest* request,
                                                  v1::CountCustomersResponse* response) {
  auto question = std::make_shared<Question>();
  if (auto status = Check(*corps_, request->corp(), request->expression(), request->as_of_day(),
                          question.get());
      !status.ok()) {
    return rpc::Finish(context, std::move(status));
  }
  response->set_canonical_expression(question->expression->canonical_text());
  auto* reactor = context->DefaultReactor();
  auto gathering = std::make_shared<Gathering>(shards_->size(), [reactor](absl::Status status) {
    reactor->Finish(rpc::ToGrpcStatus(status, "SHARD_NOT_READY"));
  });
  const std::string corp = request->corp();
  for (uint32_t shard = 0; shard < shards_->size(); ++shard) {
    AskShard(shard, rpc::DeadlineOf(*context),
             [=](absl::Status status, const SegmentationCore& core, const Now& now) {
               SegmentIndex::Count count;
               if (status.ok()) {
                 count = core.index().CountMatching(corp, *question->expression, question->At(now));
               }
               gathering->Answer(std::move(status), [&] {
                 response->set_count(response->count() + count.matching);
                 response->set_universe(response->universe() + count.universe);
               });
             });
  }
  return reactor;
}

grpc::ServerUnaryReactor* Handler::ContainsCustomer(grpc::CallbackServerContext* context,
                                                    const v1::ContainsCustomerRequest* request,
                                                    v1::ContainsCustomerResponse* response) {
  auto question = std::make_shared<Question>();
  if (auto status = Check(*corps_, request->corp(), request->expression(), request->as_of_day(),
                          question.get());
      !status.ok()) {
    return rpc::Finish(context, std::move(status));
  }
  std::vector<rpc::FieldViolation> wrong;
  rpc::CheckText("customer", request->customer(), 64, &wrong);
  if (!wrong.empty()) return rpc::Finish(context, rpc::InvalidArgument(wrong));
  auto* reactor = context->DefaultReactor();
  const std::string corp = request->corp();
  const std::string customer = request->customer();
  const auto shard =
      PartitionOf(CustomerKey(corp, customer), static_cast<uint32_t>(shards_->size()));
  AskShard(shard, rpc::DeadlineOf(*context),
           [=](absl::Status status, const SegmentationCore& core, const Now& now) {
             if (status.ok()) {
               const auto membership =
                   core.index().Contains(corp, customer, *question->expression, question->At(now));
               response->set_contained(membership.contained);
               response->set_known(membership.known);
             }
             reactor->Finish(rpc::ToGrpcStatus(status, "SHARD_NOT_READY"));
           });
  return reactor;
}

namespace {

// Writes the gathered customers message by message.
class PreviewReactor : public grpc::ServerWriteReactor<v1::PreviewAudienceResponse> {
 public:
  void Begin(absl::Status status, std::deque<v1::PreviewAudienceResponse> messages) {
    if (!status.ok()) return Finish(rpc::ToGrpcStatus(status, "SHARD_NOT_READY"));
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
  if (auto status = Check(*corps_, request->corp(), request->expression(), "", question.get());
      !status.ok()) {
    reactor->Refuse(std::move(status));
    return reactor;
  }
  using Messages = std::deque<v1::PreviewAudienceResponse>;
  auto by_shard = std::make_shared<std::vector<Messages>>(shards_->size());
  auto gathering =
      std::make_shared<Gathering>(shards_->size(), [reactor, by_shard](absl::Status status) {
        Messages all;
        for (Messages& messages : *by_shard) {
          for (auto& message : messages) all.push_back(std::move(message));
        }
        reactor->Begin(std::move(status), std::move(all));
      });
  const std::string corp = request->corp();
  for (uint32_t shard = 0; shard < shards_->size(); ++shard) {
    AskShard(shard, rpc::DeadlineOf(*context),
             [=](absl::Status status, const SegmentationCore& core, const Now& now) {
               Messages messages;
               if (status.ok()) {
                 core.index().ForEachMatching(
                     corp, *question->expression, question->At(now),
                     [&](const std::string& customer, const std::string& owner) {
                       if (messages.empty() ||
                           messages.back().customers_size() == kPreviewCustomersPerMessage) {
                         messages.emplace_back();
                       }
                       auto* added = messages.back().add_customers();
                       added->set_customer(customer);
                       added->set_owner(owner);
                     });
               }
               gathering->Answer(std::move(status),
                                 [&] { (*by_shard)[shard] = std::move(messages); });
             });
  }
  return reactor;
}

grpc::ServerUnaryReactor* Handler::FreezeAudience(grpc::CallbackServerContext* context,
                                                  const v1::FreezeAudienceRequest* request,
                                                  v1::FreezeAudienceResponse* response) {
  Question question;
  if (auto status = Check(*corps_, request->corp(), request->expression(), "", &question);
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
  store_->Propose(
      definitions::ProposalOf(*request, ""),
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
