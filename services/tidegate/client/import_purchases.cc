#include "services/tidegate/client/import_purchases.h"

#include <algorithm>
#include <istream>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/civil_day.h"
#include "common/base/hash.h"
#include "common/base/status_macros.h"
#include "services/tidegate/client/csv.h"
#include "services/tidegate/client/import_report.h"
#include "services/tidegate/client/publisher.h"
#include "services/tidegate/client/purchase_rows.h"
#include "tidegate/ingestion/v1/ingestion_service.pb.h"

namespace tidegate::client {
namespace {

using tidegate::ingestion::v1::PublishedEvent;

constexpr int64_t kSecondsPerDay = 86'400;
// Nanoseconds since 1970 end in 2262.
constexpr int64_t kLastTimeS = int64_t{7'258'118'400};  // 2200-01-01

struct OpenFile {
  std::unique_ptr<std::istream> in;
  std::unique_ptr<PurchaseReader> reader;
};

absl::StatusOr<OpenFile> Open(const ImportPurchasesOptions& options) {
  OpenFile file;
  ASSIGN_OR_RETURN(file.in, OpenTextFile(options.file));
  absl::StatusOr<std::unique_ptr<PurchaseReader>> reader =
      options.format == "cdnow" ? OpenCdnow(file.in.get()) : OpenPurchaseCsv(file.in.get());
  if (!reader.ok()) {
    return absl::Status(reader.status().code(),
                        absl::StrCat(options.file, ": ", reader.status().message()));
  }
  file.reader = *std::move(reader);
  return file;
}

struct Overview {
  int64_t rows = 0;
  // Of the rows that will be imported.
  std::optional<int64_t> last_day;
};

bool After(const Purchase& purchase, std::optional<int64_t> until_day) {
  return until_day.has_value() && CivilDayOf(purchase.paid_time_s) > *until_day;
}

absl::StatusOr<Overview> Survey(const ImportPurchasesOptions& options,
                                std::optional<int64_t> until_day) {
  ASSIGN_OR_RETURN(const OpenFile file, Open(options));
  Overview overview;
  PurchaseRow row;
  while (true) {
    ASSIGN_OR_RETURN(const bool more, file.reader->Next(&row));
    if (!more) return overview;
    ++overview.rows;
    if (row.error.has_value() || After(row.purchase, until_day)) continue;
    const int64_t day = CivilDayOf(row.purchase.paid_time_s);
    overview.last_day = std::max(overview.last_day.value_or(day), day);
  }
}

PublishedEvent ToEvent(Purchase purchase, int64_t time_s) {
  const uint64_t content =
      StableHash64(absl::StrCat(purchase.customer, "\n", purchase.amount_fen, "\n", time_s));
  PublishedEvent event;
  event.set_event_id(absl::StrFormat("order:%s:%016x", purchase.order_id, content));
  event.set_customer(std::move(purchase.customer));
  event.mutable_event_time()->set_seconds(time_s);
  event.mutable_order_paid()->set_order_id(std::move(purchase.order_id));
  event.mutable_order_paid()->mutable_amount()->set_amount_fen(purchase.amount_fen);
  return event;
}

const char* TimeField(const ImportPurchasesOptions& options) {
  return options.format == "cdnow" ? "date" : "paid_time";
}

}  // namespace

absl::Status ImportPurchases(const Client& client, const ImportPurchasesOptions& options) {
  const int64_t today = CivilDayOf(client.clock->Read().wall_ns / kNanosPerSecond);
  std::optional<int64_t> until_day;
  if (!options.until.empty()) {
    ASSIGN_OR_RETURN(until_day, ParseCivilDay(options.until));
  }
  ASSIGN_OR_RETURN(const Overview overview, Survey(options, until_day));
  int64_t shift_days = options.shift_days;
  if (options.shift_to_today && overview.last_day.has_value()) {
    shift_days = today - *overview.last_day;
  }

  ASSIGN_OR_RETURN(const OpenFile file, Open(options));
  ImportReport report(client, overview.rows);
  PublisherOptions publisher_options;
  publisher_options.corp = options.corp;
  publisher_options.source = !options.source.empty()     ? options.source
                             : options.format == "cdnow" ? "cdnow"
                                                         : "purchases";
  Publisher publisher(client.connection, client.log, publisher_options,
                      [&](int64_t row, const std::string& field, const std::string& message) {
                        report.AddError(row, field, message);
                      });
  absl::Status read_status;
  PurchaseRow row;
  while (true) {
    const absl::StatusOr<bool> more = file.reader->Next(&row);
    read_status = more.status();
    if (!more.ok() || !*more) break;
    report.CountRow();
    if (row.error.has_value()) {
      report.AddError(row.row, row.error->field, row.error->message);
      continue;
    }
    if (After(row.purchase, until_day)) {
      report.CountSkipped();
      continue;
    }
    const int64_t time_s = row.purchase.paid_time_s + shift_days * kSecondsPerDay;
    if (time_s < 0 || time_s >= kLastTimeS) {
      report.AddError(row.row, TimeField(options), "is not between 1970 and 2199 after the shift");
      continue;
    }
    if (!publisher.Add(row.row, ToEvent(std::move(row.purchase), time_s))) break;
    report.ShowProgress(publisher.published());
  }
  absl::Status ended_by = publisher.Finish();
  ended_by.Update(read_status);
  return report.Finish(publisher.published(), ended_by);
}

}  // namespace tidegate::client
