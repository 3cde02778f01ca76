#include "services/tidegate/client/purchase_rows.h"

#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/civil_day.h"

namespace tidegate::client {
namespace {

constexpr char kCdnowHeader[] = " customer_id  date number_of_cds  dollar_value\r\n";
constexpr char kCsvHeader[] = "customer,order_id,paid_time,amount\n";

// "row customer order time fen", or "row !field: message".
std::vector<std::string> ReadAll(absl::StatusOr<std::unique_ptr<PurchaseReader>> reader) {
  if (!reader.ok()) return {std::string(reader.status().message())};
  std::vector<std::string> rows;
  PurchaseRow row;
  while (true) {
    const absl::StatusOr<bool> more = (*reader)->Next(&row);
    if (!more.ok() || !*more) return rows;
    rows.push_back(row.error.has_value()
                       ? absl::StrCat(row.row, " !", row.error->field, ": ", row.error->message)
                       : absl::StrCat(row.row, " ", row.purchase.customer, " ",
                                      row.purchase.order_id, " ", row.purchase.paid_time_s, " ",
                                      row.purchase.amount_fen));
  }
}

std::vector<std::string> Cdnow(const std::string& text) {
  std::istringstream in(text);
  return ReadAll(OpenCdnow(&in));
}

std::vector<std::string> Csv(const std::string& text) {
  std::istringstream in(text);
  return ReadAll(OpenPurchaseCsv(&in));
}

TEST(CdnowTest, ReadsARow) {
  // 1997-01-01 00:00 in Shanghai is 1996-12-31T16:00:00Z.
  EXPECT_EQ(Cdnow(absl::StrCat(kCdnowHeader, " 00001 19970101  1   11.77\r\n")),
            (std::vector<std::string>{"1 wm000000000000000000000000000001 1 852048000 1177"}));
}

TEST(CdnowTest, TellsEachBadRowAndGoesOn) {
  const std::string rows =
      " 00001 19970230  1   11.77\r\n"
      " 00001 1997-01-01  1   11.77\r\n"
      " 00001 19970101  1   -1.00\r\n"
      " 00001 19970101  1   abc\r\n"
      " 00001 19970101  1   1.234\r\n"
      " 00001 19970101  1\r\n"
      " x 19970101  1  1.00\r\n"
      " 00001 19970101  one  1.00\r\n"
      " 00001 \xFF 1 1.00\r\n"
      "\r\n"
      " 00002 19970101  1  0.00\r\n";
  EXPECT_EQ(Cdnow(kCdnowHeader + rows),
            (std::vector<std::string>{
                "1 !date: \"19970230\" is not a date; write YYYYMMDD, as in 19970131",
                "2 !date: \"1997-01-01\" is not a date; write YYYYMMDD, as in 19970131",
                "3 !dollar_value: \"-1.00\" is negative",
                "4 !dollar_value: \"abc\" is not an amount; write it as in 11.77",
                "5 !dollar_value: \"1.234\" has more than 2 decimals",
                "6 !row: 3 columns, expected 4: customer_id, date, number_of_cds, dollar_value",
                "7 !customer_id: \"x\" is not 1 to 30 digits",
                "8 !number_of_cds: \"one\" is not a whole number", "9 !row: not UTF-8 text",
                "11 wm000000000000000000000000000002 11 852048000 0"}));
}

TEST(CdnowTest, OverlongLineIsOneBadRow) {
  const std::string overlong(70'000, '1');
  const auto rows = Cdnow(absl::StrCat(kCdnowHeader, overlong, "\r\n00002 19970101 1 1.00\r\n"));
  EXPECT_EQ(rows, (std::vector<std::string>{"1 !row: the line is longer than 65536 bytes",
                                            "2 wm000000000000000000000000000002 2 852048000 100"}));
}

TEST(CdnowTest, RefusesAnEmptyFileAndAMissingHeader) {
  EXPECT_EQ(Cdnow(""), (std::vector<std::string>{"the file is empty"}));
  EXPECT_EQ(Cdnow("00001 19970101 1 1.00\n"),
            (std::vector<std::string>{
                "the first line is not the header \"customer_id date number_of_cds dollar_value\": "
                "\"00001 19970101 1 1.00\""}));
}

TEST(PurchaseCsvTest, TakesDatesAndTimesWithZone) {
  EXPECT_EQ(Csv(absl::StrCat(kCsvHeader, "wm1,o1,1997-01-01,3\nwm1,o2,1997-01-01T00:00:00Z,3.5\n")),
            (std::vector<std::string>{"1 wm1 o1 852048000 300", "2 wm1 o2 852076800 350"}));
}

TEST(PurchaseCsvTest, TellsEachBadField) {
  const auto rows = Csv(absl::StrCat(kCsvHeader, ",o1,1997-01-01,3\nwm1,,1997-01-01,3\n",
                                     "wm1,o1,1997-02-30,3\nwm1,o1,infinite-future,3\n",
                                     "wm1,o1,1997-01-01,\nwm1,o1\n", std::string(65, 'w'),
                                     ",o1,1997-01-01,3\nw m,o1,1997-01-01,3\n"));
  ASSERT_EQ(rows.size(), 8u);
  EXPECT_EQ(rows[0], "1 !customer: is empty");
  EXPECT_EQ(rows[1], "2 !order_id: is empty");
  EXPECT_EQ(rows[2].substr(0, 30), "3 !paid_time: \"1997-02-30\" is ");
  EXPECT_EQ(rows[3].substr(0, 13), "4 !paid_time:");
  EXPECT_EQ(rows[4], "5 !amount: \"\" is not an amount; write it as in 11.77");
  EXPECT_EQ(rows[5], "6 !row: 2 columns, expected 4");
  EXPECT_EQ(rows[6].substr(0, 12), "7 !customer:");
  EXPECT_EQ(rows[7], "8 !customer: \"w m\" holds a blank or control character");
}

TEST(ParseAmountFenTest, IsExact) {
  EXPECT_EQ(ParseAmountFen("0.07").value(), 7);
  EXPECT_EQ(ParseAmountFen("19.9").value(), 1990);
  EXPECT_EQ(ParseAmountFen("10000000000000").value(), 1'000'000'000'000'000);
  for (const char* bad : {"", ".", "1.", ".5", "+1", "1e3", "0x10", "1,000", " 1", "--1", "nan",
                          "10000000000001", "99999999999999999999999"}) {
    EXPECT_FALSE(ParseAmountFen(bad).ok()) << bad;
  }
}

}  // namespace
}  // namespace tidegate::client
