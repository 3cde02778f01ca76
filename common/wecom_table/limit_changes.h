// What a corp's limits have of their own, laid over those of the deployment.
//
// Pure.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/wecom_table/limits.h"
#include "tidegate/common/v1/types.pb.h"

namespace tidegate::wecom_table {

struct LimitFault {
  std::string field;  // path, as in "windows[2].amount"
  std::string remedy;
};

// What is wrong with it; empty = nothing.
std::vector<LimitFault> CheckCorpLimits(const ::tidegate::common::v1::CorpLimits& change);

// Requires that nothing is wrong with `change`.
Limits LimitsWith(const Limits& deployment, const ::tidegate::common::v1::CorpLimits& change);

}  // namespace tidegate::wecom_table
