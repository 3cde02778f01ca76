#include "services/dispatch/lane_limits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"

namespace tidegate::dispatch {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int64_t kWhole = 1'000'000;

// Lane 0 has an address of the machine, lane 1 a proxy.
Config ConfigOf(const std::string& limits_file) {
  return {.lanes = 2,
          .egress = {"10.0.0.5", "http://li:secret@proxy:3128"},
          .limits = *wecom_table::ParseLimits(limits_file)};
}

TEST(LaneLimitsTest, OnlyALaneBehindAProxyWaitsForWhatItMayHoldBack) {
  const Config config = ConfigOf("{}");
  const auto direct = LimitsOfLane(config, kWhole, 0);
  const auto proxied = LimitsOfLane(config, kWhole, 1);
  ASSERT_TRUE(direct.ok()) << direct.status();
  ASSERT_TRUE(proxied.ok()) << proxied.status();
  EXPECT_EQ(direct->settle.hold_ns, 30 * kNanosPerSecond);
  EXPECT_EQ(direct->SettleWaitNs(), 105 * kNanosPerSecond);
  EXPECT_EQ(proxied->settle.hold_ns, 210 * kNanosPerSecond);
  EXPECT_EQ(proxied->SettleWaitNs(), 375 * kNanosPerSecond);
}

TEST(LaneLimitsTest, TheFileSaysHowLongAProxyMayHoldBackForCorpsToo) {
  const Config config =
      ConfigOf(R"({"settle": {"hold_ms": 100, "proxy_ms": 23}, "corps": {"ww1": {"weight": 7}}})");
  const auto proxied = LimitsOfLane(config, kWhole / 2, 1);
  ASSERT_TRUE(proxied.ok()) << proxied.status();
  EXPECT_EQ(proxied->settle.hold_ns, 123 * kNanosPerMilli);
  EXPECT_EQ(proxied->OfCorp("ww1").settle.hold_ns, 123 * kNanosPerMilli);
  EXPECT_EQ(proxied->OfCorp("ww1").weight, 7);
  EXPECT_EQ(proxied->WindowsOf("gettoken", wecom_table::Scope::kIp)[0].amount, 10'000);
}

TEST(LaneLimitsTest, NothingIsParkedBeforeItCanBeSettled) {
  // 1.5 * (5 + 30 + 180 + 30 + 5) s and 10 s between the listings.
  const auto of = [](int64_t park_after_ms, uint32_t lane) {
    return LimitsOfLane(
        ConfigOf(absl::StrCat(R"({"settle": {"park_after_ms": )", park_after_ms, "}}")), kWhole,
        lane);
  };
  EXPECT_TRUE(of(385'001, 1).ok());
  EXPECT_EQ(of(385'000, 1).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(of(385'000, 1).status().message(),
              AllOf(HasSubstr("settle.park_after_ms: write at least 385001"),
                    HasSubstr("settle.proxy_ms")));
  EXPECT_TRUE(of(385'000, 0).ok());
}

TEST(LaneLimitsTest, ARepeatTakesEffectBeforeTheCheckForDuplicatesEnds) {
  // 2 * 5 + 5 + 30 + 180 + 5 s.
  const auto of = [](int64_t margin_ms, uint32_t lane) {
    return LimitsOfLane(
        ConfigOf(absl::StrCat(R"({"app_messages": {"repeat_margin_ms": )", margin_ms, "}}")),
        kWhole, lane);
  };
  EXPECT_TRUE(of(230'000, 1).ok());
  EXPECT_EQ(of(229'999, 1).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(of(229'999, 1).status().message(),
              HasSubstr("app_messages.repeat_margin_ms: write at least 230000"));
  EXPECT_TRUE(of(229'999, 0).ok());
}

}  // namespace
}  // namespace tidegate::dispatch
