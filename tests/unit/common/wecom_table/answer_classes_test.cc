#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "common/wecom_table/endpoints.h"
#include "common/wecom_table/errors.h"

namespace tidegate::wecom_table {
namespace {

constexpr AnswerClass kAccepted = AnswerClass::kAccepted;
constexpr AnswerClass kRefused = AnswerClass::kRefused;
constexpr AnswerClass kAgain = AnswerClass::kNotExecuted;
constexpr AnswerClass kDoubt = AnswerClass::kDoubt;

AnswerFacts Answered(int errcode, bool has_result_id = false, int http_status = 200) {
  return {.bytes_written = true,
          .answered = true,
          .body_parsed = true,
          .http_status = http_status,
          .errcode = errcode,
          .has_result_id = has_result_id};
}

AnswerFacts Unreadable(int http_status) {
  AnswerFacts facts = Answered(0, true, http_status);
  facts.body_parsed = false;
  return facts;
}

AnswerFacts Unwritten(int token_errcode) {
  AnswerFacts facts;
  facts.errcode = token_errcode;
  return facts;
}

TEST(AnswerClassesTest, EachObservationHasOneClassPerKindOfCall) {
  const Endpoint& read = *FindEndpoint("get_groupmsg_task");
  const Endpoint& repeatable = *FindEndpoint("mark_tag");
  const Endpoint& single_use = *FindEndpoint("send_welcome_msg");
  const Endpoint& creates = *FindEndpoint("add_msg_template");
  ASSERT_EQ(read.idempotency, Idempotency::kRead);
  ASSERT_EQ(repeatable.idempotency, Idempotency::kRepeatable);
  ASSERT_EQ(single_use.idempotency, Idempotency::kSingleUse);
  ASSERT_EQ(creates.idempotency, Idempotency::kCreates);
  struct Row {
    const char* observed;
    AnswerFacts facts;
    AnswerClass read, repeatable, single_use, single_use_after_doubt, creates;
  };
  for (const Row& row : std::vector<Row>{
           {"no byte written", Unwritten(0), kAgain, kAgain, kAgain, kAgain, kAgain},
           {"no token", Unwritten(40001), kAgain, kAgain, kAgain, kAgain, kAgain},
           {"a code without a byte written", Unwritten(40058), kAgain, kAgain, kAgain, kAgain,
            kAgain},
           {"silence", {.bytes_written = true}, kAgain, kAgain, kAgain, kAgain, kDoubt},
           {"200 HTML", Unreadable(200), kAgain, kAgain, kAgain, kAgain, kDoubt},
           {"502 HTML", Unreadable(502), kAgain, kAgain, kAgain, kAgain, kDoubt},
           {"502 with 0", Answered(0, true, 502), kAgain, kAgain, kAgain, kAgain, kDoubt},
           {"429 with 0", Answered(0, true, 429), kAgain, kAgain, kAgain, kAgain, kDoubt},
           {"502 with a refusal", Answered(40058, false, 502), kAgain, kAgain, kAgain, kAgain,
            kDoubt},
           {"0 and an id", Answered(0, true), kAccepted, kAccepted, kAccepted, kAccepted,
            kAccepted},
           {"0 without id", Answered(0), kAccepted, kAccepted, kAccepted, kAccepted, kDoubt},
           {"busy", Answered(-1), kAgain, kAgain, kAgain, kAgain, kDoubt},
           {"busy and an id", Answered(-1, true), kAgain, kAgain, kAgain, kAgain, kDoubt},
           {"system failure", Answered(2000111), kAgain, kAgain, kAgain, kAgain, kDoubt},
           {"unknown code", Answered(987654), kAgain, kAgain, kAgain, kAgain, kDoubt},
           {"token invalid", Answered(40014), kAgain, kAgain, kAgain, kAgain, kAgain},
           {"token expired", Answered(42001), kAgain, kAgain, kAgain, kAgain, kAgain},
           {"secret wrong", Answered(40001), kAgain, kAgain, kAgain, kAgain, kAgain},
           {"over the limit", Answered(45009), kAgain, kAgain, kAgain, kAgain, kAgain},
           {"too many at once", Answered(45033), kAgain, kAgain, kAgain, kAgain, kAgain},
           {"write conflict", Answered(45035), kAgain, kAgain, kAgain, kAgain, kAgain},
           {"version conflict", Answered(6000), kAgain, kAgain, kAgain, kAgain, kAgain},
           {"being distributed", Answered(41063), kAgain, kAgain, kAgain, kAgain, kAgain},
           {"another app is sending", Answered(41096), kAgain, kAgain, kAgain, kAgain, kAgain},
           {"address not trusted", Answered(60020), kAgain, kAgain, kAgain, kAgain, kAgain},
           {"bad parameter", Answered(40058), kRefused, kRefused, kRefused, kRefused, kRefused},
           {"bad member", Answered(40003), kRefused, kRefused, kRefused, kRefused, kRefused},
           {"bad customer", Answered(40096), kRefused, kRefused, kRefused, kRefused, kRefused},
           {"no recipient", Answered(41048), kRefused, kRefused, kRefused, kRefused, kRefused},
           {"no relation", Answered(84061), kRefused, kRefused, kRefused, kRefused, kRefused},
           {"no permission", Answered(48002), kRefused, kRefused, kRefused, kRefused, kRefused},
           {"a code too old", Answered(41050), kRefused, kRefused, kRefused, kRefused, kRefused},
           {"a code used up", Answered(41051), kAgain, kAgain, kRefused, kAccepted, kDoubt},
       }) {
    SCOPED_TRACE(row.observed);
    EXPECT_EQ(Classify(read, row.facts, false).answer_class, row.read);
    EXPECT_EQ(Classify(repeatable, row.facts, false).answer_class, row.repeatable);
    EXPECT_EQ(Classify(single_use, row.facts, false).answer_class, row.single_use);
    EXPECT_EQ(Classify(single_use, row.facts, true).answer_class, row.single_use_after_doubt);
    EXPECT_EQ(Classify(creates, row.facts, false).answer_class, row.creates);
  }
}

TEST(AnswerClassesTest, ACreateIsRepeatedAfterDocumentedRefusalsOnly) {
  std::set<int> again;
  for (int errcode = -100; errcode <= 1'000'000; ++errcode) {
    const auto verdict =
        Classify(*FindEndpoint("add_msg_template"), Answered(errcode, true), false);
    if (verdict.answer_class == kAgain) again.insert(errcode);
    ASSERT_EQ(verdict.answer_class == kAccepted, errcode == 0) << errcode;
  }
  EXPECT_EQ(again, (std::set<int>{6000, 40001, 40014, 41063, 41096, 42001, 45009, 45011, 45033,
                                  45035, 45036, 60020}));
}

// A repeat of the same bytes does no harm for a time, so it is in doubt until WeCom has taken it.
TEST(AnswerClassesTest, WhatWecomChecksForDuplicatesEndsItsDoubtByAnAcceptanceOnly) {
  const Endpoint& app = *FindEndpoint("message_send");
  ASSERT_EQ(app.idempotency, Idempotency::kDeduplicated);
  struct Row {
    const char* observed;
    AnswerFacts facts;
    AnswerClass first, after_doubt;
  };
  for (const Row& row : std::vector<Row>{
           {"no byte written", Unwritten(0), kAgain, kAgain},
           {"silence", {.bytes_written = true}, kDoubt, kDoubt},
           {"200 HTML", Unreadable(200), kDoubt, kDoubt},
           {"502 with 0", Answered(0, true, 502), kDoubt, kDoubt},
           {"0 and an id", Answered(0, true), kAccepted, kAccepted},
           {"0 without id", Answered(0), kAccepted, kAccepted},
           {"busy", Answered(-1), kDoubt, kDoubt},
           {"unknown code", Answered(987654), kDoubt, kDoubt},
           {"token expired", Answered(42001), kAgain, kAgain},
           {"over the limit", Answered(45009), kAgain, kAgain},
           {"nobody is a member", Answered(81013), kRefused, kDoubt},
           {"another app", Answered(301002), kRefused, kDoubt},
       }) {
    SCOPED_TRACE(row.observed);
    EXPECT_EQ(Classify(app, row.facts, false).answer_class, row.first);
    EXPECT_EQ(Classify(app, row.facts, true).answer_class, row.after_doubt);
  }
}

TEST(AnswerClassesTest, OnlyRepeatsWithHarmAreEverInDoubt) {
  for (const Endpoint& endpoint : Endpoints()) {
    if (endpoint.idempotency == Idempotency::kDeduplicated) continue;
    for (const int errcode : {-1, 0, 41051, 987654}) {
      for (const bool in_doubt_before : {false, true}) {
        EXPECT_EQ(
            Classify(endpoint, Answered(errcode, false), in_doubt_before).answer_class == kDoubt,
            endpoint.idempotency == Idempotency::kCreates ||
                (endpoint.idempotency == Idempotency::kBlind && errcode != 0))
            << endpoint.name << " " << errcode;
      }
    }
  }
}

TEST(AnswerClassesTest, AReminderIsRepeatedOnlyWhereItWasNotExecuted) {
  const Endpoint& remind = *FindEndpoint("remind_groupmsg_send");
  ASSERT_EQ(remind.idempotency, Idempotency::kBlind);
  EXPECT_EQ(Classify(remind, Answered(0), false).answer_class, kAccepted);
  EXPECT_EQ(Classify(remind, Answered(41094), false).answer_class, kRefused);
  EXPECT_EQ(Classify(remind, Answered(41093), false).answer_class, kRefused);
  EXPECT_EQ(Classify(remind, Answered(45009), false).answer_class, kAgain);
  EXPECT_EQ(Classify(remind, Unwritten(0), false).answer_class, kAgain);
  EXPECT_EQ(Classify(remind, {.bytes_written = true}, false).answer_class, kDoubt);
  EXPECT_EQ(Classify(remind, Unreadable(200), false).answer_class, kDoubt);
}

TEST(AnswerClassesTest, ThreeCodesSpeakOfTheToken) {
  std::set<int> codes;
  for (int errcode = -100; errcode <= 100'000; ++errcode) {
    if (IsTokenError(errcode)) codes.insert(errcode);
  }
  EXPECT_EQ(codes, (std::set<int>{40001, 40014, 42001}));
}

}  // namespace
}  // namespace tidegate::wecom_table
