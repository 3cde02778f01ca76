#include "tests/simulation/process.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "services/segmentation/core/scan_index.h"

namespace tidegate::simulation {

using log::Topic;
using State = runtime::PartitionRunner::State;

Process::Process(int id, log::Log* log, const wecom_table::Limits* limits, OnCalls on_calls)
    : id_(id), owner_(absl::StrCat("process ", id)) {
  for (uint32_t p = 0; p < kPartitions; ++p) {
    tagging_.push_back(
        std::make_unique<tagging::TaggingCore>(tagging::TaggingOptions{.partition = p}));
    runtime::RunnerOptions options;
    options.journal = {Topic::kProfiles, p};
    options.folded_inputs = {{.at = {Topic::kDefinitions, 0}}};
    options.decided_inputs = {{.at = {Topic::kEvents, p}}};
    AddRunner(std::move(options), log, tagging_.back().get());
  }
  for (uint32_t p = 0; p < kPartitions; ++p) {
    segmentation_.push_back(std::make_unique<segmentation::SegmentationCore>(
        segmentation::SegmentationOptions{.partition = p, .partitions = kPartitions},
        std::make_unique<segmentation::ScanIndex>()));
    runtime::RunnerOptions options;
    options.journal = {Topic::kMemberships, p};
    options.folded_inputs = {{.at = {Topic::kDefinitions, 0}},
                             {.at = {Topic::kProfiles, p}, .is_journal = true}};
    AddRunner(std::move(options), log, segmentation_.back().get());
  }
  dispatch_ = std::make_unique<dispatch::DispatchCore>(
      dispatch::DispatchOptions{
          .lane = 0, .partitions = kPartitions, .agent_ids = {{kCorp, kAgent}}},
      limits);
  dispatch_->OnCalls(
      [this, on_calls = std::move(on_calls)](std::vector<dispatch::CallToMake> calls) {
        on_calls(this, std::move(calls));
      });
  runtime::RunnerOptions options;
  options.journal = {Topic::kLedger, 0};
  options.folded_inputs = {{.at = {Topic::kDefinitions, 0}},
                           {.at = {Topic::kAudiences, 0}},
                           {.at = {Topic::kCommands, 0}}};
  AddRunner(std::move(options), log, dispatch_.get());
}

void Process::AddRunner(runtime::RunnerOptions options, log::Log* log, core::Core* core) {
  options.owner = owner_;
  options.boot_id = "boot";
  options.fence_token = absl::StrCat(owner_, " ", log::Name(options.journal));
  options.batch_records_max = 20;
  options.mark_records_max = 10;
  options.wake = [] {};
  runners_.push_back(std::make_unique<runtime::PartitionRunner>(std::move(options), log, core));
}

bool Process::Turn(const Now& now) {
  bool moved = false;
  for (auto& runner : runners_) moved |= runner->Turn(now);
  return moved;
}

bool Process::Live() const {
  for (const auto& runner : runners_) {
    if (runner->state() != State::kLive) return false;
  }
  return true;
}

bool Process::Fenced() const {
  for (const auto& runner : runners_) {
    if (runner->state() == State::kFenced) return true;
  }
  return false;
}

bool Process::Failed() const {
  for (const auto& runner : runners_) {
    if (runner->state() == State::kFailed) return true;
  }
  return false;
}

bool Process::CaughtUp(log::Log* log) const {
  for (uint32_t p = 0; p < kPartitions; ++p) {
    if (segmentation_[p]->events_position() < log->End({Topic::kEvents, p})) return false;
  }
  return Live();
}

void Process::Answer(std::unique_ptr<dispatch::CallAnswer> answer) {
  // Refused only beyond 10,000 answers, which no schedule makes.
  (void)runners_.back()->PostLocal(std::move(answer));
}

void Process::TellOwnerEnded(const std::string& owner) {
  auto ended = std::make_unique<dispatch::FormerOwnerEnded>();
  ended->owner = owner;
  (void)runners_.back()->PostLocal(std::move(ended));
}

}  // namespace tidegate::simulation
