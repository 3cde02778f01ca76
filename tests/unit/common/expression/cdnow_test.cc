// Eighteen months of real purchases (CDNOW): counts known from two other programs, at four dates.
#include <algorithm>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_replace.h"
#include "common/base/civil_day.h"
#include "common/expression/expression.h"
#include "gtest/gtest.h"

namespace tidegate::expression {
namespace {

struct Row {
  std::string text;
  int expected[4];
};

const char* const kDates[4] = {"1997-03-31", "1997-06-30", "1997-12-31", "1998-06-30"};

const Row kRows[] = {
    {"orders.count >= 3", {1590, 3780, 6258, 7583}},
    {"orders.sum >= 100.00", {2047, 3459, 5220, 6234}},
    {"orders.count(90d) >= 2", {5066, 2014, 1604, 1219}},
    {"orders.days(90d) >= 2", {4843, 1972, 1548, 1180}},
    {"orders.sum(90d) >= 100.00", {2047, 916, 789, 506}},
    {"orders.sum = 0.00", {70, 70, 68, 68}},
    {"last_order within 30d", {9214, 2339, 1793, 1506}},
    {"not (last_order within 90d)", {0, 18248, 19394, 20269}},
    {"not (last_order within 180d) and orders.count >= 2", {0, 2, 4301, 6302}},
    {"orders.sum >= 500.00 and not (last_order within 90d)", {0, 20, 104, 210}},
    {"orders.count >= 3 and orders.count(30d) = 0", {391, 2181, 4699, 6163}},
    {"at least 2 of (orders.count >= 3, orders.sum >= 100.00, last_order within 90d)",
     {2755, 3827, 5176, 5877}},
};

using Customers = std::map<std::string, std::vector<OrderView>>;

// The file knows days only: orders take the first and the last second of theirs in turn.
Customers ReadCustomers(std::istream& file) {
  Customers customers;
  std::string line;
  bool first_second = false;
  while (std::getline(file, line)) {
    std::istringstream words(line);
    std::string customer, date, amount;
    int cds = 0;
    int64_t fen = 0;
    if (!(words >> customer >> date >> cds >> amount) || date.size() != 8) continue;
    const auto day =
        ParseCivilDay(date.substr(0, 4) + "-" + date.substr(4, 2) + "-" + date.substr(6, 2));
    const bool is_amount = absl::SimpleAtoi(absl::StrReplaceAll(amount, {{".", ""}}), &fen);
    if (!day.ok() || !is_amount) continue;
    first_second = !first_second;
    const int64_t time = first_second ? StartOfCivilDay(*day) : StartOfCivilDay(*day + 1) - 1;
    customers[customer].push_back({time, fen});
  }
  for (auto& [id, orders] : customers) {
    std::sort(orders.begin(), orders.end(), [](const OrderView& a, const OrderView& b) {
      return a.time_seconds < b.time_seconds;
    });
  }
  return customers;
}

class CdnowTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::ifstream file(TIDEGATE_CDNOW_FILE);
    if (!file) {
      std::cout << "skipped: no file " << TIDEGATE_CDNOW_FILE << "\n";
      GTEST_SKIP() << "no file " << TIDEGATE_CDNOW_FILE;
    }
    customers_ = ReadCustomers(file);
  }

  static int Count(const Customers& customers, const std::string& text, const EvaluationTime& at) {
    const auto parsed = Expression::Parse(text);
    EXPECT_TRUE(parsed.ok()) << parsed.status();
    if (!parsed.ok()) return -1;
    int count = 0;
    for (const auto& [id, orders] : customers) {
      count += parsed->Matches({orders, {}, {}}, at) ? 1 : 0;
    }
    return count;
  }

  Customers customers_;
};

TEST_F(CdnowTest, ReadsTheWholeFile) {
  size_t orders = 0;
  int64_t fen = 0;
  for (const auto& [id, list] : customers_) {
    orders += list.size();
    for (const OrderView& order : list) fen += order.amount_fen;
  }
  EXPECT_EQ(customers_.size(), 23'570u);
  EXPECT_EQ(orders, 69'659u);
  EXPECT_EQ(fen, 250'031'563);
}

TEST_F(CdnowTest, CountsWithDataFedUpToTheDate) {
  for (int date = 0; date < 4; ++date) {
    const EvaluationTime at = AtEndOfDay(*ParseCivilDay(kDates[date]));
    Customers cut;
    for (const auto& [id, orders] : customers_) {
      for (const OrderView& order : orders) {
        if (order.time_seconds <= at.now_seconds) cut[id].push_back(order);
      }
    }
    for (const Row& row : kRows) {
      EXPECT_EQ(Count(cut, row.text, at), row.expected[date]) << row.text << " " << kDates[date];
    }
  }
}

TEST_F(CdnowTest, CountsTheSameWithAllDataLoaded) {
  for (int date = 0; date < 4; ++date) {
    const EvaluationTime at = AtEndOfDay(*ParseCivilDay(kDates[date]));
    for (const Row& row : kRows) {
      EXPECT_EQ(Count(customers_, row.text, at), row.expected[date])
          << row.text << " " << kDates[date];
    }
  }
}

TEST_F(CdnowTest, ShowsEveryEdgeThatIsOffByOne) {
  const EvaluationTime at = AtEndOfDay(*ParseCivilDay("1998-06-30"));
  EXPECT_EQ(Count(customers_, "last_order within 29d", at), 1452);
  EXPECT_EQ(Count(customers_, "last_order within 31d", at), 1554);
  EXPECT_EQ(Count(customers_, "orders.count(89d) >= 2", at), 1201);
  EXPECT_EQ(Count(customers_, "orders.count(91d) >= 2", at), 1227);
}

}  // namespace
}  // namespace tidegate::expression
