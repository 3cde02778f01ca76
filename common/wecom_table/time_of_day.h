// Times of day as they are written in settings.
//
// Pure.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"

namespace tidegate::wecom_table {

// Minutes after midnight of "hh:mm", in [0, 1440); nullopt if it is none.
std::optional<int32_t> ParseMinutes(absl::string_view text);

}  // namespace tidegate::wecom_table
