// A small core for tests of the runtime: adds numbers per key, and tells each new sum to another
// topic.
#pragma once

#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/core/core.h"

namespace tidegate::runtime {

inline constexpr log::TopicPartition kJournal{log::Topic::kProfiles, 0};
inline constexpr log::TopicPartition kInput{log::Topic::kEvents, 0};
inline constexpr log::TopicPartition kFolded{log::Topic::kDefinitions, 0};
inline constexpr log::TopicPartition kTarget{log::Topic::kCommands, 0};

struct AddLocally : core::LocalInput {
  std::string key;
  int number = 0;
};

// Input value: a number; "0" needs no record; "wait" is not ready until something was folded.
class SumCore : public core::Core {
 public:
  void Fold(log::TopicPartition, const log::StoredRecord& record,
            const ::tidegate::log::v1::RecordHeader&) override {
    folded.push_back(record.record.value);
  }
  bool Ready(const core::Input& input) override {
    return input.record->record.value != "wait" || !folded.empty();
  }
  std::optional<core::Decision> Decide(const core::Input& input, const Now&) override {
    if (input.local != nullptr) {
      const auto* local = dynamic_cast<const AddLocally*>(input.local);
      return Add(local->key, local->number);
    }
    if (input.record == nullptr) return std::nullopt;
    ++decided;
    const int number = std::atoi(input.record->record.value.c_str());
    if (number == 0) return std::nullopt;
    return Add(input.record->record.key, number);
  }
  void Apply(absl::string_view key, absl::string_view value, const core::ApplyContext& context,
             std::vector<core::OutboxRecord>* outbox) override {
    sums[std::string(key)] = std::atoi(std::string(value).c_str());
    if (folded.empty()) folded_before_apply = false;
    outbox->push_back({.target = kTarget, .key = std::string(key), .value = std::string(value)});
    if (context.live) released_next.push_back(absl::StrCat(key, "=", value));
  }
  void ApplyFence(const ::tidegate::log::v1::Fence&, uint64_t) override { ++fences; }
  void EndBatch() override { pending.clear(); }
  void Release(const Now&) override {
    released.insert(released.end(), released_next.begin(), released_next.end());
    released_next.clear();
  }

  std::map<std::string, int> sums;
  std::map<std::string, int> pending;
  std::vector<std::string> released_next;
  std::vector<std::string> released;
  std::vector<std::string> folded;
  bool folded_before_apply = false;  // set by a test; cleared by an apply before any fold
  int fences = 0;
  int decided = 0;

 private:
  core::Decision Add(const std::string& key, int number) {
    const auto it = pending.find(key);
    const auto applied = sums.find(key);
    const int before = it != pending.end()     ? it->second
                       : applied != sums.end() ? applied->second
                                               : 0;
    pending[key] = before + number;
    return {.key = key, .value = absl::StrCat(before + number)};
  }
};

}  // namespace tidegate::runtime
