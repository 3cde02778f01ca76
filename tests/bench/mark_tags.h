// The mark_tag wishes of the benchmark of sending, by number: each is of another pair.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/hash.h"
#include "common/wecom_table/requests.h"

namespace tidegate::bench {

struct MarkTag {
  std::string member, customer, tag;

  std::string Body() const {
    return wecom_table::MarkTagBody(member, customer, std::vector<std::string>{tag}, {});
  }
};

inline MarkTag MakeMarkTag(uint64_t seed, uint64_t number) {
  return {.member = absl::StrFormat("m%03d", number % 100),
          .customer = absl::StrFormat("wm%014d%016x", number, Mix64(seed ^ number)),
          .tag = absl::StrCat("tag_", number % 20)};
}

}  // namespace tidegate::bench
