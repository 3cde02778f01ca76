#include "common/runtime/log_input.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "common/core/header_codec.h"
#include "common/log/memory_log.h"

namespace tidegate::runtime {
namespace {

using ::tidegate::log::v1::Cover;
using ::tidegate::log::v1::RECORD_KIND_DECISION;
using ::tidegate::log::v1::RECORD_KIND_FENCE;
using ::tidegate::log::v1::RecordHeader;

constexpr log::TopicPartition kAt{log::Topic::kProfiles, 2};

class LogInputTest : public ::testing::Test {
 protected:
  void Put(const std::string& value, const RecordHeader& header = {}) {
    log_.InjectRaw(kAt, {.key = "k", .header = core::EncodeHeader(header), .value = value});
  }
  void PutFence(uint64_t epoch) {
    RecordHeader header;
    header.set_kind(RECORD_KIND_FENCE);
    header.set_epoch(epoch);
    Put("", header);
  }
  void PutDecision(uint64_t epoch, uint64_t seq, const std::string& value) {
    RecordHeader header;
    header.set_kind(RECORD_KIND_DECISION);
    header.set_epoch(epoch);
    header.set_seq(seq);
    Put(value, header);
  }
  void PutFrom(const std::string& journal, uint64_t out_seq, const std::string& value) {
    RecordHeader header;
    header.mutable_source()->set_journal(journal);
    header.mutable_source()->set_out_seq(out_seq);
    Put(value, header);
  }
  // Takes all there is.
  std::vector<std::string> TakeAll(LogInput& input) {
    std::vector<std::string> values;
    while (true) {
      const auto item = input.Peek(&log_);
      EXPECT_TRUE(item.ok()) << item.status();
      if (!item.ok() || item->record == nullptr) return values;
      values.push_back(item->record->record.value);
      input.Take();
    }
  }
  static Cover CoverOf(const LogInput& input) {
    Cover cover;
    input.WriteTo(&cover);
    return cover;
  }

  log::MemoryLog log_;
};

TEST_F(LogInputTest, ARecordStaysTheNextOneUntilItIsTaken) {
  Put("a");
  Put("b");
  LogInput input(kAt, false);
  EXPECT_EQ(input.Peek(&log_)->record->record.value, "a");
  EXPECT_EQ(input.Peek(&log_)->record->record.value, "a");
  EXPECT_EQ(input.position(), 0u);
  input.Take();
  EXPECT_EQ(input.position(), 1u);
  EXPECT_EQ(input.Peek(&log_)->record->record.value, "b");
}

TEST_F(LogInputTest, ContinuesFromItsCover) {
  Put("a");
  Put("b");
  LogInput input(kAt, false);
  ASSERT_TRUE(input.Peek(&log_).ok());
  input.Take();
  const Cover cover = CoverOf(input);
  EXPECT_EQ(cover.input(), "tidegate.profiles/2");
  LogInput next(kAt, false);
  next.Restore(&cover);
  EXPECT_EQ(TakeAll(next), std::vector<std::string>{"b"});
  next.Restore(nullptr);
  EXPECT_EQ(TakeAll(next), (std::vector<std::string>{"a", "b"}));
}

TEST_F(LogInputTest, OfAJournalOnlyCountedRecordsCome) {
  PutDecision(1, 1, "before any fence");
  PutFence(1);
  PutDecision(1, 1, "a");
  PutDecision(1, 1, "repeat");
  PutDecision(1, 3, "gap");
  PutFence(2);
  PutDecision(1, 2, "zombie");
  PutDecision(2, 2, "b");
  LogInput input(kAt, true);
  EXPECT_EQ(TakeAll(input), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(input.position(), 8u);
}

TEST_F(LogInputTest, OfAJournalContinuesWithItsEpochAndSeq) {
  PutFence(1);
  PutDecision(1, 1, "a");
  PutDecision(1, 2, "b");
  LogInput input(kAt, true);
  ASSERT_TRUE(input.Peek(&log_).ok());
  input.Take();
  const Cover cover = CoverOf(input);
  EXPECT_EQ(cover.epoch(), 1u);
  EXPECT_EQ(cover.seq(), 1u);

  LogInput next(kAt, true);
  next.Restore(&cover);
  EXPECT_EQ(TakeAll(next), std::vector<std::string>{"b"});
  // Going back after a void batch.
  ASSERT_EQ(TakeAll(input), std::vector<std::string>{"b"});
  input.Restore(&cover);
  EXPECT_EQ(TakeAll(input), std::vector<std::string>{"b"});
  input.Restore(nullptr);
  EXPECT_EQ(TakeAll(input), (std::vector<std::string>{"a", "b"}));
}

// The head is looked at and held back: a cover must not count it as read.
TEST_F(LogInputTest, ACoverDoesNotRunAheadOfAHeadThatWaits) {
  PutFence(1);
  PutDecision(1, 1, "a");
  PutFence(2);
  PutDecision(2, 2, "b");
  LogInput input(kAt, true);
  ASSERT_TRUE(input.Peek(&log_).ok());
  input.Take();
  ASSERT_EQ(input.Peek(&log_)->record->record.value, "b");
  const Cover cover = CoverOf(input);
  EXPECT_EQ(cover.position(), 3u);
  LogInput next(kAt, true);
  next.Restore(&cover);
  EXPECT_EQ(TakeAll(next), std::vector<std::string>{"b"});
}

TEST_F(LogInputTest, DropsRepeatsOfASourceAndStopsAtAGap) {
  PutFrom("j/0", 1, "a");
  PutFrom("j/0", 1, "a");
  PutFrom("j/1", 1, "b");
  PutFrom("j/0", 3, "c");
  LogInput input(kAt, false);
  for (const char* expected : {"a", "b"}) {
    ASSERT_EQ(input.Peek(&log_)->record->record.value, expected);
    input.Take();
  }
  EXPECT_EQ(input.Peek(&log_).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(input.Peek(&log_).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(input.position(), 3u);
}

// Whoever can write to the topic must not end the partition with it: the core decides.
TEST_F(LogInputTest, HandsOverWhatHasAnUnreadableHeaderAsOfNoSource) {
  PutFrom("j/0", 1, "a");
  log_.InjectRaw(kAt, {.key = "", .header = "\xff\xff", .value = "poison"});
  PutFrom("j/0", 2, "b");
  LogInput input(kAt, false);
  ASSERT_EQ(input.Peek(&log_)->record->record.value, "a");
  input.Take();
  const auto poison = input.Peek(&log_);
  ASSERT_TRUE(poison.ok()) << poison.status();
  EXPECT_EQ(poison->record->record.value, "poison");
  EXPECT_EQ(poison->record->record.header, "\xff\xff");
  EXPECT_FALSE(poison->header->has_source());
  input.Take();
  EXPECT_EQ(TakeAll(input), std::vector<std::string>{"b"});
  EXPECT_EQ(CoverOf(input).position(), 3u);
  EXPECT_EQ(CoverOf(input).sources(0).out_seq(), 2u);
}

TEST_F(LogInputTest, OfAJournalAnUnreadableHeaderDoesNotCount) {
  PutFence(1);
  PutDecision(1, 1, "a");
  log_.InjectRaw(kAt, {.key = "", .header = "\xff\xff", .value = "poison"});
  PutDecision(1, 2, "b");
  LogInput input(kAt, true);
  EXPECT_EQ(TakeAll(input), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(input.position(), 4u);
}

}  // namespace
}  // namespace tidegate::runtime
