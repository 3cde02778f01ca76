#include "common/runtime/outbox.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/core/header_codec.h"
#include "common/log/memory_log.h"

namespace tidegate::runtime {
namespace {

using ::tidegate::log::v1::RecordHeader;

constexpr log::TopicPartition kOne{log::Topic::kCommands, 0};
constexpr log::TopicPartition kTwo{log::Topic::kCommands, 1};

class OutboxTest : public ::testing::Test {
 protected:
  OutboxTest() { Restart(); }
  // A new owner that replays what the journal holds: `records` for kOne, then `marks`.
  void Restart(int records = 0, const std::vector<RecordHeader>& marks = {}) {
    outbox_ = std::make_unique<Outbox>("tidegate.ledger/0", &log_, [this] { ++wakes_; });
    for (int i = 1; i <= records; ++i) Add(kOne, absl::StrCat(i));
    for (const RecordHeader& mark : marks) outbox_->ApplyMark(mark);
  }
  void Add(log::TopicPartition target, const std::string& value) {
    outbox_->Add({.target = target, .key = "k", .value = value});
  }
  RecordHeader Mark() {
    RecordHeader header;
    EXPECT_TRUE(outbox_->WriteMark(&header));
    return header;
  }
  // "out_seq=value" of each record.
  std::vector<std::string> Sent(log::TopicPartition at) {
    std::vector<log::StoredRecord> records;
    EXPECT_TRUE(log_.Read(at, 0, 10'000, 1 << 20, &records).ok());
    std::vector<std::string> sent;
    for (const auto& record : records) {
      const auto header = core::DecodeHeader(record.record.header);
      EXPECT_EQ(header->source().journal(), "tidegate.ledger/0");
      sent.push_back(absl::StrCat(header->source().out_seq(), "=", record.record.value));
    }
    return sent;
  }

  log::MemoryLog log_{log::MemoryLogOptions{.manual = true, .queue_records_max = 2000}};
  Now now_{};
  int wakes_ = 0;
  std::unique_ptr<Outbox> outbox_;
};

TEST_F(OutboxTest, NumbersEachTargetFromOne) {
  Add(kOne, "a");
  Add(kTwo, "b");
  Add(kOne, "c");
  EXPECT_EQ(outbox_->size(), 3u);
  outbox_->Pump(now_);
  log_.DeliverAll();
  EXPECT_EQ(Sent(kOne), (std::vector<std::string>{"1=a", "2=c"}));
  EXPECT_EQ(Sent(kTwo), std::vector<std::string>{"1=b"});
  EXPECT_EQ(wakes_, 2);
}

TEST_F(OutboxTest, OneAppendPerTargetIsUnderWay) {
  Add(kOne, "a");
  outbox_->Pump(now_);
  Add(kOne, "b");
  outbox_->Pump(now_);
  EXPECT_EQ(log_.Pending().size(), 1u);
  log_.DeliverAll();
  outbox_->Pump(now_);
  log_.DeliverAll();
  EXPECT_EQ(Sent(kOne), (std::vector<std::string>{"1=a", "2=b"}));
}

TEST_F(OutboxTest, MarksOnlyWhatIsAcknowledged) {
  Add(kOne, "a");
  Add(kTwo, "b");
  outbox_->Pump(now_);
  RecordHeader none;
  EXPECT_FALSE(outbox_->WriteMark(&none));
  log_.DeliverOldest(kTwo);
  EXPECT_FALSE(outbox_->WriteMark(&none));
  outbox_->Pump(now_);
  const RecordHeader mark = Mark();
  ASSERT_EQ(mark.outbox_marks_size(), 1);
  EXPECT_EQ(mark.outbox_marks(0).target(), "tidegate.commands/1");
  EXPECT_EQ(mark.outbox_marks(0).out_seq(), 1u);
  EXPECT_EQ(outbox_->unmarked(), 1u);
  outbox_->ApplyMark(mark);
  EXPECT_EQ(outbox_->unmarked(), 0u);
  EXPECT_FALSE(outbox_->WriteMark(&none));
  EXPECT_EQ(outbox_->size(), 1u);
}

TEST_F(OutboxTest, ANewOwnerSendsFromTheMarkOn) {
  Add(kOne, "1");
  Add(kOne, "2");
  outbox_->Pump(now_);
  log_.DeliverAll();
  outbox_->Pump(now_);
  const RecordHeader mark = Mark();
  Restart(3, {mark});
  EXPECT_EQ(outbox_->size(), 1u);
  outbox_->Pump(now_);
  log_.DeliverAll();
  EXPECT_EQ(Sent(kOne), (std::vector<std::string>{"1=1", "2=2", "3=3"}));
}

TEST_F(OutboxTest, ANewOwnerSendsAllAgainWithoutAMark) {
  Add(kOne, "1");
  outbox_->Pump(now_);
  log_.DeliverAll();
  Restart(1);
  outbox_->Pump(now_);
  log_.DeliverAll();
  EXPECT_EQ(Sent(kOne), (std::vector<std::string>{"1=1", "1=1"}));
}

TEST_F(OutboxTest, AnOlderMarkTakesNothingBack) {
  Add(kOne, "1");
  outbox_->Pump(now_);
  log_.DeliverAll();
  outbox_->Pump(now_);
  const RecordHeader older = Mark();
  Add(kOne, "2");
  outbox_->Pump(now_);
  log_.DeliverAll();
  outbox_->Pump(now_);
  const RecordHeader newer = Mark();
  Restart(2, {newer, older});
  EXPECT_EQ(outbox_->size(), 0u);
  Add(kOne, "3");
  outbox_->Pump(now_);
  log_.DeliverAll();
  EXPECT_EQ(Sent(kOne).back(), "3=3");
}

TEST_F(OutboxTest, AFailedAppendGoesAgainInOrder) {
  for (int i = 1; i <= 3; ++i) Add(kOne, absl::StrCat(i));
  outbox_->Pump(now_);
  log_.FailNext(absl::InternalError("broker"), 2);
  outbox_->Pump(now_);
  log_.DeliverAll();
  outbox_->Pump(now_);
  EXPECT_EQ(Sent(kOne), (std::vector<std::string>{"1=1", "2=2", "1=1", "2=2", "3=3"}));
  EXPECT_EQ(outbox_->size(), 0u);
  EXPECT_TRUE(outbox_->failure().ok());
}

TEST_F(OutboxTest, AFullLogIsAskedAgainALittleLater) {
  log_.Append(kTwo, std::vector<log::Record>(2000), nullptr);
  Add(kOne, "a");
  outbox_->Pump(now_);
  outbox_->Pump(now_);
  EXPECT_FALSE(outbox_->Pump(now_)) << "asks in a loop";
  ASSERT_EQ(outbox_->RetryRawNs(), kFullLogRetryNs);
  log_.DeliverAll();
  now_.raw_ns = kFullLogRetryNs - 1;
  EXPECT_FALSE(outbox_->Pump(now_));
  now_.raw_ns = kFullLogRetryNs;
  EXPECT_TRUE(outbox_->Pump(now_));
  EXPECT_EQ(outbox_->RetryRawNs(), std::nullopt);
  log_.DeliverAll();
  EXPECT_EQ(Sent(kOne), std::vector<std::string>{"1=a"});
}

TEST_F(OutboxTest, WhatCanNeverBeSentIsAFailure) {
  Add(kOne, std::string(log::kRecordBytesMax + 1, 'x'));
  outbox_->Pump(now_);
  outbox_->Pump(now_);
  EXPECT_EQ(outbox_->failure().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(outbox_->Pump(now_)) << "asks in a loop";
}

TEST_F(OutboxTest, AnAppendMayEndAfterTheOutboxIsGone) {
  Add(kOne, "a");
  outbox_->Pump(now_);
  outbox_.reset();
  log_.FailNext(absl::InternalError("late"), 0);
  EXPECT_EQ(wakes_, 1);
}

}  // namespace
}  // namespace tidegate::runtime
