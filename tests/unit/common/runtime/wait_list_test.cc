#include "common/runtime/wait_list.h"

#include <gtest/gtest.h>

#include <optional>

namespace tidegate::runtime {
namespace {

WaitList::Done Into(std::optional<absl::StatusCode>* code) {
  return [code](absl::Status status, const Now&) { *code = status.code(); };
}

TEST(WaitListTest, AnswersAtOnceWhatIsReady) {
  WaitList list;
  std::optional<absl::StatusCode> code;
  list.Add(
      Now{}, 100, [] { return true; }, Into(&code));
  EXPECT_EQ(code, absl::StatusCode::kOk);
}

TEST(WaitListTest, AnswersWhatBecomesReadyOnce) {
  WaitList list;
  bool ready = false;
  int answers = 0;
  list.Add(
      Now{}, 100, [&] { return ready; },
      [&](absl::Status status, const Now&) {
        EXPECT_TRUE(status.ok());
        ++answers;
      });
  list.Check(Now{.raw_ns = 99});
  EXPECT_EQ(answers, 0);
  ready = true;
  list.Check(Now{.raw_ns = 99});
  list.Check(Now{.raw_ns = 101});
  EXPECT_EQ(answers, 1);
}

TEST(WaitListTest, EndsAWaitAtItsDeadline) {
  WaitList list;
  std::optional<absl::StatusCode> code;
  list.Add(
      Now{}, 100, [] { return false; }, Into(&code));
  list.Check(Now{.raw_ns = 99});
  EXPECT_EQ(code, std::nullopt);
  list.Check(Now{.raw_ns = 100});
  EXPECT_EQ(code, absl::StatusCode::kDeadlineExceeded);
}

TEST(WaitListTest, RefusesBeyondItsBound) {
  WaitList list(1);
  std::optional<absl::StatusCode> first;
  std::optional<absl::StatusCode> second;
  list.Add(
      Now{}, 100, [] { return false; }, Into(&first));
  list.Add(
      Now{}, 100, [] { return false; }, Into(&second));
  EXPECT_EQ(first, std::nullopt);
  EXPECT_EQ(second, absl::StatusCode::kResourceExhausted);
}

TEST(WaitListTest, WhatWaitsAtTheEndIsUnavailable) {
  std::optional<absl::StatusCode> code;
  {
    WaitList list;
    list.Add(
        Now{}, 100, [] { return false; }, Into(&code));
  }
  EXPECT_EQ(code, absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace tidegate::runtime
