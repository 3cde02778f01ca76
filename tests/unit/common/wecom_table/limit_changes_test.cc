#include "common/wecom_table/limit_changes.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace tidegate::wecom_table {
namespace {

namespace v1 = ::tidegate::common::v1;

v1::WindowLimit* AddWindow(v1::CorpLimits* change, const std::string& api = "mark_tag") {
  v1::WindowLimit* window = change->add_windows();
  window->set_api(api);
  window->set_amount(5);
  window->set_window_ms(1000);
  return window;
}

std::string FieldOf(const v1::CorpLimits& change) {
  const auto faults = CheckCorpLimits(change);
  return faults.empty() ? "" : faults.front().field;
}

TEST(LimitChangesTest, NamesTheFieldThatIsWrong) {
  const struct {
    std::string field;
    void (*spoil)(v1::CorpLimits*);
  } rows[] = {
      {"", [](v1::CorpLimits*) {}},
      {"windows[0].api", [](v1::CorpLimits* c) { c->mutable_windows(0)->set_api("nothing"); }},
      {"windows[0].scope", [](v1::CorpLimits* c) { c->mutable_windows(0)->set_scope("ip"); }},
      {"windows[0].amount", [](v1::CorpLimits* c) { c->mutable_windows(0)->set_amount(0); }},
      {"windows[0].cost", [](v1::CorpLimits* c) { c->mutable_windows(0)->set_cost("x"); }},
      {"windows[0].window_ms", [](v1::CorpLimits* c) { c->mutable_windows(0)->set_window_ms(0); }},
      {"windows[0].window_ms",
       [](v1::CorpLimits* c) { c->mutable_windows(0)->set_calendar("day"); }},
      {"windows[8]",
       [](v1::CorpLimits* c) {
         for (int i = 0; i < 8; ++i) AddWindow(c);
       }},
      {"quiet_hours.to", [](v1::CorpLimits* c) { c->mutable_quiet_hours()->set_from("22:00"); }},
      {"weight", [](v1::CorpLimits* c) { c->set_weight(1001); }},
  };
  for (const auto& row : rows) {
    v1::CorpLimits change;
    AddWindow(&change);
    row.spoil(&change);
    EXPECT_EQ(FieldOf(change), row.field);
  }
}

TEST(LimitChangesTest, StandInPlaceOfAllWindowsOfTheirNameAndOfNoOther) {
  v1::CorpLimits change;
  AddWindow(&change);
  v1::WindowLimit* month = AddWindow(&change);
  month->set_calendar("month");
  month->set_window_ms(0);
  month->set_cost("person_times");
  const Limits limits = LimitsWith(DefaultLimits(), change);
  const auto windows = limits.WindowsOf("mark_tag", Scope::kCorp);
  ASSERT_EQ(windows.size(), 2u);
  EXPECT_EQ(windows[0].amount, 5);
  EXPECT_EQ(windows[0].lockout_ns, 1000 * kNanosPerMilli);
  EXPECT_EQ(windows[1].calendar, Calendar::kMonth);
  EXPECT_EQ(windows[1].cost, Cost::kPersonTimes);
  EXPECT_EQ(windows[1].lockout_ns, kMonthLockoutNs);
  EXPECT_EQ(limits.WindowsOf("add_msg_template", Scope::kCorp).size(), 2u);
  EXPECT_EQ(limits.WindowsOf("mark_tag", Scope::kIp).size(), 2u);
  EXPECT_EQ(LimitsWith(limits, {}).WindowsOf("mark_tag", Scope::kCorp).size(), 2u);
}

}  // namespace
}  // namespace tidegate::wecom_table
