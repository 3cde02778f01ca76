#include "services/dispatch/core/ghost_book.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/unit/services/dispatch/core/one_lane.h"

namespace tidegate::dispatch {
namespace {

using ::tidegate::log::v1::LedgerRecord;
using Phase = CampaignCallState::Phase;

constexpr int64_t kSecond = kNanosPerSecond;
constexpr int64_t kDay = 24 * 3600 * kSecond;
constexpr char kCreate[] = "add_msg_template";
constexpr char kCancel[] = "cancel_groupmsg_send";
constexpr char kList[] = "get_groupmsg_list_v2";
constexpr char kDone[] = R"({"errcode":0,"errmsg":"ok"})";

struct Task {
  std::string msgid;
  int64_t created_s = 0;
  std::string marker;
};

// One campaign of one call.
class GhostBookTest : public ::testing::Test {
 protected:
  GhostBookTest() { lane_.Launch("spring", 1, 1); }

  const CampaignCallState& Call() {
    return lane_.core().campaigns().Find({OneLane::kCorp, "spring"})->calls[0];
  }
  // The next call to this endpoint; others are answered with an error that passes.
  CallToMake Next(const std::string& api, int64_t patience_ns = 10 * 60 * kSecond) {
    for (int64_t passed = 0; passed <= patience_ns; passed += kSecond, lane_.Pass(kSecond)) {
      std::optional<CallToMake> wanted;
      for (const CallToMake& call : lane_.Calls()) {
        if (call.api == api) {
          wanted = call;
        } else {
          lane_.Answer(call, R"({"errcode":41063,"errmsg":"being distributed"})");
        }
      }
      if (wanted.has_value()) return *wanted;
    }
    ADD_FAILURE() << "no " << api;
    return {};
  }
  bool Leaves(const std::string& api, int64_t within_ns) {
    for (int64_t passed = 0; passed <= within_ns; passed += kSecond, lane_.Pass(kSecond)) {
      for (const CallToMake& call : lane_.Calls()) {
        if (call.api == api) return true;
        lane_.Answer(call, R"({"errcode":41063,"errmsg":"being distributed"})");
      }
    }
    return false;
  }
  static std::string List(const std::vector<Task>& tasks, const std::string& next = "") {
    std::string list;
    for (const Task& task : tasks) {
      absl::StrAppend(&list, list.empty() ? "" : ",", R"({"msgid":")", task.msgid,
                      R"(","create_time":)", task.created_s,
                      R"(,"attachments":[{"link":{"url":"https://example.com/?tg=)", task.marker,
                      R"("}}]})");
    }
    return absl::StrCat(R"({"errcode":0,"next_cursor":")", next, R"(","group_msg_list":[)", list,
                        "]}");
  }
  // The create is executed as msg1, and known to be.
  void Accepted() { lane_.Answer(Next(kCreate), R"({"errcode":0,"msgid":"msg1"})"); }
  // Until the day's audit asks for its first page.
  CallToMake NextAudit() {
    lane_.Pass(kDay);
    return Next(kList);
  }
  uint64_t Found() {
    lane_.Decide();
    return lane_.core().ghosts().found();
  }

  OneLane lane_{wecom_table::DefaultLimits()};
};

TEST_F(GhostBookTest, OfTwoThatSettlingFindsTheEarlierIsKeptAndTheOtherTakenBack) {
  lane_.Answer(Next(kCreate), "");
  const int64_t now_s = lane_.now().wall_ns / kSecond;
  for (int listing = 1; listing <= 2; ++listing) {
    lane_.Answer(Next(kList), List({{"msg1", now_s + 2, Call().marker},
                                    {"msg2", now_s + 1, Call().marker},
                                    {"other", now_s, "0123456789abcdef"}}));
  }
  lane_.Decide();
  EXPECT_EQ(Call().phase, Phase::kAccepted);
  EXPECT_EQ(Call().msgid, "msg2");
  EXPECT_EQ(Found(), 1u);
  const CallToMake cancel = Next(kCancel);
  EXPECT_EQ(cancel.body, R"({"msgid":"msg1"})");
  lane_.Answer(cancel, kDone);
  EXPECT_FALSE(Leaves(kCancel, 600 * kSecond));
  lane_.ExpectReplayGivesTheSame();
}

