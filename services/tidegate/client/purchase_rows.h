// The two file formats of purchases, row by row: the CDNOW research file (blank-separated, CRLF,
// one header line) and CSV with the header customer,order_id,paid_time,amount. Not for sending
// them.
#pragma once

#include <cstdint>
#include <istream>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tidegate::client {

struct Purchase {
  std::string customer;
  std::string order_id;
  // Unix seconds, as written in the file.
  int64_t paid_time_s = 0;
  int64_t amount_fen = 0;
};

// What is wrong with one row.
struct RowError {
  // Column name, or "row" where the row cannot be split.
  std::string field;
  std::string message;
};

// One data row: a purchase, or why it is none.
struct PurchaseRow {
  // From 1: of CDNOW the line after the header, of CSV the record after the header.
  int64_t row = 0;
  Purchase purchase;
  std::optional<RowError> error;
};

// "11.77" -> 1177. INVALID_ARGUMENT: not a decimal number, negative, more than two decimals, over
// 10^13 yuan.
absl::StatusOr<int64_t> ParseAmountFen(absl::string_view text);

// "19970131" -> civil day. INVALID_ARGUMENT if it is no such day.
absl::StatusOr<int64_t> ParseCompactDay(absl::string_view text);

// Not thread-safe.
class PurchaseReader {
 public:
  virtual ~PurchaseReader() = default;
  // False at the end. UNAVAILABLE when the file cannot be read on.
  virtual absl::StatusOr<bool> Next(PurchaseRow* row) = 0;
};

// Read the header at once; INVALID_ARGUMENT if it is missing or another one. `in` outlives the
// reader.
absl::StatusOr<std::unique_ptr<PurchaseReader>> OpenCdnow(std::istream* in);
absl::StatusOr<std::unique_ptr<PurchaseReader>> OpenPurchaseCsv(std::istream* in);

}  // namespace tidegate::client
