// The cores of one Tidegate process and their runners, without threads.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/log/log.h"
#include "common/runtime/partition_runner.h"
#include "common/wecom_table/limits.h"
#include "services/dispatch/core/dispatch_core.h"
#include "services/segmentation/core/segmentation_core.h"
#include "services/tagging/core/tagging_core.h"

namespace tidegate::simulation {

inline constexpr uint32_t kPartitions = 2;
inline constexpr char kCorp[] = "ww-sim";
inline constexpr char kAgent[] = "1000002";

class Process {
 public:
  using OnCalls = std::function<void(Process*, std::vector<dispatch::CallToMake>)>;
  Process(int id, log::Log* log, const wecom_table::Limits* limits, OnCalls on_calls);

  // One turn of every runner. True if anything moved.
  bool Turn(const Now& now);
  bool Live() const;
  // Another process owns a partition now: this one has to end.
  bool Fenced() const;
  bool Failed() const;
  // Whether segmentation has seen all events that the log holds.
  bool CaughtUp(log::Log* log) const;

  const dispatch::DispatchCore& dispatch() const { return *dispatch_; }
  const tagging::TaggingCore& tagging(uint32_t partition) const { return *tagging_[partition]; }
  void Answer(std::unique_ptr<dispatch::CallAnswer> answer);
  // A process that owned the lane before has ended.
  void TellOwnerEnded(const std::string& owner);
  int id() const { return id_; }
  // As its fences name it.
  const std::string& owner() const { return owner_; }

 private:
  void AddRunner(runtime::RunnerOptions options, log::Log* log, core::Core* core);

  const int id_;
  const std::string owner_;
  std::vector<std::unique_ptr<tagging::TaggingCore>> tagging_;
  std::vector<std::unique_ptr<segmentation::SegmentationCore>> segmentation_;
  std::unique_ptr<dispatch::DispatchCore> dispatch_;
  std::vector<std::unique_ptr<runtime::PartitionRunner>> runners_;  // dispatch's is the last
};

}  // namespace tidegate::simulation
