// What callers of the gRPC edges are told, good and bad, with the details that programs read.
#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "tests/integration/product.h"

namespace tidegate {
namespace {

using dispatch::v1::DispatchService;
using ingestion::v1::BatchPublishEventsRequest;
using ingestion::v1::BatchPublishEventsResponse;
using ingestion::v1::IngestionService;
using ingestion::v1::PublishedEvent;
using tagging::v1::TaggingService;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class PublishTest : public ProductTest {
 protected:
  static PublishedEvent Order(const std::string& event_id, const std::string& customer,
                              const std::string& order_id, int64_t fen) {
    PublishedEvent event;
    event.set_event_id(event_id);
    event.set_customer(customer);
    event.mutable_event_time()->set_seconds(1'767'225'600);
    event.mutable_order_paid()->set_order_id(order_id);
    event.mutable_order_paid()->mutable_amount()->set_amount_fen(fen);
    return event;
  }

  grpc::Status Publish(const BatchPublishEventsRequest& request) {
    response_.Clear();
    return Call(*ingestion_, &IngestionService::Stub::BatchPublishEvents, request, &response_);
  }

  static BatchPublishEventsRequest Batch(const std::vector<PublishedEvent>& events) {
    BatchPublishEventsRequest request;
    request.set_corp(kCorp);
    request.set_source("shop");
    for (const PublishedEvent& event : events) *request.add_events() = event;
    return request;
  }

  BatchPublishEventsResponse response_;
};

TEST_F(PublishTest, EachItemHasItsOwnResultAndTheGoodOnesStay) {
  PublishedEvent no_time = Order("e2", "wm1", "2", 100);
  no_time.clear_event_time();
  PublishedEvent no_payload = Order("e3", "wm1", "3", 100);
  no_payload.clear_order_paid();
  PublishedEvent no_owner = Order("e4", "wm1", "4", 100);
  no_owner.mutable_customer_imported();
  PublishedEvent no_amount = Order("e5", "wm1", "5", 100);
  no_amount.mutable_order_paid()->clear_amount();
  PublishedEvent tomorrow = Order("e6", "wm1", "6", 100);
  tomorrow.mutable_event_time()->set_seconds(absl::ToUnixSeconds(absl::Now()) + 3 * 86'400);
  const struct {
    PublishedEvent event;
    const char* field;  // empty = taken
  } rows[] = {
      {Order("e0", "wm1", "0", 100), ""},
      {Order("", "wm1", "1", 100), "events[1].event_id"},
      {no_time, "events[2].event_time"},
      {no_payload, "events[3].payload"},
      {no_owner, "events[4].customer_imported.owner"},
      {no_amount, "events[5].order_paid.amount"},
      {tomorrow, "events[6].event_time"},
      {Order("e7", "", "7", 100), "events[7].customer"},
      {Order("e8", "wm 1", "8", 100), "events[8].customer"},
      {Order("e9", "wm1", "", 100), "events[9].order_paid.order_id"},
      {Order("e10", "wm1", "10", -1), "events[10].order_paid.amount"},
      {Order(std::string(129, 'e'), "wm1", "11", 100), "events[11].event_id"},
      {Order("e12", std::string(65, 'c'), "12", 100), "events[12].customer"},
      {Order("e13", "wm2", "13", 0), ""},
  };
  std::vector<PublishedEvent> events;
  for (const auto& row : rows) events.push_back(row.event);
  const grpc::Status status = Publish(Batch(events));
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_EQ(response_.results_size(), static_cast<int>(std::size(rows)));
  for (int i = 0; i < response_.results_size(); ++i) {
    const auto& result = response_.results(i);
    const bool taken = std::string(rows[i].field).empty();
    EXPECT_EQ(result.field(), rows[i].field) << i;
    EXPECT_EQ(result.code(), taken ? grpc::StatusCode::OK : grpc::StatusCode::INVALID_ARGUMENT)
        << i;
    EXPECT_EQ(result.message().empty(), taken) << i << ": " << result.message();
  }
  EXPECT_EQ(Count("orders.count = 1"), 2);
  EXPECT_EQ(Count("all"), 2);
}

TEST_F(PublishTest, ARepeatChangesNothingAndACorrectionReplaces) {
  const auto batch = Batch({Order("e1", "wm1", "1", 100), Order("e2", "wm1", "2", 200)});
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(Publish(batch).ok());
    for (const auto& result : response_.results()) EXPECT_EQ(result.code(), 0);
    EXPECT_EQ(Count("orders.count = 2 and orders.sum = 3.00"), 1) << "time " << i;
  }
  // The same event id is the same event, whatever else it says now.
  ASSERT_TRUE(Publish(Batch({Order("e1", "wm1", "1", 900)})).ok());
  EXPECT_EQ(Count("orders.count = 2 and orders.sum = 3.00"), 1);
  // Another event about the same order corrects it.
  ASSERT_TRUE(Publish(Batch({Order("e3", "wm1", "1", 500)})).ok());
  EXPECT_EQ(Count("orders.count = 2 and orders.sum = 7.00"), 1);
  // Another source has event and order ids of its own.
  auto other = batch;
  other.set_source("till");
  ASSERT_TRUE(Publish(other).ok());
  EXPECT_EQ(Count("orders.count = 4 and orders.sum = 10.00"), 1);
}

TEST_F(PublishTest, RefusesACallThatIsWrongAsAWhole) {
  std::vector<PublishedEvent> many;
  for (int i = 0; i < 1000; ++i) {
    many.push_back(Order(absl::StrCat("e", i), absl::StrCat("wm", i), "1", 100));
  }
  EXPECT_TRUE(Publish(Batch(many)).ok());
  EXPECT_EQ(Count("all"), 1000);
  many.push_back(Order("e1000", "wm1000", "1", 100));
  const auto one = Batch({Order("one", "wmone", "1", 100)});
  const auto from = [&one](const std::string& source) {
    auto request = one;
    request.set_source(source);
    return request;
  };
  auto stranger = one;
  stranger.set_corp("wwother");
  const struct {
    const char* what;
    BatchPublishEventsRequest request;
    grpc::StatusCode code;
    std::string reason;
    std::vector<std::string> fields;
  } rows[] = {
      {"an unknown corp", stranger, grpc::StatusCode::NOT_FOUND, "CORP_NOT_FOUND", {}},
      {"no events", Batch({}), grpc::StatusCode::INVALID_ARGUMENT, "INVALID_FIELD", {"events"}},
      {"1,001 events",
       Batch(many),
       grpc::StatusCode::INVALID_ARGUMENT,
       "INVALID_FIELD",
       {"events"}},
      {"no source", from(""), grpc::StatusCode::INVALID_ARGUMENT, "INVALID_FIELD", {"source"}},
      {"our source",
       from("wecom"),
       grpc::StatusCode::INVALID_ARGUMENT,
       "INVALID_FIELD",
       {"source"}},
      {"our other source",
       from("dispatch"),
       grpc::StatusCode::INVALID_ARGUMENT,
       "INVALID_FIELD",
       {"source"}},
      {"capitals", from("Shop"), grpc::StatusCode::INVALID_ARGUMENT, "INVALID_FIELD", {"source"}},
      {"a long source",
       from(std::string(65, 's')),
       grpc::StatusCode::INVALID_ARGUMENT,
       "INVALID_FIELD",
       {"source"}},
  };
  for (const auto& row : rows) {
    const grpc::Status status = Publish(row.request);
    EXPECT_EQ(status.error_code(), row.code) << row.what << ": " << status.error_message();
    const ErrorDetails details = DetailsOf(status);
    EXPECT_EQ(details.reason, row.reason) << row.what;
    EXPECT_EQ(details.fields, row.fields) << row.what;
  }
  EXPECT_EQ(Count("all"), 1000);
}

class DefinitionTest : public ProductTest {
 protected:
  static tagging::v1::PutRuleRequest RuleRequest(const std::string& condition) {
    tagging::v1::PutRuleRequest request;
    request.set_corp(kCorp);
    request.set_request_id(NewRequestId());
    request.mutable_rule()->set_rule_id("loyal");
    request.mutable_rule()->set_event_kind("order_paid");
    request.mutable_rule()->set_condition(condition);
    request.mutable_rule()->add_tags("vip");
    return request;
  }
  static tagging::v1::PutChannelRequest ChannelRequest(const std::string& id,
                                                       const std::string& state) {
    tagging::v1::PutChannelRequest request;
    request.set_corp(kCorp);
    request.set_request_id(NewRequestId());
    request.mutable_channel()->set_channel_id(id);
    request.mutable_channel()->set_state(state);
    request.mutable_channel()->add_tags("vip");
    return request;
  }
  grpc::Status Put(const tagging::v1::PutRuleRequest& request) {
    rule_.Clear();
    return Call(*tagging_, &TaggingService::Stub::PutRule, request, &rule_);
  }
  grpc::Status Put(const tagging::v1::PutChannelRequest& request) {
    channel_answer_.Clear();
    return Call(*tagging_, &TaggingService::Stub::PutChannel, request, &channel_answer_);
  }
  tagging::v1::PutRuleResponse rule_;
  tagging::v1::PutChannelResponse channel_answer_;
};

TEST_F(DefinitionTest, AWrongConditionIsDrawnForPeopleAndLocatedForPrograms) {
  const grpc::Status status = Put(RuleRequest("orders.count >= 3 and orders.cnt > 1"));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(),
              AllOf(HasSubstr("orders.count >= 3 and orders.cnt > 1\n"), HasSubstr("^ 1:")));
  const ErrorDetails details = DetailsOf(status);
  EXPECT_THAT(details.fields, ElementsAre("rule.condition"));
  ASSERT_EQ(details.descriptions.size(), 1u);
  // Where a program finds it, in bytes, inside the text that the caret points at.
  EXPECT_THAT(details.descriptions[0], AllOf(HasSubstr("1:"), HasSubstr(details.reason),
                                             HasSubstr("(byte "), HasSubstr("length ")));
  EXPECT_THAT(details.reason, ::testing::Not(IsEmpty()));
}

TEST_F(DefinitionTest, EveryWrongFieldIsNamedAtOnce) {
  tagging::v1::PutRuleRequest rule = RuleRequest("all");
  rule.set_request_id("1");
  rule.mutable_rule()->set_rule_id("Bad Id");
  rule.mutable_rule()->set_event_kind("order_payed");
  rule.mutable_rule()->clear_tags();
  EXPECT_THAT(DetailsOf(Put(rule)).fields,
              ElementsAre("request_id", "rule.rule_id", "rule.event_kind", "rule.tags"));
  EXPECT_THAT(DetailsOf(Put(ChannelRequest("", std::string(31, 's')))).fields,
              ElementsAre("channel.channel_id", "channel.state"));
  EXPECT_TRUE(Put(ChannelRequest("a", std::string(30, 's'))).ok());
  const grpc::Status taken = Put(ChannelRequest("b", std::string(30, 's')));
  EXPECT_EQ(taken.error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_THAT(taken.error_message(), HasSubstr("\"a\""));

  dispatch::v1::CreateCampaignRequest create;
  create.set_corp(kCorp);
  create.set_request_id(NewRequestId());
  create.mutable_campaign()->set_campaign_id("c");
  create.mutable_campaign()->set_audience_expression("all");
  create.mutable_campaign()->add_variants()->set_link_url("ftp://example.com");
  dispatch::v1::CreateCampaignResponse created;
  const grpc::Status refused =
      Call(*dispatch_, &DispatchService::Stub::CreateCampaign, create, &created);
  EXPECT_THAT(DetailsOf(refused).fields,
              ElementsAre("campaign.variants[0].text", "campaign.variants[0].link_title",
                          "campaign.variants[0].link_url"));
}

TEST_F(DefinitionTest, ARepeatedRequestIdReturnsTheFirstResultAlsoAfterAKill) {
  const auto request = RuleRequest("orders.count   >= 2");
  ASSERT_TRUE(Put(request).ok());
  const std::string first = rule_.SerializeAsString();
  EXPECT_EQ(rule_.rule().condition(), "orders.count >= 2");
  // Somebody else changes the rule meanwhile; the repeat does not undo that.
  ASSERT_TRUE(Put(RuleRequest("orders.count >= 9")).ok());
  ASSERT_TRUE(Put(request).ok());
  EXPECT_EQ(rule_.SerializeAsString(), first);

  server_->Kill();
  ASSERT_NO_FATAL_FAILURE(StartServer());
  ASSERT_TRUE(Put(request).ok());
  EXPECT_EQ(rule_.SerializeAsString(), first);
  auto other_body = request;
  other_body.mutable_rule()->set_condition("orders.count >= 4");
  const grpc::Status status = Put(other_body);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("request_id"));
  tagging::v1::ListRulesRequest list;
  list.set_corp(kCorp);
  tagging::v1::ListRulesResponse rules;
  ASSERT_TRUE(Call(*tagging_, &TaggingService::Stub::ListRules, list, &rules).ok());
  ASSERT_EQ(rules.rules_size(), 1);
  EXPECT_EQ(rules.rules(0).condition(), "orders.count >= 9");
}

// A stream of a service whose messages are not compiled here: bytes out, bytes in.
class RawStream {
 public:
  RawStream(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
            const std::string& request)
      : stub_(channel) {
    context_.set_deadline(absl::ToChronoTime(absl::Now() + kPatience));
    context_.set_wait_for_ready(true);
    call_ = stub_.PrepareCall(&context_, method, &queue_);
    call_->StartCall(nullptr);
    const grpc::Slice slice(request);
    if (Done()) call_->Write(grpc::ByteBuffer(&slice, 1), nullptr), Done();
  }
  ~RawStream() {
    context_.TryCancel();
    grpc::Status ignored;
    call_->Finish(&ignored, nullptr);
    Done();
    queue_.Shutdown();
    void* tag = nullptr;
    bool ok = false;
    while (queue_.Next(&tag, &ok)) {
    }
  }
  // Nothing at the stream's end.
  std::optional<std::string> Read() {
    grpc::ByteBuffer buffer;
    call_->Read(&buffer, nullptr);
    grpc::Slice slice;
    if (!Done() || !buffer.DumpToSingleSlice(&slice).ok()) return std::nullopt;
    return std::string(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }

 private:
  bool Done() {
    void* tag = nullptr;
    bool ok = false;
    return queue_.Next(&tag, &ok) && ok;
  }

  grpc::GenericStub stub_;
  grpc::CompletionQueue queue_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call_;
};

class ServerTest : public ProductTest {};

TEST_F(ServerTest, HealthSaysServingUntilTheDrainBegins) {
  // HealthCheckResponse: field 1, 1 = SERVING, 2 = NOT_SERVING.
  RawStream watch(channel_, "/grpc.health.v1.Health/Watch", "");
  EXPECT_EQ(watch.Read(), std::string("\x08\x01"));
  EXPECT_EQ(Http(admin_address_, "GET", "/readyz").http_status, 200);
  const absl::Time begin = absl::Now();
  auto exit_code = server_->Terminate(absl::Seconds(15));
  ASSERT_TRUE(exit_code.ok()) << exit_code.status();
  EXPECT_EQ(*exit_code, 0);
  EXPECT_LT(absl::Now() - begin, absl::Seconds(15));
  EXPECT_EQ(watch.Read(), std::string("\x08\x02"));
}

TEST_F(ServerTest, ReflectionListsTheServices) {
  // ServerReflectionRequest: field 7, list_services.
  RawStream reflection(channel_, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
                       std::string("\x3a\x01*", 3));
  const auto answer = reflection.Read();
  ASSERT_TRUE(answer.has_value());
  for (const char* service :
       {"tidegate.ingestion.v1.IngestionService", "tidegate.tagging.v1.TaggingService",
        "tidegate.segmentation.v1.SegmentationService", "tidegate.dispatch.v1.DispatchService"}) {
    EXPECT_THAT(*answer, HasSubstr(service));
  }
}

}  // namespace
}  // namespace tidegate
