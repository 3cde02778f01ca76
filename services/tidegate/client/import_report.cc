#include "services/tidegate/client/import_report.h"

#include <algorithm>
#include <boost/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "services/tidegate/client/output.h"

namespace tidegate::client {

ImportReport::ImportReport(const Client& client, int64_t total_rows)
    : client_(client),
      total_rows_(total_rows),
      start_raw_ns_(client.clock->Read().raw_ns),
      progress_(client.err, client.clock,
                {.label = "importing",
                 .unit = "rows",
                 .terminal = client.err_is_terminal,
                 .quiet = client.quiet}) {}

void ImportReport::CountRow() {
  std::lock_guard lock(mu_);
  ++rows_;
}

void ImportReport::CountSkipped() {
  std::lock_guard lock(mu_);
  ++skipped_;
}

void ImportReport::AddError(int64_t row, const std::string& field, const std::string& message) {
  std::lock_guard lock(mu_);
  ++failed_;
  if (errors_.size() < kErrorsKept) {
    errors_.push_back({row, field, message});
    progress_.Finish();
    *client_.err << "row " << row << ": " << field << ": " << message << "\n";
  } else if (failed_ == static_cast<int64_t>(kErrorsKept) + 1) {
    *client_.err << "more rows failed; they are counted, not listed\n";
  }
}

void ImportReport::ShowProgress(int64_t published) {
  // Drawn under the lock: error lines come from other threads.
  std::lock_guard lock(mu_);
  progress_.Update(published + skipped_ + failed_, total_rows_);
}

absl::Status ImportReport::Finish(int64_t published, const absl::Status& ended_by) {
  progress_.Finish();
  const double seconds = std::max(
      1e-6, static_cast<double>(client_.clock->Read().raw_ns - start_raw_ns_) / kNanosPerSecond);
  const double rate = static_cast<double>(published) / seconds;
  std::lock_guard lock(mu_);
  // Refusals arrive in the order of the answers.
  std::sort(errors_.begin(), errors_.end(),
            [](const Error& a, const Error& b) { return a.row < b.row; });
  boost::json::array errors;
  for (const Error& error : errors_) {
    errors.push_back(boost::json::object{
        {"row", error.row}, {"field", error.field}, {"message", error.message}});
  }
  const boost::json::object summary{
      {"rows", rows_},     {"published", published}, {"skipped_until", skipped_},
      {"failed", failed_}, {"seconds", seconds},     {"events_per_second", rate},
      {"errors", errors}};
  Print(client_, summary,
        RenderPairs({{"rows", absl::StrCat(rows_)},
                     {"published", absl::StrCat(published)},
                     {"skipped by --until", absl::StrCat(skipped_)},
                     {"failed", absl::StrCat(failed_)},
                     {"seconds", absl::StrFormat("%.2f", seconds)},
                     {"events per second", absl::StrFormat("%.0f", rate)}}));
  if (!ended_by.ok()) return ended_by;
  if (failed_ > 0) {
    return absl::UnknownError(absl::StrCat(failed_, " of ", rows_, " rows failed"));
  }
  return absl::OkStatus();
}

}  // namespace tidegate::client
