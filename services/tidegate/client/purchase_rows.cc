#include "services/tidegate/client/purchase_rows.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "common/base/civil_day.h"
#include "common/base/status_macros.h"
#include "services/tidegate/client/csv.h"
#include "services/tidegate/client/csv_header.h"

namespace tidegate::client {
namespace {

constexpr int64_t kYuanMax = 10'000'000'000'000;
constexpr size_t kCdnowIdDigits = 30;
constexpr size_t kIdBytesMax = 64;
const std::vector<std::string>& CdnowColumns() {
  static const auto* const columns =
      new std::vector<std::string>{"customer_id", "date", "number_of_cds", "dollar_value"};
  return *columns;
}
const std::vector<std::string>& CsvColumns() {
  static const auto* const columns =
      new std::vector<std::string>{"customer", "order_id", "paid_time", "amount"};
  return *columns;
}

bool AllDigits(absl::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), absl::ascii_isdigit);
}

RowError Fault(absl::string_view field, absl::Status status) {
  return {std::string(field), std::string(status.message())};
}

std::optional<RowError> ParseCdnow(absl::string_view line, Purchase* purchase) {
  if (!IsUtf8(line)) return RowError{"row", "not UTF-8 text"};
  const std::vector<absl::string_view> columns =
      absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
  if (columns.size() != CdnowColumns().size()) {
    return RowError{"row",
                    absl::StrCat(columns.size(), columns.size() == 1 ? " column" : " columns",
                                 ", expected 4: ", absl::StrJoin(CdnowColumns(), ", "))};
  }
  if (!AllDigits(columns[0]) || columns[0].size() > kCdnowIdDigits) {
    return RowError{"customer_id", absl::StrCat(Quoted(columns[0]), " is not 1 to 30 digits")};
  }
  const absl::StatusOr<int64_t> day = ParseCompactDay(columns[1]);
  if (!day.ok()) return Fault("date", day.status());
  if (!AllDigits(columns[2])) {
    return RowError{"number_of_cds", absl::StrCat(Quoted(columns[2]), " is not a whole number")};
  }
  const absl::StatusOr<int64_t> amount_fen = ParseAmountFen(columns[3]);
  if (!amount_fen.ok()) return Fault("dollar_value", amount_fen.status());
  purchase->customer =
      absl::StrCat("wm", std::string(kCdnowIdDigits - columns[0].size(), '0'), columns[0]);
  purchase->paid_time_s = StartOfCivilDay(*day);
  purchase->amount_fen = *amount_fen;
  return std::nullopt;
}

absl::StatusOr<int64_t> ParsePaidTime(absl::string_view text) {
  if (text.size() == 10) {
    const absl::StatusOr<int64_t> day = ParseCivilDay(text);
    if (day.ok()) return StartOfCivilDay(*day);
  } else {
    absl::Time time;
    std::string error;
    // "infinite-future" is a time to the parser, but not to us.
    if (!text.empty() && absl::ascii_isdigit(text[0]) &&
        absl::ParseTime(absl::RFC3339_full, text, &time, &error)) {
      return absl::ToUnixSeconds(time);
    }
  }
  return absl::InvalidArgumentError(
      absl::StrCat(Quoted(text),
                   " is neither a date (2026-11-24, taken as 00:00 in Shanghai) nor a "
                   "time with zone (2026-11-24T10:00:00+08:00)"));
}

std::optional<RowError> ParseCsv(const std::vector<std::string>& fields, const CsvHeader& header,
                                 Purchase* purchase) {
  if (const auto fault = header.CheckWidth(fields); !fault.empty()) return RowError{"row", fault};
  for (size_t column = 0; column < 2; ++column) {
    const absl::Status id = CheckId(header.Field(fields, column), kIdBytesMax);
    if (!id.ok()) return Fault(CsvColumns()[column], id);
  }
  const absl::StatusOr<int64_t> paid_time_s = ParsePaidTime(header.Field(fields, 2));
  if (!paid_time_s.ok()) return Fault("paid_time", paid_time_s.status());
  const absl::StatusOr<int64_t> amount_fen = ParseAmountFen(header.Field(fields, 3));
  if (!amount_fen.ok()) return Fault("amount", amount_fen.status());
  purchase->customer = header.Field(fields, 0);
  purchase->order_id = header.Field(fields, 1);
  purchase->paid_time_s = *paid_time_s;
  purchase->amount_fen = *amount_fen;
  return std::nullopt;
}

class CdnowReader final : public PurchaseReader {
 public:
  explicit CdnowReader(std::istream* in) : lines_(in) {}

