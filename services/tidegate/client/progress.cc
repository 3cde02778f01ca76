#include "services/tidegate/client/progress.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace tidegate::client {
namespace {

constexpr int64_t kRedrawNs = 100 * kNanosPerMilli;
constexpr int64_t kLineNs = 5 * kNanosPerSecond;
constexpr int kBarWidth = 24;

std::string ShortTime(double seconds) {
  const auto s = static_cast<int64_t>(std::ceil(seconds));
  return s < 60 ? absl::StrCat(s, "s") : absl::StrFormat("%dm%02ds", s / 60, s % 60);
}

}  // namespace

Progress::Progress(std::ostream* out, ClientClock* clock, ProgressOptions options)
    : out_(out),
      clock_(clock),
      options_(std::move(options)),
      start_raw_ns_(clock->Read().raw_ns),
      drawn_raw_ns_(start_raw_ns_) {}

void Progress::Update(int64_t done, int64_t total, absl::string_view note) {
  if (options_.quiet) return;
  std::lock_guard lock(mu_);
  if (first_done_ < 0) first_done_ = done;
  const int64_t now = clock_->Read().raw_ns;
  if (now - drawn_raw_ns_ < (options_.terminal ? kRedrawNs : kLineNs)) return;
  drawn_raw_ns_ = now;
  const std::string line =
      Line(done, total, note, static_cast<double>(now - start_raw_ns_) / kNanosPerSecond);
  if (options_.terminal) {
    *out_ << "\r\x1b[K" << line << std::flush;
    bar_drawn_ = true;
  } else {
    *out_ << line << std::endl;
  }
}

void Progress::Finish() {
  std::lock_guard lock(mu_);
  if (bar_drawn_) *out_ << std::endl;
  bar_drawn_ = false;
}

std::string Progress::Line(int64_t done, int64_t total, absl::string_view note,
                           double seconds) const {
  std::string line = options_.label;
  if (total > 0) {
    const double part =
        std::clamp(static_cast<double>(done) / static_cast<double>(total), 0.0, 1.0);
    if (options_.terminal) {
      const auto full = static_cast<size_t>(part * kBarWidth);
      absl::StrAppend(&line, " [", std::string(full, '#'), std::string(kBarWidth - full, '.'), "]");
    }
    absl::StrAppendFormat(&line, " %d of %d %s (%.0f %%)", done, total, options_.unit, 100 * part);
  } else {
    absl::StrAppendFormat(&line, " %d %s", done, options_.unit);
  }
  // The rate is that of this run: a watch may begin in the middle.
  const double rate =
      seconds > 0 ? static_cast<double>(done - std::max<int64_t>(first_done_, 0)) / seconds : 0;
  absl::StrAppendFormat(&line, ", %.0f/s", rate);
  if (total > done && rate > 0) {
    absl::StrAppend(&line, ", ", ShortTime(static_cast<double>(total - done) / rate), " left");
  }
  if (!note.empty()) absl::StrAppend(&line, ", ", note);
  return line;
}

}  // namespace tidegate::client