TEST_F(GhostBookTest, TheDaysAuditFindsASecondTaskOfAnAcceptedCall) {
  Accepted();
  EXPECT_FALSE(Leaves(kList, 3600 * kSecond)) << "a day has not passed";
  const CallToMake first = NextAudit();
  EXPECT_TRUE(absl::StrContains(
      first.body, absl::StrCat("\"start_time\":", lane_.now().wall_ns / kSecond - 31 * 86'400)));
  lane_.Answer(first, List({{"msg1", 1, Call().marker}, {"strange", 1, "0123456789abcdef"}}, "c"));
  EXPECT_EQ(Found(), 0u);
  const CallToMake second = Next(kList);
  EXPECT_TRUE(absl::StrContains(second.body, R"("cursor":"c")"));
  lane_.Answer(second, List({{"late", 2, Call().marker}}));
  EXPECT_EQ(Found(), 1u);
  EXPECT_EQ(Next(kCancel).body, R"({"msgid":"late"})");
  lane_.ExpectReplayGivesTheSame();
}

TEST_F(GhostBookTest, AGhostIsFoundAndTakenBackOnce) {
  Accepted();
  lane_.Answer(NextAudit(), List({{"late", 2, Call().marker}}));
  lane_.Answer(Next(kCancel), kDone);
  lane_.Answer(NextAudit(), List({{"late", 2, Call().marker}}));
  EXPECT_EQ(Found(), 1u);
  EXPECT_FALSE(Leaves(kCancel, 600 * kSecond));
}

// WeCom may have taken it back although its answer was lost.
TEST_F(GhostBookTest, TakingBackIsRepeatedUntilItIsKnownToBeDone) {
  Accepted();
  lane_.Answer(NextAudit(), List({{"late", 2, Call().marker}}));
  lane_.Answer(Next(kCancel), "");
  lane_.TakeOver("a");
  lane_.Answer(Next(kCancel), R"({"errcode":-1,"errmsg":"system busy"})");
  Next(kCancel);
  lane_.TakeOver("a");  // while it is under way
  lane_.Answer(Next(kCancel), R"({"errcode":41093,"errmsg":"has been cancelled"})");
  EXPECT_FALSE(Leaves(kCancel, 600 * kSecond));
  EXPECT_EQ(Found(), 1u);
  lane_.ExpectReplayGivesTheSame();
}

TEST_F(GhostBookTest, ATaskOfARefusedCallIsAGhost) {
  lane_.Answer(Next(kCreate), R"({"errcode":48002,"errmsg":"no right"})");
  ASSERT_EQ(Call().phase, Phase::kRefused);
  lane_.Answer(NextAudit(), List({{"msg1", 2, Call().marker}}));
  EXPECT_EQ(Found(), 1u);
}

// An operator may yet say that it was executed.
TEST_F(GhostBookTest, ATaskOfAParkedCallIsNone) {
  lane_.Answer(Next(kCreate), "");
  while (Call().phase == Phase::kDoubt) {
    lane_.Pass(60 * kSecond);
    for (const CallToMake& call : lane_.Calls()) {
      lane_.Answer(call, R"({"errcode":-1,"errmsg":"system busy"})");
    }
  }
  ASSERT_EQ(Call().phase, Phase::kParked);
  lane_.Answer(NextAudit(), List({{"msg1", 2, Call().marker}}));
  EXPECT_EQ(Found(), 0u);
}

TEST_F(GhostBookTest, AnAuditGoesOnAtThePageThatFailedAndGivesUpAtLast) {
  ::testing::internal::CaptureStderr();
  Accepted();
  lane_.Answer(NextAudit(), List({}, "c"));
  for (int failures = 0; failures < 8; ++failures) {
    const CallToMake page = Next(kList);
    EXPECT_TRUE(absl::StrContains(page.body, R"("cursor":"c")")) << failures;
    lane_.Answer(page, R"({"errcode":-1,"errmsg":"system busy"})");
  }
  EXPECT_FALSE(Leaves(kList, 3600 * kSecond));
  EXPECT_FALSE(absl::StrContains(NextAudit().body, "cursor"));
  EXPECT_TRUE(absl::StrContains(::testing::internal::GetCapturedStderr(), "audit_failed"));
  ::testing::internal::CaptureStderr();
  lane_.ExpectReplayGivesTheSame();
  const std::string replayed = ::testing::internal::GetCapturedStderr();
  EXPECT_FALSE(absl::StrContains(replayed, "audit_failed")) << replayed;
}

TEST_F(GhostBookTest, OneThatIsFoundInABatchWhichBecomesVoidIsToldOnce) {
  Accepted();
  lane_.Answer(NextAudit(), List({{"msg1", 2, Call().marker}, {"msg2", 3, Call().marker}}));
  ::testing::internal::CaptureStderr();
  ASSERT_TRUE(lane_.core().Decide({}, lane_.now()).has_value());
  const std::string decided = ::testing::internal::GetCapturedStderr();
  EXPECT_FALSE(absl::StrContains(decided, "ghost_found")) << decided;
  lane_.TakeOver("b");
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(Found(), 1u);
  const std::string applied = ::testing::internal::GetCapturedStderr();
  EXPECT_TRUE(absl::StrContains(applied, "ghost_found")) << applied;
  ::testing::internal::CaptureStderr();
  lane_.ExpectReplayGivesTheSame();
  const std::string replayed = ::testing::internal::GetCapturedStderr();
  EXPECT_FALSE(absl::StrContains(replayed, "ghost_found")) << replayed;
}

TEST_F(GhostBookTest, AfterAMonthWithoutCreatesNothingIsListed) {
  Accepted();
  lane_.Pass(32 * kDay);
  EXPECT_FALSE(Leaves(kList, 3600 * kSecond));
}

}  // namespace
}  // namespace tidegate::dispatch
