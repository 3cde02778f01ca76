// The plain scan: exact, and as slow as the number of customers.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "services/segmentation/core/segment_index.h"

namespace tidegate::segmentation {

class ScanIndex : public SegmentIndex {
 public:
  void Upsert(const ::tidegate::log::v1::Profile& profile) override;
  Count CountMatching(absl::string_view corp, const expression::Expression& expression,
                      const expression::EvaluationTime& at) const override;
  Membership Contains(absl::string_view corp, absl::string_view customer,
                      const expression::Expression& expression,
                      const expression::EvaluationTime& at) const override;
  void ForEachMatching(absl::string_view corp, const expression::Expression& expression,
                       const expression::EvaluationTime& at,
                       const std::function<void(const std::string& customer,
                                                const std::string& owner)>& visit) const override;
  void AddStateTo(core::StateHash* hash) const override;

 private:
  // What conditions look at, and nothing else.
  struct Customer {
    uint64_t version = 0;
    std::string owner;
    std::vector<expression::OrderView> orders;  // ascending by time
    std::vector<std::string> tags;              // on live follows, sorted, without repeats
  };
  static bool Matches(const Customer& customer, const expression::Expression& expression,
                      const expression::EvaluationTime& at,
                      std::vector<absl::string_view>* tag_views);

  std::map<std::string, std::map<std::string, Customer, std::less<>>, std::less<>> corps_;
};

}  // namespace tidegate::segmentation
