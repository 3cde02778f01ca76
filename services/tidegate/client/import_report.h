// Counts and errors of one import, told while it runs and summed up at its end. Shared by the two
// import verbs.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "services/tidegate/client/client.h"
#include "services/tidegate/client/progress.h"

namespace tidegate::client {

// Thread-safe.
class ImportReport {
 public:
  // The summary holds the first of them.
  static constexpr size_t kErrorsKept = 100;

  // `total_rows` is for the remaining time. `client` outlives it.
  ImportReport(const Client& client, int64_t total_rows);

  void CountRow();
  void CountSkipped();
  // Counts the row as failed and says so on standard error: "row 17: amount: ...".
  void AddError(int64_t row, const std::string& field, const std::string& message);
  void ShowProgress(int64_t published);

  // Prints the summary. `ended_by` is the error that ended the import early, or OK. Returns it,
  // else UNKNOWN if rows failed, else OK.
  absl::Status Finish(int64_t published, const absl::Status& ended_by);

 private:
  struct Error {
    int64_t row;
    std::string field;
    std::string message;
  };

  const Client& client_;
  const int64_t total_rows_;
  const int64_t start_raw_ns_;
  Progress progress_;

  std::mutex mu_;  // guards the rest
  int64_t rows_ = 0;
  int64_t skipped_ = 0;
  int64_t failed_ = 0;
  std::vector<Error> errors_;
};

}  // namespace tidegate::client
