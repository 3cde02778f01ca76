#include "services/wecom_simulator/core/app_message.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/hash.h"

namespace tidegate::wecom_simulator {
namespace {

namespace json = boost::json;

class AppMessageTest : public ::testing::Test {
 protected:
  AppMessageTest() {
    corp_.id = "ww";
    corp_.members = {"amy", "Bob"};
  }
  AppMessages::Sent Send(const std::string& body) {
    return app_.Send(json::parse(body).as_object(), Sha256Hex(body), "7", now_);
  }
  static std::string Text(const std::string& to, const std::string& text = "hi",
                          const std::string& more = "") {
    return absl::StrCat(R"({"touser":")", to, R"(","agentid":7,"msgtype":"text",)",
                        R"("text":{"content":")", text, R"("},"enable_duplicate_check":1)", more,
                        "}");
  }
  void Advance(int64_t ms) { now_.raw_ns += ms * kNanosPerMilli; }

  CoreOptions options_;
  Corp corp_;
  AppMessages app_{options_, corp_};
  Now now_{.raw_ns = 5 * kNanosPerSecond};
};

using Members = std::vector<std::string>;

TEST_F(AppMessageTest, TheSameBytesReachNobodyWithinTheInterval) {
  EXPECT_EQ(Send(Text("amy")).delivered, Members{"amy"});
  Advance(1'799'000);
  const auto again = Send(Text("amy"));
  EXPECT_FALSE(again.error.failed());
  EXPECT_TRUE(again.duplicate);
  EXPECT_TRUE(again.delivered.empty());
  EXPECT_EQ(Send(Text("amy") + " ").delivered, Members{"amy"}) << "other bytes";
  Advance(1'000);
  EXPECT_EQ(Send(Text("amy")).delivered, Members{"amy"}) << "the interval is over";
  Send(Text("Bob", "x", R"(,"duplicate_check_interval":2)"));
  Advance(2'000);
  EXPECT_FALSE(Send(Text("Bob", "x", R"(,"duplicate_check_interval":2)")).duplicate);
}

TEST_F(AppMessageTest, WhatIsTooMuchForAMemberIsDroppedWithoutAWord) {
  for (int i = 0; i < 30; ++i) {
    EXPECT_EQ(Send(Text("amy", absl::StrCat(i))).delivered, Members{"amy"}) << i;
  }
  const auto more = Send(Text("amy|Bob", "more"));
  EXPECT_EQ(more.error.code, 0);
  EXPECT_EQ(more.delivered, Members{"Bob"});
  EXPECT_EQ(more.dropped, Members{"amy"});
  Advance(60'000);
  EXPECT_EQ(Send(Text("amy", "later")).delivered, Members{"amy"});
}

TEST_F(AppMessageTest, NamesWhoIsNoMemberAndRefusesWhereNobodyIs) {
  const auto sent = Send(Text("Bob|Gone"));
  EXPECT_EQ(sent.delivered, Members{"Bob"});
  EXPECT_EQ(sent.invalid, Members{"gone"});
  EXPECT_EQ(Send(Text("Gone")).error.code, 81013);
  EXPECT_EQ(Send(Text("")).error.code, 82001);
  std::string many;
  for (int i = 0; i < 1001; ++i) absl::StrAppend(&many, "m", i, "|");
  EXPECT_EQ(Send(Text(many)).error.code, 40032);
  EXPECT_EQ(Send(R"({"touser":"amy","agentid":8,"msgtype":"text"})").error.code, 301002);
  EXPECT_EQ(Send(R"({"touser":"amy","agentid":7,"msgtype":"file"})").error.code, 40008);
}

}  // namespace
}  // namespace tidegate::wecom_simulator