  absl::Status ReadHeader() {
    std::string line;
    const absl::StatusOr<bool> more = lines_.Next(&line);
    RETURN_IF_ERROR(more.status());
    if (!*more) return absl::InvalidArgumentError("the file is empty");
    const std::vector<std::string> columns =
        absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    if (columns != CdnowColumns()) {
      return absl::InvalidArgumentError(absl::StrCat("the first line is not the header \"",
                                                     absl::StrJoin(CdnowColumns(), " "),
                                                     "\": ", Quoted(line)));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<bool> Next(PurchaseRow* row) override {
    std::string line;
    do {
      ++row_;
      const absl::StatusOr<bool> more = lines_.Next(&line);
      row->row = row_;
      if (absl::IsInvalidArgument(more.status())) {
        row->error = Fault("row", more.status());
        return true;
      }
      RETURN_IF_ERROR(more.status());
      if (!*more) return false;
    } while (absl::StripAsciiWhitespace(line).empty());
    row->error = ParseCdnow(line, &row->purchase);
    row->purchase.order_id = absl::StrCat(row_);
    return true;
  }

 private:
  LineReader lines_;
  int64_t row_ = 0;
};

class PurchaseCsvReader final : public PurchaseReader {
 public:
  explicit PurchaseCsvReader(std::istream* in) : csv_(in) {}

  absl::Status ReadHeader() {
    ASSIGN_OR_RETURN(header_, CsvHeader::Read(&csv_, CsvColumns()));
    return absl::OkStatus();
  }

  absl::StatusOr<bool> Next(PurchaseRow* row) override {
    const absl::StatusOr<bool> more = csv_.Next(&fields_);
    if (absl::IsInvalidArgument(more.status())) {
      row->row = ++row_;
      row->error = Fault("row", more.status());
      return true;
    }
    RETURN_IF_ERROR(more.status());
    if (!*more) return false;
    row->row = ++row_;
    row->error = ParseCsv(fields_, header_, &row->purchase);
    return true;
  }

 private:
  CsvReader csv_;
  CsvHeader header_;
  std::vector<std::string> fields_;
  int64_t row_ = 0;
};

template <typename Reader>
absl::StatusOr<std::unique_ptr<PurchaseReader>> OpenReader(std::istream* in) {
  auto reader = std::make_unique<Reader>(in);
  RETURN_IF_ERROR(reader->ReadHeader());
  return std::unique_ptr<PurchaseReader>(std::move(reader));
}

}  // namespace

absl::StatusOr<int64_t> ParseAmountFen(absl::string_view text) {
  const bool negative = !text.empty() && text[0] == '-';
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(text.substr(negative ? 1 : 0), absl::MaxSplits('.', 1));
  const bool has_point = text.find('.') != absl::string_view::npos;
  if (!AllDigits(parts.first) || (has_point && !AllDigits(parts.second))) {
    return absl::InvalidArgumentError(
        absl::StrCat(Quoted(text), " is not an amount; write it as in 11.77"));
  }
  if (negative) return absl::InvalidArgumentError(absl::StrCat(Quoted(text), " is negative"));
  if (parts.second.size() > 2) {
    return absl::InvalidArgumentError(absl::StrCat(Quoted(text), " has more than 2 decimals"));
  }
  int64_t yuan = 0;
  if (!absl::SimpleAtoi(parts.first, &yuan) || yuan > kYuanMax) {
    return absl::InvalidArgumentError(absl::StrCat(Quoted(text), " is over ", kYuanMax));
  }
  int64_t fen = 0;
  for (size_t i = 0; i < 2; ++i) {
    fen = fen * 10 + (i < parts.second.size() ? parts.second[i] - '0' : 0);
  }
  return yuan * 100 + fen;
}

absl::StatusOr<int64_t> ParseCompactDay(absl::string_view text) {
  if (text.size() == 8 && AllDigits(text)) {
    const absl::StatusOr<int64_t> day = ParseCivilDay(
        absl::StrCat(text.substr(0, 4), "-", text.substr(4, 2), "-", text.substr(6, 2)));
    if (day.ok()) return day;
  }
  return absl::InvalidArgumentError(
      absl::StrCat(Quoted(text), " is not a date; write YYYYMMDD, as in 19970131"));
}

absl::StatusOr<std::unique_ptr<PurchaseReader>> OpenCdnow(std::istream* in) {
  return OpenReader<CdnowReader>(in);
}

absl::StatusOr<std::unique_ptr<PurchaseReader>> OpenPurchaseCsv(std::istream* in) {
  return OpenReader<PurchaseCsvReader>(in);
}

}  // namespace tidegate::client
