#include <gtest/gtest.h>

#include <vector>

#include "common/core/journal_filter.h"
#include "common/core/source_filter.h"

namespace tidegate::core {
namespace {

using ::tidegate::log::v1::Cover;
using ::tidegate::log::v1::RECORD_KIND_DECISION;
using ::tidegate::log::v1::RECORD_KIND_FENCE;
using ::tidegate::log::v1::RecordHeader;
using Verdict = JournalFilter::Verdict;

RecordHeader Fence(uint64_t epoch, const char* token) {
  RecordHeader header;
  header.set_kind(RECORD_KIND_FENCE);
  header.set_epoch(epoch);
  header.mutable_fence()->set_token(token);
  return header;
}

RecordHeader Decision(uint64_t epoch, uint64_t seq) {
  RecordHeader header;
  header.set_kind(RECORD_KIND_DECISION);
  header.set_epoch(epoch);
  header.set_seq(seq);
  return header;
}

TEST(JournalFilterTest, CountsOnlyWhatTheValidityRuleAllows) {
  struct Row {
    const char* what;
    RecordHeader header;
    Verdict expected;
  };
  const std::vector<Row> rows = {
      {"a record before any fence", Decision(1, 1), Verdict::kVoid},
      {"the first fence", Fence(1, "a"), Verdict::kFence},
      {"its first record", Decision(1, 1), Verdict::kCounted},
      {"a repeat", Decision(1, 1), Verdict::kVoid},
      {"a gap", Decision(1, 3), Verdict::kVoid},
      {"the next after the gap", Decision(1, 2), Verdict::kCounted},
      {"a second fence of the epoch", Fence(1, "b"), Verdict::kVoid},
      {"a newer fence", Fence(3, "c"), Verdict::kFence},
      {"an older fence afterwards", Fence(2, "d"), Verdict::kVoid},
      {"a zombie's next record", Decision(1, 3), Verdict::kVoid},
      {"an epoch that nobody began", Decision(2, 3), Verdict::kVoid},
      {"a later epoch without its fence", Decision(4, 3), Verdict::kVoid},
      {"seq runs on across epochs", Decision(3, 3), Verdict::kCounted},
      {"a record of no kind", RecordHeader(), Verdict::kVoid},
  };
  JournalFilter filter;
  for (const Row& row : rows) EXPECT_EQ(filter.Admit(row.header), row.expected) << row.what;
  EXPECT_EQ(filter.epoch(), 3u);
  EXPECT_EQ(filter.seq(), 3u);
  EXPECT_EQ(filter.fence_token(), "c");
}

TEST(JournalFilterTest, ContinuesWhereItStopped) {
  JournalFilter filter;
  filter.Restore(2, 5);
  EXPECT_EQ(filter.Admit(Decision(2, 5)), Verdict::kVoid);
  EXPECT_EQ(filter.Admit(Fence(2, "a")), Verdict::kVoid);
  EXPECT_EQ(filter.Admit(Decision(2, 6)), Verdict::kCounted);
  EXPECT_EQ(filter.Admit(Fence(3, "b")), Verdict::kFence);
  EXPECT_EQ(filter.Admit(Decision(3, 7)), Verdict::kCounted);
}

RecordHeader From(const char* journal, uint64_t out_seq) {
  RecordHeader header;
  header.mutable_source()->set_journal(journal);
  header.mutable_source()->set_out_seq(out_seq);
  return header;
}

TEST(SourceFilterTest, TakesOnlyTheNextOfEachSource) {
  SourceFilter filter;
  const auto take = [&](const RecordHeader& header) {
    const auto verdict = filter.Judge(header);
    if (verdict == SourceFilter::Verdict::kTake) filter.Take(header);
    return verdict;
  };
  EXPECT_EQ(take(RecordHeader()), SourceFilter::Verdict::kTake);
  EXPECT_EQ(take(From("a", 1)), SourceFilter::Verdict::kTake);
  EXPECT_EQ(take(From("a", 1)), SourceFilter::Verdict::kRepeat);
  EXPECT_EQ(take(From("b", 1)), SourceFilter::Verdict::kTake);
  EXPECT_EQ(take(From("a", 3)), SourceFilter::Verdict::kGap);
  EXPECT_EQ(take(From("a", 2)), SourceFilter::Verdict::kTake);
}

TEST(SourceFilterTest, JudgingDoesNotTake) {
  SourceFilter filter;
  EXPECT_EQ(filter.Judge(From("a", 1)), SourceFilter::Verdict::kTake);
  Cover cover;
  filter.WriteTo(&cover);
  EXPECT_EQ(cover.sources_size(), 0);
}

TEST(SourceFilterTest, ContinuesFromACover) {
  SourceFilter filter;
  filter.Take(From("a", 1));
  Cover cover;
  filter.WriteTo(&cover);
  SourceFilter restored;
  restored.Restore(cover);
  EXPECT_EQ(restored.Judge(From("a", 1)), SourceFilter::Verdict::kRepeat);
  EXPECT_EQ(restored.Judge(From("a", 2)), SourceFilter::Verdict::kTake);
}

}  // namespace
}  // namespace tidegate::core
