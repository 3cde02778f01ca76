#include "common/wecom_table/address_share.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tidegate::wecom_table {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(AddressShareTest, SharesTheLimitsOfTheAddressAndNoOther) {
  const Limits limits = *ParseLimits(R"({
    "limits": [{"api": "a", "scope": "corp", "amount": 7, "window_ms": 1000},
               {"api": "a", "scope": "ip", "amount": 10, "window_ms": 1000},
               {"api": "a", "scope": "ip", "amount": 1000000000, "calendar": "day"}],
    "corps": {"ww1": {"limits": [{"api": "a", "amount": 5, "window_ms": 1000}]}}})");
  const Limits third = *LimitsOfShare(limits, 333'333);
  EXPECT_EQ(third.WindowsOf("a", Scope::kCorp)[0].amount, 7);
  EXPECT_EQ(third.WindowsOf("a", Scope::kIp)[0].amount, 3);
  EXPECT_EQ(third.WindowsOf("a", Scope::kIp)[1].amount, 333'333'000);
  EXPECT_EQ(third.OfCorp("ww1").WindowsOf("a", Scope::kCorp)[0].amount, 5);
  EXPECT_EQ(third.OfCorp("ww1").WindowsOf("a", Scope::kIp)[0].amount, 3);
  EXPECT_EQ(LimitsOfShare(limits, 1'000'000)->WindowsOf("a", Scope::kIp)[1].amount, 1'000'000'000);
}

TEST(AddressShareTest, AShareOfLessThanOneCallIsRefused) {
  const Limits limits =
      *ParseLimits(R"({"limits": [{"api": "a", "scope": "ip", "amount": 3, "window_ms": 1000}]})");
  const auto quarter = LimitsOfShare(limits, 250'000);
  EXPECT_EQ(quarter.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(quarter.status().message(),
              AllOf(HasSubstr("3 calls of an address to a"), HasSubstr("0.25"),
                    HasSubstr("write a larger share")));
}

}  // namespace
}  // namespace tidegate::wecom_table
