// How far a long verb has come, on standard error: a bar that redraws itself on a terminal, else
// one line per 5 s; with rate and remaining time. Not for results.
#pragma once

#include <cstdint>
#include <mutex>
#include <ostream>
#include <string>

#include "absl/strings/string_view.h"
#include "services/tidegate/client/client_clock.h"

namespace tidegate::client {

struct ProgressOptions {
  // Shown in front, as in "importing".
  std::string label;
  // What is counted, as in "rows".
  std::string unit;
  // Redraw in place.
  bool terminal = false;
  // Say nothing at all.
  bool quiet = false;
};

// Thread-safe.
class Progress {
 public:
  // `out` and `clock` outlive it.
  Progress(std::ostream* out, ClientClock* clock, ProgressOptions options);

  // `total` 0 = unknown. `note` is shown behind. Draws only when it is time to.
  void Update(int64_t done, int64_t total, absl::string_view note = "");
  // Ends the bar's line on a terminal.
  void Finish();

 private:
  std::string Line(int64_t done, int64_t total, absl::string_view note, double seconds) const;

  std::ostream* const out_;
  ClientClock* const clock_;
  const ProgressOptions options_;
  const int64_t start_raw_ns_;

  std::mutex mu_;  // guards the rest
  int64_t first_done_ = -1;
  int64_t drawn_raw_ns_;
  bool bar_drawn_ = false;
};

}  // namespace tidegate::client
