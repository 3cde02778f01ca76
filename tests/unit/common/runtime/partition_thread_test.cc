#include "common/runtime/partition_thread.h"

#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <memory>
#include <string>

#include "common/core/header_codec.h"
#include "common/log/memory_log.h"
#include "tests/unit/common/runtime/sum_core.h"

namespace tidegate::runtime {
namespace {

using ::tidegate::log::v1::RECORD_KIND_FENCE;
using ::tidegate::log::v1::RecordHeader;
using State = PartitionRunner::State;

constexpr auto kPatience = std::chrono::seconds(20);

class PartitionThreadTest : public ::testing::Test {
 protected:
  void Start() {
    RunnerOptions options;
    options.journal = kJournal;
    options.folded_inputs = {{.at = kFolded}};
    options.decided_inputs = {{.at = kInput}};
    options.fence_token = "token";
    options.after_turn = [this](const Now&) {
      if (!live_set_) live_.set_value();
      live_set_ = true;
      if (core_.sums["x"] == 3 && !sum_set_) {
        sum_set_ = true;
        sum_.set_value();
      }
    };
    thread_ = std::make_unique<PartitionThread>(std::move(options), &log_, &core_, &clock_,
                                                [this](State state) { ended_.set_value(state); });
    thread_->Start();
  }
  template <typename T>
  static bool Comes(std::future<T>& future) {
    return future.wait_for(kPatience) == std::future_status::ready;
  }

  SystemClock clock_;
  log::MemoryLog log_;
  SumCore core_;
  bool live_set_ = false;  // the thread's
  bool sum_set_ = false;
  std::promise<void> live_;
  std::promise<void> sum_;
  std::promise<State> ended_;
  std::unique_ptr<PartitionThread> thread_;
};

TEST_F(PartitionThreadTest, IsWokenByItsInputs) {
  auto live = live_.get_future();
  auto sum = sum_.get_future();
  Start();
  ASSERT_TRUE(Comes(live));
  for (int i = 0; i < 3; ++i) log_.InjectRaw(kInput, {.key = "x", .header = "", .value = "1"});
  EXPECT_TRUE(Comes(sum));
  thread_->Stop();
  EXPECT_EQ(core_.sums["x"], 3);
  EXPECT_EQ(thread_->runner().state(), State::kStopped);
}

TEST_F(PartitionThreadTest, AnswersAQueryOnItsThread) {
  auto live = live_.get_future();
  Start();
  ASSERT_TRUE(Comes(live));
  std::promise<absl::Status> answer;
  auto answered = answer.get_future();
  ASSERT_TRUE(thread_->runner()
                  .PostQuery([&](absl::Status status, const Now&) { answer.set_value(status); })
                  .ok());
  ASSERT_TRUE(Comes(answered));
  EXPECT_TRUE(answered.get().ok());
}

TEST_F(PartitionThreadTest, TellsThatAnotherOwnerCame) {
  auto live = live_.get_future();
  auto ended = ended_.get_future();
  Start();
  ASSERT_TRUE(Comes(live));
  RecordHeader fence;
  fence.set_kind(RECORD_KIND_FENCE);
  fence.set_epoch(2);
  fence.mutable_fence()->set_token("another");
  log_.InjectRaw(kJournal, {.key = "", .header = core::EncodeHeader(fence), .value = ""});
  ASSERT_TRUE(Comes(ended));
  EXPECT_EQ(ended.get(), State::kFenced);
}

TEST_F(PartitionThreadTest, StopsThoughItNeverStarted) {
  RunnerOptions options;
  options.journal = kJournal;
  options.fence_token = "token";
  PartitionThread thread(std::move(options), &log_, &core_, &clock_, [](State) { FAIL(); });
  thread.Stop();
  EXPECT_EQ(log_.End(kJournal), 0u);
}

// A wake that comes late must find nothing to touch.
TEST_F(PartitionThreadTest, MayEndWhileAnAppendIsUnderWay) {
  log::MemoryLog manual({.manual = true});
  RunnerOptions options;
  options.journal = kJournal;
  options.fence_token = "token";
  auto thread = std::make_unique<PartitionThread>(std::move(options), &manual, &core_, &clock_,
                                                  [](State) { FAIL(); });
  thread->Start();
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (manual.Pending().empty()) {
    ASSERT_LT(std::chrono::steady_clock::now(), deadline);
    std::this_thread::yield();
  }
  thread.reset();
  EXPECT_EQ(manual.DeliverAll(), 1u);
}

}  // namespace
}  // namespace tidegate::runtime
