#include "common/wecom_table/address_share.h"

#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace tidegate::wecom_table {
namespace {

constexpr int64_t kWhole = 1'000'000;

absl::Status Share(int64_t millionths, std::vector<WindowLimit>* windows) {
  for (WindowLimit& window : *windows) {
    if (window.scope != Scope::kIp) continue;
    const int64_t whole = window.amount;
    window.amount = whole / kWhole * millionths + whole % kWhole * millionths / kWhole;
    if (window.amount > 0) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "limits file: of ", whole, " calls of an address to ", window.api, " a share of ",
        static_cast<double>(millionths) / static_cast<double>(kWhole),
        " is less than one; write a larger share in egress, or put all corps into fewer lanes"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Limits> LimitsOfShare(const Limits& limits, int64_t millionths) {
  Limits of_share = limits;
  RETURN_IF_ERROR(Share(millionths, &of_share.windows));
  // A corp's own limits repeat those of the address.
  for (auto& [corp, own] : of_share.corps) {
    Limits changed = *own;
    RETURN_IF_ERROR(Share(millionths, &changed.windows));
    own = std::make_shared<const Limits>(std::move(changed));
  }
  return of_share;
}

}  // namespace tidegate::wecom_table
