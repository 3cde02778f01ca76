// Random expressions over random customers, against a second evaluator that shares no code with the
// first: it walks its own tree, looks at every order, and knows days only by counting them out.
#include <algorithm>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/seeded_random.h"
#include "common/expression/expression.h"
#include "gtest/gtest.h"

namespace tidegate::expression {
namespace {

constexpr int64_t kBase = 1'700'000'000;
constexpr int64_t kDaySeconds = 24 * 60 * 60;

int64_t FloorDivide(int64_t a, int64_t b) { return a / b - (a % b < 0 ? 1 : 0); }
int64_t ShanghaiDay(int64_t seconds) { return FloorDivide(seconds + 28'800, kDaySeconds); }

struct Customer {
  std::vector<OrderView> orders;
  std::set<std::string> tags;
  std::string event_kind;
};

struct Moment {
  int64_t now;
  int64_t today;
};

struct Model {
  virtual ~Model() = default;
  virtual bool Holds(const Customer& customer, const Moment& at) const = 0;
};
using ModelPtr = std::unique_ptr<Model>;

template <typename F>
ModelPtr MakeModel(F function) {
  struct Made : Model {
    explicit Made(F f) : f_(std::move(f)) {}
    bool Holds(const Customer& customer, const Moment& at) const override {
      return f_(customer, at);
    }
    F f_;
  };
  return std::make_unique<Made>(std::move(function));
}

struct Sample {
  std::string text;
  ModelPtr model;
};

bool IsWithin(int64_t time, int64_t count, char unit, const Moment& at) {
  if (unit == 'd') return ShanghaiDay(time) > at.today - count;
  return at.now - time <= count * (unit == 'h' ? 3600 : 60);
}

bool InWindow(int64_t time, int64_t count, char unit, const Moment& at) {
  if (unit == 0) return true;
  if (unit == 'd') return ShanghaiDay(time) > at.today - count;
  return FloorDivide(time, 3600) > FloorDivide(at.now, 3600) - count;
}

class Generator {
 public:
  explicit Generator(uint64_t seed) : random_(seed) {}

  Customer MakeCustomer() {
    Customer customer;
    for (uint64_t i = random_.Below(9); i > 0; --i) {
      // Often the same day, often at its very edges.
      int64_t time = kBase - static_cast<int64_t>(random_.Below(12)) * kDaySeconds;
      if (random_.Chance(0.5)) {
        time = ShanghaiDay(time) * kDaySeconds - 28'800 - static_cast<int64_t>(random_.Below(2));
      } else {
        time -= static_cast<int64_t>(random_.Below(kDaySeconds));
      }
      customer.orders.push_back({time, static_cast<int64_t>(random_.Below(6)) * 50});
    }
    std::sort(
        customer.orders.begin(), customer.orders.end(),
        [](const OrderView& a, const OrderView& b) { return a.time_seconds < b.time_seconds; });
    for (const char* tag : {"a", "b", "c", "d"}) {
      if (random_.Chance(0.4)) customer.tags.insert(tag);
    }
    if (random_.Chance(0.7)) customer.event_kind = random_.Chance(0.5) ? "view" : "buy";
    return customer;
  }

  Moment MakeMoment() {
    const int64_t now = kBase - static_cast<int64_t>(random_.Below(6 * kDaySeconds));
    return {now, ShanghaiDay(now)};
  }

  Sample Expression(int depth) {
    switch (depth == 0 ? 0 : random_.Below(5)) {
      case 1:
        return Not(depth);
      case 2:
        return Joined(depth, true);
      case 3:
        return Joined(depth, false);
      case 4:
        return AtLeast(depth);
      default:
        return Leaf();
    }
  }

 private:
  Sample Not(int depth) {
    Sample inner = Expression(depth - 1);
    const std::string text = absl::StrCat("not (", inner.text, ")");
    return {text, MakeModel([m = std::move(inner.model)](const Customer& c, const Moment& at) {
              return !m->Holds(c, at);
            })};
  }

  Sample Joined(int depth, bool conjunction) {
    std::vector<ModelPtr> models;
    std::string text;
    for (uint64_t i = 0, count = 2 + random_.Below(2); i < count; ++i) {
      Sample inner = Expression(depth - 1);
      absl::StrAppend(&text, i == 0 ? "" : conjunction ? " and " : " or ", "(", inner.text, ")");
      models.push_back(std::move(inner.model));
    }
    return {text,
            MakeModel([conjunction, m = std::move(models)](const Customer& c, const Moment& at) {
              size_t held = 0;
              for (const ModelPtr& model : m) held += model->Holds(c, at) ? 1 : 0;
              return conjunction ? held == m.size() : held > 0;
            })};
  }

  Sample AtLeast(int depth) {
    const uint64_t count = 1 + random_.Below(4);
    const uint64_t needed = 1 + random_.Below(count);
    std::vector<ModelPtr> models;
    std::string text = absl::StrCat("at least ", needed, " of (");
    for (uint64_t i = 0; i < count; ++i) {
      Sample inner = Expression(depth - 1);
      absl::StrAppend(&text, i == 0 ? "" : ", ", inner.text);
      models.push_back(std::move(inner.model));
    }
    return {text + ")",
            MakeModel([needed, m = std::move(models)](const Customer& c, const Moment& at) {
              uint64_t held = 0;
              for (const ModelPtr& model : m) held += model->Holds(c, at) ? 1 : 0;
              return held >= needed;
            })};
  }

  Sample Leaf() {
    switch (random_.Below(9)) {
      case 0:
        return Constant(random_.Chance(0.5));
      case 1:
        return Tag();
      case 2:
        return Event();
      case 3:
      case 4:
      case 5:
        return OrderTime();
      default:
        return Orders();
    }
  }

  Sample Constant(bool value) {
    return {value ? "all" : "none",
            MakeModel([value](const Customer&, const Moment&) { return value; })};
  }

  Sample Tag() {
    std::vector<std::string> names;
    std::string text = "tag(";
    for (uint64_t i = 0, count = 1 + random_.Below(5); i < count; ++i) {
      names.push_back(std::string(1, static_cast<char>('a' + random_.Below(7))));
      absl::StrAppend(&text, i == 0 ? "\"" : ", \"", names.back(), "\"");
    }
    return {text + ")", MakeModel([names](const Customer& c, const Moment&) {
              bool found = false;
              for (const std::string& name : names) found = found || c.tags.count(name) > 0;
              return found;
            })};
  }

  Sample Event() {
    const std::string kind = random_.Chance(0.5) ? "view" : "buy";
    const bool equal = random_.Chance(0.5);
    return {absl::StrCat("this.kind ", equal ? "=" : "!=", " \"", kind, "\""),
            MakeModel([kind, equal](const Customer& c, const Moment&) {
              return !c.event_kind.empty() && (c.event_kind == kind) == equal;
            })};
  }

  Sample OrderTime() {
    const bool first = random_.Chance(0.5);
    const uint64_t form = random_.Below(4);
    const char unit = "dhm"[random_.Below(3)];
    const int64_t count = 1 + static_cast<int64_t>(random_.Below(unit == 'd'   ? 12
                                                                 : unit == 'h' ? 250
                                                                               : 10'000));
    const std::string span = absl::StrCat(count, std::string(1, unit));
    const std::string tests[] = {"within " + span, "older than " + span, "is set", "is not set"};
    return {absl::StrCat(first ? "first_order " : "last_order ", tests[form]),
            MakeModel([=](const Customer& c, const Moment& at) {
              const OrderView* found = nullptr;
              for (const OrderView& order : c.orders) {
                if (order.time_seconds > at.now) continue;
                if (found == nullptr || !first) found = &order;
              }
              if (found == nullptr) return form == 3;
              const bool within = IsWithin(found->time_seconds, count, unit, at);
              return form == 0 ? within : form == 1 ? !within : form == 2;
            })};
  }

  Sample Orders() {
    const uint64_t field = random_.Below(3);
    const char unit = "\0dh"[random_.Below(3)];
    const int64_t count = 1 + static_cast<int64_t>(random_.Below(unit == 'd' ? 12 : 250));
    const int64_t low = static_cast<int64_t>(random_.Below(7)) * (field == 1 ? 50 : 1);
    const int64_t high = low + static_cast<int64_t>(random_.Below(3)) * (field == 1 ? 50 : 1);
    const auto number = [&](int64_t value) {
      return field == 1 ? absl::StrCat(value / 100, ".", value % 100 / 10, value % 10)
                        : absl::StrCat(value);
    };
    const uint64_t form = random_.Below(8);
    const char* const comparisons[] = {"=", "!=", "<", "<=", ">", ">="};
    std::string text =
        absl::StrCat("orders.",
                     field == 0   ? "count"
                     : field == 1 ? "sum"
                                  : "days",
                     unit == 0 ? "" : absl::StrCat("(", count, std::string(1, unit), ")"), " ");
    if (form == 6) {
      absl::StrAppend(&text, "between ", number(low), " and ", number(high));
    } else if (form == 7) {
      absl::StrAppend(&text, "in (", number(high), ", ", number(low), ")");
    } else {
      absl::StrAppend(&text, comparisons[form], " ", number(low));
    }
    return {text, MakeModel([=](const Customer& c, const Moment& at) {
              int64_t value = 0;
              std::set<int64_t> days;
              for (const OrderView& order : c.orders) {
                if (order.time_seconds > at.now) continue;
                if (!InWindow(order.time_seconds, count, unit, at)) continue;
                value += field == 1 ? order.amount_fen : 1;
                days.insert(ShanghaiDay(order.time_seconds));
              }
              if (field == 2) value = static_cast<int64_t>(days.size());
              const bool answers[] = {
                  value == low, value != low, value<low, value <= low, value> low,
                  value >= low, false,        false};
              if (form == 6) return low <= value && value <= high;
              if (form == 7) return value == low || value == high;
              return answers[form];
            })};
  }

  SeededRandom random_;
};

TEST(ModelTest, AgreesWithANaiveEvaluatorAndKeepsItsCanonicalText) {
  ParseLimits limits;
  limits.allow_event = true;
  limits.leaves_max = 100'000;
  limits.bytes_max = 1 << 24;
  int answered_true = 0;
  int answered = 0;
  for (uint64_t seed = 1; seed <= 6000; ++seed) {
    Generator generator(seed);
    const Sample sample = generator.Expression(static_cast<int>(seed % 7));
    const auto parsed = Expression::Parse(sample.text, limits);
    ASSERT_TRUE(parsed.ok()) << "seed " << seed << "\n" << parsed.status();
    const auto again = Expression::Parse(parsed->canonical_text(), limits);
    ASSERT_TRUE(again.ok()) << "seed " << seed << "\n" << again.status();
    ASSERT_EQ(again->canonical_text(), parsed->canonical_text()) << "seed " << seed;
    for (int i = 0; i < 8; ++i) {
      const Customer customer = generator.MakeCustomer();
      const Moment moment = generator.MakeMoment();
      const std::vector<absl::string_view> tags(customer.tags.begin(), customer.tags.end());
      const ProfileView profile{customer.orders, tags, customer.event_kind};
      const EvaluationTime at{moment.now, moment.today};
      const bool expected = sample.model->Holds(customer, moment);
      ASSERT_EQ(parsed->Matches(profile, at), expected)
          << "seed " << seed << ", customer " << i << "\n"
          << sample.text;
      ASSERT_EQ(again->Matches(profile, at), expected)
          << "seed " << seed << ", customer " << i << "\n"
          << parsed->canonical_text();
      answered_true += expected ? 1 : 0;
      ++answered;
    }
  }
  // A generator that says almost only yes, or no, would test little.
  EXPECT_GT(answered_true, answered / 5);
  EXPECT_LT(answered_true, answered * 4 / 5);
}

}  // namespace
}  // namespace tidegate::expression
