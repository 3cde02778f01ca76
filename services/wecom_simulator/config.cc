#include "services/wecom_simulator/config.h"

#include <fstream>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace tidegate::wecom_simulator {
namespace {

absl::Status Require(bool holds, absl::string_view what) {
  return holds ? absl::OkStatus() : absl::InvalidArgumentError(what);
}

bool IsShare(double value) { return value >= 0 && value <= 1; }

}  // namespace

absl::Status Config::Complete() {
  if (!limits_file.empty()) {
    std::ifstream file(limits_file, std::ios::binary);
    if (!file) return absl::NotFoundError(absl::StrCat("--limits: cannot read ", limits_file));
    const std::string text((std::istreambuf_iterator<char>(file)),
                           std::istreambuf_iterator<char>());
    ASSIGN_OR_RETURN(core.limits, ParseLimits(text));
  }
  RETURN_IF_ERROR(Require(core.latency_median_ms > 0, "--latency-median-ms must be above 0"));
  RETURN_IF_ERROR(Require(core.latency_p99_ms >= core.latency_median_ms,
                          "--latency-p99-ms must be at least the median"));
  RETURN_IF_ERROR(Require(core.confirm_mean_ms >= 0, "--confirm-mean-ms must not be negative"));
  RETURN_IF_ERROR(Require(IsShare(core.confirm_never), "--confirm-never must be from 0 to 1"));
  RETURN_IF_ERROR(
      Require(IsShare(core.confirm_reminded), "--confirm-reminded must be from 0 to 1"));
  RETURN_IF_ERROR(Require(core.reminded_mean_ms >= 0, "--reminded-mean-ms must not be negative"));
  RETURN_IF_ERROR(Require(IsShare(core.broken) && IsShare(core.over_quota) &&
                              IsShare(core.fail_list) &&
                              core.broken + core.over_quota + core.fail_list <= 1,
                          "--broken, --over-quota and --fail-list must be shares of one whole"));
  RETURN_IF_ERROR(Require(core.distributing_ms >= 0, "--distributing-ms must not be negative"));
  RETURN_IF_ERROR(Require(core.token_seconds > 0, "--token-seconds must be above 0"));
  return Require(core.welcome_seconds > 0, "--welcome-seconds must be above 0");
}

}  // namespace tidegate::wecom_simulator
