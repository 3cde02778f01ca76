#include "services/tidegate/client/publisher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/unit/services/tidegate/client/fakes.h"

namespace tidegate::client {
namespace {

using ::testing::ElementsAre;
using tidegate::ingestion::v1::PublishedEvent;

PublishedEvent Event(int64_t row) {
  PublishedEvent event;
  event.set_event_id(absl::StrCat("e", row));
  event.set_customer("wm1");
  return event;
}

class PublisherTest : public ::testing::Test {
 protected:
  // Publishes rows 1..count with one call in flight, so that the n-th call is known.
  absl::Status Publish(int count, size_t batch_events, ConnectionOptions options = {},
                       size_t batches_in_flight = 1) {
    const Connection connection({{"", server_.Connect()}}, options, &clock_);
    const auto log = ClientLog::Open("", &clock_);
    Publisher publisher(&connection, log->get(),
                        {.corp = "ww1",
                         .source = "shop",
                         .batch_events = batch_events,
                         .batches_in_flight = batches_in_flight},
                        [this](int64_t row, const std::string& field, const std::string& message) {
                          errors_.push_back(absl::StrCat(row, " ", field, ": ", message));
                        });
    for (int row = 1; row <= count; ++row) {
      if (!publisher.Add(row, Event(row))) break;
    }
    const absl::Status status = publisher.Finish();
    published_ = publisher.published();
    return status;
  }

  std::vector<std::string> IdsOfCall(size_t nth) const {
    std::vector<std::string> ids;
    const auto publishes = server_.publishes();
    for (const auto& event : publishes.at(nth - 1).events()) ids.push_back(event.event_id());
    return ids;
  }

  FakeClock clock_;
  FakeServer server_;
  std::vector<std::string> errors_;
  int64_t published_ = 0;
};

TEST_F(PublisherTest, SendsEveryEventOnceInBatches) {
  EXPECT_TRUE(Publish(5, 2).ok());
  EXPECT_EQ(published_, 5);
  EXPECT_THAT(IdsOfCall(1), ElementsAre("e1", "e2"));
  EXPECT_THAT(IdsOfCall(3), ElementsAre("e5"));
  EXPECT_EQ(server_.publishes()[0].corp(), "ww1");
  EXPECT_EQ(server_.publishes()[0].source(), "shop");
}

TEST_F(PublisherTest, ManyInFlightLoseAndRepeatNothing) {
  EXPECT_TRUE(Publish(10'007, 100, {}, 8).ok());
  EXPECT_EQ(published_, 10'007);
  std::set<std::string> ids;
  for (const auto& call : server_.publishes()) {
    for (const auto& event : call.events()) EXPECT_TRUE(ids.insert(event.event_id()).second);
  }
  EXPECT_EQ(ids.size(), 10'007u);
}

TEST_F(PublisherTest, RepeatsUnavailableWithEqualIds) {
  server_.on_publish = [](size_t nth, const auto&, auto*) {
    return nth <= 3 ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "restarting") : grpc::Status::OK;
  };
  EXPECT_TRUE(Publish(2, 2, {.timeout_s = 30, .wait_s = 10}).ok());
  EXPECT_EQ(published_, 2);
  EXPECT_EQ(server_.publishes().size(), 4u);
  for (size_t nth = 1; nth <= 4; ++nth) EXPECT_THAT(IdsOfCall(nth), ElementsAre("e1", "e2"));
  EXPECT_EQ(clock_.sleeps(), 3);
}

TEST_F(PublisherTest, WithoutWaitFirstUnavailableEndsIt) {
  server_.on_publish = [](size_t, const auto&, auto*) {
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "nobody there");
  };
  EXPECT_TRUE(absl::IsUnavailable(Publish(2, 2)));
  EXPECT_EQ(server_.publishes().size(), 1u);
  EXPECT_THAT(errors_, ElementsAre("1 row: nobody there", "2 row: nobody there"));
}

TEST_F(PublisherTest, AnOutageAfterAnAnswerIsWaitedFor) {
  server_.on_publish = [](size_t nth, const auto&, auto*) {
    return nth == 2 ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "restart") : grpc::Status::OK;
  };
  EXPECT_TRUE(Publish(4, 2).ok());
  EXPECT_EQ(published_, 4);
  EXPECT_THAT(IdsOfCall(3), ElementsAre("e3", "e4"));
}

TEST_F(PublisherTest, RepeatsOnlyTheItemsThatWereNotTaken) {
  server_.on_publish = [](size_t nth, const auto&, auto* response) {
    if (nth == 1) {
      response->mutable_results(0)->set_code(grpc::StatusCode::RESOURCE_EXHAUSTED);
      response->mutable_results(2)->set_code(grpc::StatusCode::UNAVAILABLE);
    }
    return grpc::Status::OK;
  };
  EXPECT_TRUE(Publish(3, 3).ok());
  EXPECT_EQ(published_, 3);
  EXPECT_THAT(IdsOfCall(2), ElementsAre("e1", "e3"));
}

TEST_F(PublisherTest, ARefusedItemNamesItsRowAndTheOthersStay) {
  server_.on_publish = [](size_t, const auto&, auto* response) {
    response->mutable_results(1)->set_code(grpc::StatusCode::INVALID_ARGUMENT);
    response->mutable_results(1)->set_message("is empty");
    response->mutable_results(1)->set_field("events[1].order_paid.order_id");
    return grpc::Status::OK;
  };
  EXPECT_TRUE(Publish(3, 3).ok());
  EXPECT_EQ(published_, 2);
  EXPECT_THAT(errors_, ElementsAre("2 order_paid.order_id: is empty"));
}

TEST_F(PublisherTest, AFullServerIsGivenUpAfterTheTimeout) {
  server_.on_publish = [](size_t, const auto&, auto*) {
    return grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "queue full");
  };
  EXPECT_TRUE(absl::IsResourceExhausted(Publish(1, 1, {.timeout_s = 30})));
  EXPECT_EQ(clock_.Read().raw_ns, 30 * kNanosPerSecond);
  EXPECT_EQ(published_, 0);
}

TEST_F(PublisherTest, AnErrorOfTheWholeCallStopsTheRest) {
  server_.on_publish = [](size_t, const auto&, auto*) {
    return grpc::Status(grpc::StatusCode::NOT_FOUND, "corp");
  };
  EXPECT_TRUE(absl::IsNotFound(Publish(1'000, 2)));
  EXPECT_EQ(server_.publishes().size(), 1u);
  EXPECT_EQ(published_, 0);
}

TEST_F(PublisherTest, AnAnswerOfTheWrongLengthIsAnError) {
  server_.on_publish = [](size_t, const auto&, auto* response) {
    response->mutable_results()->RemoveLast();
    return grpc::Status::OK;
  };
  EXPECT_TRUE(absl::IsInternal(Publish(2, 2)));
  EXPECT_EQ(published_, 0);
}

}  // namespace
}  // namespace tidegate::client
