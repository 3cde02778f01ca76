#include <algorithm>
#include <limits>

#include "common/base/civil_day.h"
#include "common/expression/expression.h"
#include "common/expression/tree.h"

namespace tidegate::expression {
namespace {

constexpr int64_t kSecondsPerHour = 3600;
// Far outside any real date, and far enough from the ends of int64 for all arithmetic below.
constexpr int64_t kDayMax = 10'000'000'000;
constexpr int64_t kSecondsMax = kDayMax * 86'400;

int64_t ClampDay(int64_t day) { return std::clamp(day, -kDayMax, kDayMax); }
int64_t ClampSeconds(int64_t seconds) { return std::clamp(seconds, -kSecondsMax, kSecondsMax); }

// What one evaluation looks at: the orders are those that exist at that time.
struct Scope {
  std::span<const OrderView> orders;
  const ProfileView& profile;
  const EvaluationTime& at;
};

std::span<const OrderView> OrdersUntil(std::span<const OrderView> orders, int64_t now_seconds) {
  if (orders.empty() || orders.back().time_seconds <= now_seconds) return orders;
  const auto end = std::upper_bound(
      orders.begin(), orders.end(), now_seconds,
      [](int64_t seconds, const OrderView& order) { return seconds < order.time_seconds; });
  return orders.first(static_cast<size_t>(end - orders.begin()));
}

int64_t DaysBack(int64_t days, const EvaluationTime& at) {
  return StartOfCivilDay(ClampDay(at.today) - (days - 1));
}

// First second of the window (Nd) or (Nh): whole days or hours, the running one included.
int64_t WindowStart(const Duration& window, const EvaluationTime& at) {
  if (window.unit == 'd') return DaysBack(window.count, at);
  const int64_t now = ClampSeconds(at.now_seconds);
  const int64_t into_hour = ((now % kSecondsPerHour) + kSecondsPerHour) % kSecondsPerHour;
  return now - into_hour - (window.count - 1) * kSecondsPerHour;
}

// First second that counts as "within" the duration: whole days, but hours and minutes exactly.
int64_t WithinStart(const Duration& duration, const EvaluationTime& at) {
  if (duration.unit == 'd') return DaysBack(duration.count, at);
  const int64_t unit_seconds = duration.unit == 'h' ? kSecondsPerHour : 60;
  return ClampSeconds(at.now_seconds) - duration.count * unit_seconds;
}

std::span<const OrderView> OrdersInWindow(const Node& node, const Scope& scope) {
  if (node.duration.unit == 0) return scope.orders;
  const auto start = std::lower_bound(
      scope.orders.begin(), scope.orders.end(), WindowStart(node.duration, scope.at),
      [](const OrderView& order, int64_t seconds) { return order.time_seconds < seconds; });
  return scope.orders.subspan(static_cast<size_t>(start - scope.orders.begin()));
}

int64_t CountDays(std::span<const OrderView> orders) {
  int64_t days = 0;
  int64_t next_day_start = std::numeric_limits<int64_t>::min();
  for (const OrderView& order : orders) {
    if (days > 0 && order.time_seconds < next_day_start) continue;
    ++days;
    next_day_start = StartOfCivilDay(CivilDayOf(ClampSeconds(order.time_seconds)) + 1);
  }
  return days;
}

// 128 bits: no number of orders can overflow it.
__int128 FieldValue(const Node& node, const Scope& scope) {
  const std::span<const OrderView> orders = OrdersInWindow(node, scope);
  switch (node.field) {
    case Field::kOrdersSum: {
      __int128 sum = 0;
      for (const OrderView& order : orders) sum += order.amount_fen;
      return sum;
    }
    case Field::kOrdersDays:
      return CountDays(orders);
    default:
      return orders.size();
  }
}

bool TestNumber(const Node& node, const Scope& scope) {
  if (node.test == Test::kIsSet) return true;  // the count, sum and days of nothing are 0
  if (node.test == Test::kIsNotSet) return false;
  const __int128 value = FieldValue(node, scope);
  const __int128 number = node.numbers[0];
  switch (node.test) {
    case Test::kEqual:
      return value == number;
    case Test::kNotEqual:
      return value != number;
    case Test::kLess:
      return value < number;
    case Test::kLessEqual:
      return value <= number;
    case Test::kGreater:
      return value > number;
    case Test::kGreaterEqual:
      return value >= number;
    case Test::kBetween:
      return number <= value && value <= node.numbers[1];
    case Test::kIn:
      return value >= node.numbers.front() && value <= node.numbers.back() &&
             std::binary_search(node.numbers.begin(), node.numbers.end(),
                                static_cast<int64_t>(value));
    default:
      return false;
  }
}

bool TestOrderTime(const Node& node, const Scope& scope) {
  if (scope.orders.empty()) return node.test == Test::kIsNotSet;
  const OrderView& order =
      node.field == Field::kFirstOrder ? scope.orders.front() : scope.orders.back();
  switch (node.test) {
    case Test::kWithin:
      return order.time_seconds >= WithinStart(node.duration, scope.at);
    case Test::kOlderThan:
      return order.time_seconds < WithinStart(node.duration, scope.at);
    case Test::kIsSet:
      return true;
    default:
      return false;
  }
}

// Sorted texts, compared by bytes like the sorted tags of a profile.
bool Contains(const std::vector<std::string>& texts, absl::string_view text) {
  const auto found = std::lower_bound(
      texts.begin(), texts.end(), text,
      [](const std::string& a, absl::string_view b) { return absl::string_view(a) < b; });
  return found != texts.end() && absl::string_view(*found) == text;
}

bool TestEventKind(const Node& node, absl::string_view kind) {
  if (kind.empty()) return node.test == Test::kIsNotSet;
  switch (node.test) {
    case Test::kEqual:
      return kind == node.texts[0];
    case Test::kNotEqual:
      return kind != node.texts[0];
    case Test::kIn:
      return Contains(node.texts, kind);
    case Test::kIsSet:
      return true;
    default:
      return false;
  }
}

bool HasAnyTag(const std::vector<std::string>& names, std::span<const absl::string_view> tags) {
  // The shorter side is walked, the longer one searched.
  if (names.size() > tags.size()) {
    return std::any_of(tags.begin(), tags.end(),
                       [&](absl::string_view tag) { return Contains(names, tag); });
  }
  return std::any_of(names.begin(), names.end(), [&](const std::string& name) {
    return std::binary_search(tags.begin(), tags.end(), absl::string_view(name));
  });
}

bool MatchesField(const Node& node, const Scope& scope) {
  switch (node.field) {
    case Field::kOrdersCount:
    case Field::kOrdersSum:
    case Field::kOrdersDays:
      return TestNumber(node, scope);
    case Field::kFirstOrder:
    case Field::kLastOrder:
      return TestOrderTime(node, scope);
    case Field::kEventKind:
      return TestEventKind(node, scope.profile.event_kind);
  }
  return false;
}

bool MatchesNode(const Node& node, const Scope& scope);

bool MatchesAtLeast(const Node& node, const Scope& scope) {
  int64_t needed = node.at_least;
  int64_t left = static_cast<int64_t>(node.children.size());
  for (const Node& child : node.children) {
    if (needed > left) return false;
    if (MatchesNode(child, scope) && --needed == 0) return true;
    --left;
  }
  return false;
}

// Recursion is bounded by ParseLimits::depth_max.
bool MatchesNode(const Node& node, const Scope& scope) {
  const auto matches = [&](const Node& child) { return MatchesNode(child, scope); };
  switch (node.kind) {
    case NodeKind::kAll:
      return true;
    case NodeKind::kNone:
      return false;
    case NodeKind::kNot:
      return !matches(node.children[0]);
    case NodeKind::kAnd:
      return std::all_of(node.children.begin(), node.children.end(), matches);
    case NodeKind::kOr:
      return std::any_of(node.children.begin(), node.children.end(), matches);
    case NodeKind::kAtLeast:
      return MatchesAtLeast(node, scope);
    case NodeKind::kTag:
      return HasAnyTag(node.texts, scope.profile.tags);
    case NodeKind::kField:
      return MatchesField(node, scope);
  }
  return false;
}

}  // namespace

EvaluationTime AtInstant(int64_t unix_seconds) {
  return {unix_seconds, CivilDayOf(ClampSeconds(unix_seconds))};
}

EvaluationTime AtEndOfDay(int64_t day) { return {StartOfCivilDay(ClampDay(day) + 1) - 1, day}; }

bool Expression::Matches(const ProfileView& profile, const EvaluationTime& at) const {
  return MatchesNode(*root_, {OrdersUntil(profile.orders, at.now_seconds), profile, at});
}

}  // namespace tidegate::expression
