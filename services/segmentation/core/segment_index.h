// The index of one customer partition: who is in a segment. ScanIndex looks at every customer; an
// index of bitmaps can replace it behind this interface.
//
// Used by the partition's thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "common/core/state_hash.h"
#include "common/expression/expression.h"
#include "tidegate/log/v1/profiles.pb.h"

namespace tidegate::segmentation {

class SegmentIndex {
 public:
  virtual ~SegmentIndex() = default;

  // Takes the newest profile of a customer.
  virtual void Upsert(const ::tidegate::log::v1::Profile& profile) = 0;

  struct Count {
    int64_t matching = 0;
    int64_t universe = 0;  // customers of the corp
  };
  virtual Count CountMatching(absl::string_view corp, const expression::Expression& expression,
                              const expression::EvaluationTime& at) const = 0;

  struct Membership {
    bool known = false;
    bool contained = false;
  };
  virtual Membership Contains(absl::string_view corp, absl::string_view customer,
                              const expression::Expression& expression,
                              const expression::EvaluationTime& at) const = 0;

  // Calls `visit` for each matching customer in ascending order of id, with the owner (empty
  // without a live follow).
  virtual void ForEachMatching(
      absl::string_view corp, const expression::Expression& expression,
      const expression::EvaluationTime& at,
      const std::function<void(const std::string& customer, const std::string& owner)>& visit)
      const = 0;

  virtual void AddStateTo(core::StateHash* hash) const = 0;
};

}  // namespace tidegate::segmentation
