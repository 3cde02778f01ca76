#include "common/runtime/partition_runner.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/crash_point.h"
#include "common/base/log.h"
#include "common/core/header_codec.h"

namespace tidegate::runtime {

using ::tidegate::log::v1::Cover;
using ::tidegate::log::v1::RECORD_KIND_COVER;
using ::tidegate::log::v1::RECORD_KIND_DECISION;
using ::tidegate::log::v1::RECORD_KIND_FENCE;
using ::tidegate::log::v1::RECORD_KIND_OUTBOX_MARK;
using ::tidegate::log::v1::RecordHeader;
using ::tidegate::log::v1::RecordKind;

namespace {

constexpr size_t kJournalReadRecords = 2000;
constexpr size_t kJournalReadBytes = 4 << 20;
constexpr size_t kFoldPerTurn = 20'000;
constexpr size_t kQueriesPerTurn = 100;
constexpr int64_t kAskAgainNs = 5 * kNanosPerMilli;

// A store closed for good, or a record too large: another try would end the same way.
bool EndsThePartition(const absl::Status& append_error) {
  return absl::IsUnavailable(append_error) || absl::IsInvalidArgument(append_error);
}

// The crash points are about the journal that sends.
[[maybe_unused]] bool WritesLedger(const RunnerOptions& options) {
  return options.journal.topic == log::Topic::kLedger;
}

}  // namespace

// How the append under way ended. Outlives the runner while one is.
struct PartitionRunner::AppendResult {
  std::mutex mu;
  std::optional<absl::Status> status;
  uint64_t generation = 0;  // of the append that may report
};

// What was asked for last of the log: one answer per partition. Outlives the runner while some
// wait.
struct PartitionRunner::EndAnswers {
  std::mutex mu;
  uint64_t generation = 0;  // of the question that may be answered
  size_t waiting = 0;
  std::vector<uint64_t> ends;
  absl::Status status;
};

PartitionRunner::PartitionRunner(RunnerOptions options, log::Log* log, core::Core* core)
    : options_(std::move(options)),
      log_(log),
      core_(core),
      append_result_(std::make_shared<AppendResult>()),
      end_answers_(std::make_shared<EndAnswers>()),
      outbox_(log::Name(options_.journal), log, options_.wake) {
  for (const auto& input : options_.folded_inputs) {
    folded_.emplace_back(input.at, input.is_journal);
  }
  for (const auto& input : options_.decided_inputs) {
    decided_.emplace_back(input.at, input.is_journal);
  }
}

PartitionRunner::~PartitionRunner() { Stop(); }

void PartitionRunner::Stop() {
  if (state() != State::kFenced && state() != State::kFailed) {
    state_.store(State::kStopped, std::memory_order_release);
  }
  RefuseQueries(absl::UnavailableError("the partition stops; try again"));
}

absl::Status PartitionRunner::PostLocal(std::unique_ptr<core::LocalInput> input) {
  {
    std::lock_guard lock(mu_);
    if (state() != State::kLive && state() != State::kRecovering) {
      return absl::UnavailableError(
          absl::StrCat(log::Name(options_.journal), " has ended in this process"));
    }
    if (local_inputs_.size() >= options_.local_inputs_max) {
      return absl::ResourceExhaustedError("too many inputs wait for this partition");
    }
    local_inputs_.push_back(std::move(input));
  }
  options_.wake();
  return absl::OkStatus();
}

absl::Status PartitionRunner::PostQuery(Query query) const {
  {
    std::lock_guard lock(mu_);
    // Under the lock, so that Stop() cannot miss a query that was just put in.
    if (state() != State::kLive) {
      return absl::UnavailableError(
          absl::StrCat(log::Name(options_.journal), " is not ready; try again"));
    }
    if (queries_.size() >= options_.queries_max) {
      return absl::ResourceExhaustedError("too many queries wait for this partition");
    }
    queries_.push_back(std::move(query));
  }
  options_.wake();
  return absl::OkStatus();
}

absl::Status PartitionRunner::failure() const {
  std::lock_guard lock(mu_);
  return failure_;
}

void PartitionRunner::Fail(absl::Status status) {
  LogEvent(LogLevel::kError, "partition_failed",
           {{"journal", log::Name(options_.journal)}, {"status", status.ToString()}});
  {
    std::lock_guard lock(mu_);
    failure_ = std::move(status);
  }
  state_.store(State::kFailed, std::memory_order_release);
  RefuseQueries(absl::UnavailableError("the partition failed; see the log of the process"));
}

void PartitionRunner::RefuseQueries(const absl::Status& status) {
  std::deque<Query> queries;
  {
    std::lock_guard lock(mu_);
    queries.swap(queries_);
  }
  for (const Query& query : queries) query(status, Now{});
}

bool PartitionRunner::Turn(const Now& now) {
  next_wake_raw_ns_.reset();
  switch (state()) {
    case State::kRecovering:
      return Recover(now);
    case State::kLive: {
      const bool moved = RunLive(now);
      if (options_.after_turn && state() == State::kLive) options_.after_turn(now);
      // A batch that failed goes on at once with a new fence.
      return moved && (state() == State::kLive || state() == State::kRecovering);
    }
    case State::kFenced:
    case State::kFailed:
    case State::kStopped:
      return false;
  }
  return false;
}

// ---- Recovery ----

bool PartitionRunner::Recover(const Now& now) {
  std::vector<uint64_t> ends;
  switch (recovery_) {
    case Recovery::kAskJournalEnd:
      if (now.raw_ns < ask_not_before_raw_ns_) {
        WakeBy(ask_not_before_raw_ns_);
        return false;
      }
      recovery_ = Recovery::kAwaitJournalEnd;
      AskEnds({options_.journal});
      return true;
    case Recovery::kAwaitJournalEnd: {
      if (!TakeEnds(now, &ends)) return recovery_ != Recovery::kAwaitJournalEnd;
      journal_end_ = ends[0];
      std::vector<log::TopicPartition> inputs;
      for (const LogInput& input : folded_) inputs.push_back(input.at());
      recovery_ = Recovery::kAwaitInputEnds;
      AskEnds(inputs);
      return true;
    }
    case Recovery::kAwaitInputEnds:
      if (!TakeEnds(now, &ends)) return recovery_ != Recovery::kAwaitInputEnds;
      input_ends_ = std::move(ends);
      recovery_ = Recovery::kFoldInputs;
      return true;
    case Recovery::kFoldInputs: {
      const bool moved = FoldInputs(now);
      if (state() == State::kFailed) return false;
      if (!InputsFolded()) return moved;
      recovery_ = Recovery::kReadJournal;
      return true;
    }
    case Recovery::kReadJournal: {
      const bool moved = ReadJournal(journal_end_);
      if (state() != State::kRecovering) return false;
      if (journal_position_ < journal_end_) return moved;
      if (!fence_appended_) {
        recovery_ = Recovery::kAppendFence;
      } else if (filter_.epoch() == epoch_ && filter_.fence_token() == options_.fence_token) {
        BecomeLive(now);
      } else {
        AskAgainLater(now);  // the store knows our fence but does not show it yet
      }
      return true;
    }
    case Recovery::kAppendFence:
      if (now.raw_ns < fence_not_before_raw_ns_) {
        WakeBy(fence_not_before_raw_ns_);
        return false;
      }
      recovery_ = Recovery::kAwaitFence;
      AppendFence(now);
      return true;
    case Recovery::kAwaitFence:
      return FinishFence(now);
  }
  return false;
}

void PartitionRunner::AskEnds(const std::vector<log::TopicPartition>& of) {
  uint64_t generation;
  {
    std::lock_guard lock(end_answers_->mu);
    generation = ++end_answers_->generation;
    end_answers_->waiting = of.size();
    end_answers_->ends.assign(of.size(), 0);
    end_answers_->status = absl::OkStatus();
  }
  for (size_t i = 0; i < of.size(); ++i) {
    log_->QueryEnd(of[i], [answers = end_answers_, generation, i,
                           wake = options_.wake](absl::StatusOr<uint64_t> end) {
      {
        std::lock_guard lock(answers->mu);
        if (answers->generation != generation) return;
        if (end.ok()) {
          answers->ends[i] = *end;
        } else {
          answers->status = end.status();
        }
        if (--answers->waiting > 0) return;
      }
      wake();
    });
  }
}

// False: some answers are missing, or one was an error and everything is asked for again.
bool PartitionRunner::TakeEnds(const Now& now, std::vector<uint64_t>* ends) {
  std::lock_guard lock(end_answers_->mu);
  if (end_answers_->waiting > 0) return false;
  if (!end_answers_->status.ok()) {
    LogEvent(
        LogLevel::kWarning, "end_unknown",
        {{"journal", log::Name(options_.journal)}, {"status", end_answers_->status.ToString()}});
    AskAgainLater(now);
    return false;
  }
  *ends = end_answers_->ends;
  return true;
}

void PartitionRunner::AskAgainLater(const Now& now) {
  ask_not_before_raw_ns_ = now.raw_ns + kAskAgainNs;
  recovery_ = Recovery::kAskJournalEnd;
}

bool PartitionRunner::InputsFolded() const {
  for (size_t i = 0; i < folded_.size(); ++i) {
    if (folded_[i].position() < input_ends_[i]) return false;
  }
  return true;
}

void PartitionRunner::AppendFence(const Now& now) {
  epoch_ = filter_.epoch() + 1;
  fence_appended_ = true;
  RecordHeader header;
  header.set_kind(RECORD_KIND_FENCE);
  header.set_epoch(epoch_);
  header.set_decided_time_ns(now.wall_ns);
  auto* fence = header.mutable_fence();
  fence->set_owner(options_.owner);
  fence->set_boot_id(options_.boot_id);
  fence->set_wall_time_ns(now.wall_ns);
  fence->set_boot_time_ns(now.boot_ns);
  fence->set_raw_time_ns(now.raw_ns);
  fence->set_predecessor_dead(options_.predecessor_dead);
  fence->set_token(options_.fence_token);
  batch_.emplace();
  batch_->records.push_back({.key = "", .header = core::EncodeHeader(header), .value = ""});
  AppendBatch();
}

bool PartitionRunner::FinishFence(const Now& now) {
  std::optional<absl::Status> result;
  {
    std::lock_guard lock(append_result_->mu);
    result.swap(append_result_->status);
  }
  if (!result.has_value()) return false;
  batch_.reset();
  batch_under_way_ = false;
  recovery_ = Recovery::kAskJournalEnd;
  if (result->ok()) return true;
  if (EndsThePartition(*result)) {
    Fail(*result);
    return false;
  }
  TellAppendFailed(*result);
  fence_appended_ = false;
  if (absl::IsResourceExhausted(*result)) fence_not_before_raw_ns_ = now.raw_ns + kFullLogRetryNs;
  return true;
}

void PartitionRunner::BecomeLive(const Now& now) {
  batch_.reset();
  batch_under_way_ = false;
  {
    std::lock_guard lock(append_result_->mu);
    append_result_->status.reset();
    ++append_result_->generation;
  }
  for (LogInput& input : decided_) {
    input.Restore(AppliedCover(log::Name(input.at())));
    input.SetCaughtUp(now.raw_ns);
  }
  next_seq_ = filter_.seq() + 1;
  uncovered_inputs_ = 0;
  fence_appended_ = false;
  core_->EndBatch();
  state_.store(State::kLive, std::memory_order_release);
  LogEvent(LogLevel::kInfo, "partition_live",
           {{"journal", log::Name(options_.journal)},
            {"epoch", absl::StrCat(epoch_)},
            {"records", absl::StrCat(records_applied())}});
  core_->Release(now);
}

const Cover* PartitionRunner::AppliedCover(const std::string& input) const {
  for (const Cover& cover : applied_covers_) {
    if (cover.input() == input) return &cover;
  }
  return nullptr;
}

// ---- Reading ----

bool PartitionRunner::FoldInputs(const Now& now) {
  bool moved = false;
  for (LogInput& input : folded_) {
    for (size_t left = kFoldPerTurn; left > 0; --left) {
      auto item = input.Peek(log_);
      if (!item.ok()) {
        Fail(item.status());
        return false;
      }
      if (item->record == nullptr) {
        input.SetCaughtUp(now.raw_ns);
        break;
      }
      core_->Fold(input.at(), *item->record, *item->header);
      input.Take();
      moved = true;
    }
  }
  return moved;
}

bool PartitionRunner::ReadJournal(uint64_t until) {
  if (journal_position_ >= until) return false;
  if (absl::Status status =
          log_->Read(options_.journal, journal_position_,
                     std::min<uint64_t>(kJournalReadRecords, until - journal_position_),
                     kJournalReadBytes, &journal_scratch_);
      !status.ok()) {
    Fail(std::move(status));
    return false;
  }
  for (const log::StoredRecord& record : journal_scratch_) {
    TakeJournalRecord(record);
    if (state() == State::kFenced || state() == State::kFailed) return false;
  }
  read_position_.store(journal_position_, std::memory_order_relaxed);
  return !journal_scratch_.empty();
}

void PartitionRunner::TakeJournalRecord(const log::StoredRecord& record) {
  journal_position_ = record.offset + 1;
  auto header = core::DecodeHeader(record.record.header);
  if (!header.ok()) {
    // No owner wrote this, so it does not count.
    void_records_.fetch_add(1, std::memory_order_relaxed);
    LogEvent(LogLevel::kWarning, "journal_record_unreadable",
             {{"journal", log::Name(options_.journal)},
              {"offset", absl::StrCat(record.offset)},
              {"status", header.status().ToString()}});
    return;
  }
  switch (filter_.Admit(*header)) {
    case core::JournalFilter::Verdict::kFence:
      OnFence(*header);
      break;
    case core::JournalFilter::Verdict::kCounted:
      ApplyCounted(*header, record);
      break;
    case core::JournalFilter::Verdict::kVoid:
      void_records_.fetch_add(1, std::memory_order_relaxed);
      // The winner of an epoch raced for may be alive: it is not ours to raise the epoch over it.
      if (header->kind() == RECORD_KIND_FENCE && header->fence().token() == options_.fence_token &&
          header->epoch() == epoch_ && filter_.fence_token() != options_.fence_token) {
        state_.store(State::kFenced, std::memory_order_release);
      }
      break;
  }
  if (state() == State::kFenced) {
    RefuseQueries(absl::UnavailableError("another process owns the partition now"));
    LogEvent(LogLevel::kError, "partition_fenced",
             {{"journal", log::Name(options_.journal)}, {"epoch", absl::StrCat(filter_.epoch())}});
  }
}

void PartitionRunner::OnFence(const RecordHeader& header) {
  fences_.fetch_add(1, std::memory_order_relaxed);
  const bool ours = header.fence().token() == options_.fence_token;
  const bool own_epoch_began = epoch_ != 0 && header.epoch() >= epoch_;
  if (!ours && own_epoch_began) {
#if TIDEGATE_MUTANT != 21
    state_.store(State::kFenced, std::memory_order_release);
    return;
#endif
  }
  core_->ApplyFence(header.fence(), header.epoch());
}

void PartitionRunner::ApplyCounted(const RecordHeader& header, const log::StoredRecord& record) {
  records_applied_.fetch_add(1, std::memory_order_relaxed);
  if (header.covers_size() > 0)
    applied_covers_.assign(header.covers().begin(), header.covers().end());
  if (header.kind() == RECORD_KIND_OUTBOX_MARK) outbox_.ApplyMark(header);
  if (header.kind() != RECORD_KIND_DECISION) return;
  const core::ApplyContext context{
      .epoch = header.epoch(),
      .seq = header.seq(),
      .offset = record.offset,
      .decided_time_ns = header.decided_time_ns(),
      .live = state() == State::kLive && header.epoch() == epoch_,
  };
  TIDEGATE_CRASH_POINT_IF(context.live && WritesLedger(options_), "P3");
  outbox_scratch_.clear();
  core_->Apply(record.record.key, record.record.value, context, &outbox_scratch_);
#if TIDEGATE_MUTANT == 13
  if (!context.live) outbox_scratch_.clear();
#endif
  for (core::OutboxRecord& out : outbox_scratch_) outbox_.Add(std::move(out));
}

// ---- Live ----

bool PartitionRunner::RunLive(const Now& now) {
  bool moved = ReadJournal(UINT64_MAX);
  if (state() != State::kLive) return false;
  moved |= FinishBatch(now);
  if (state() != State::kLive) return moved;
  moved |= FoldInputs(now);
  if (state() != State::kLive) return false;
  moved |= outbox_.Pump(now);
  if (!outbox_.failure().ok()) {
    Fail(outbox_.failure());
    return false;
  }
  moved |= RunQueries(now);
  if (!batch_under_way_) {
    FillBatch(now);
    if (state() != State::kLive) return false;
    if (!batch_->records.empty()) {
      TIDEGATE_CRASH_POINT_IF(WritesLedger(options_), "P1");
#if TIDEGATE_MUTANT == 2
      core_->Release(now);
#endif
      AppendBatch();
      TIDEGATE_CRASH_POINT_IF(WritesLedger(options_), "P2");
      moved = true;
    }
  }
  if (const auto at = outbox_.RetryRawNs()) WakeBy(*at);
  outbox_records_.store(outbox_.size(), std::memory_order_relaxed);
  return moved;
}

bool PartitionRunner::FinishBatch(const Now& now) {
  if (!batch_under_way_) return false;
  std::optional<absl::Status> result;
  {
    std::lock_guard lock(append_result_->mu);
    result = append_result_->status;
  }
  if (result.has_value() && !result->ok()) {
    if (EndsThePartition(*result)) {
      Fail(*result);  // the process starts again
      return true;
    }
    TellAppendFailed(*result);
    VoidBatch();
    return true;
  }
  if (!result.has_value() || filter_.seq() < batch_->last_seq) return false;
  batch_under_way_ = false;
  core_->EndBatch();
  TIDEGATE_CRASH_POINT_IF(WritesLedger(options_), "P4");
  core_->Release(now);
  return true;
}

void PartitionRunner::TellAppendFailed(const absl::Status& status) const {
  LogEvent(LogLevel::kWarning, "append_failed",
           {{"journal", log::Name(options_.journal)}, {"status", status.ToString()}});
}

// What was appended may or may not be there: only a new fence tells.
void PartitionRunner::VoidBatch() {
  core_->EndBatch();
  batch_.reset();
  batch_under_way_ = false;
  {
    std::lock_guard lock(append_result_->mu);
    append_result_->status.reset();
    ++append_result_->generation;
  }
  recovery_ = Recovery::kAskJournalEnd;
  state_.store(State::kRecovering, std::memory_order_release);
}

bool PartitionRunner::RunQueries(const Now& now) {
  std::vector<Query> queries;
  {
    std::lock_guard lock(mu_);
    while (!queries_.empty() && queries.size() < kQueriesPerTurn) {
      queries.push_back(std::move(queries_.front()));
      queries_.pop_front();
    }
  }
  for (const Query& query : queries) query(absl::OkStatus(), now);
  return !queries.empty();
}

bool PartitionRunner::BatchFull() const {
  return batch_->records.size() >= options_.batch_records_max ||
         batch_->bytes >= options_.batch_bytes_max;
}

void PartitionRunner::WakeBy(int64_t raw_ns) {
  next_wake_raw_ns_ = std::min(next_wake_raw_ns_.value_or(raw_ns), raw_ns);
}

void PartitionRunner::FillBatch(const Now& now) {
  batch_.emplace();
  DecideLocalInputs(now);
  if (outbox_.size() < options_.outbox_records_max) {
    DecideLogInputs(now);
    if (state() != State::kLive) return;
    DecideTicks(now);
  }
  AddMarkAndCover(now);
}

void PartitionRunner::DecideLocalInputs(const Now& now) {
  while (!BatchFull()) {
    std::unique_ptr<core::LocalInput> local;
    {
      std::lock_guard lock(mu_);
      if (local_inputs_.empty()) return;
      local = std::move(local_inputs_.front());
      local_inputs_.pop_front();
    }
    auto decision = core_->Decide({.local = local.get()}, now);
    if (decision.has_value()) AddRecord(RECORD_KIND_DECISION, std::move(*decision), now, {});
  }
}

void PartitionRunner::DecideLogInputs(const Now& now) {
  for (LogInput& input : decided_) {
    while (!BatchFull()) {
      const uint64_t before = input.position();
      auto item = input.Peek(log_);
      // A repeat of an outbox was skipped: it is read, and whoever waits for its cover must get it.
      if (input.position() != before && uncovered_inputs_++ == 0) {
        uncovered_since_raw_ns_ = now.raw_ns;
      }
      if (!item.ok()) {
        Fail(item.status());
        return;
      }
      if (item->record == nullptr) {
        input.SetCaughtUp(now.raw_ns);
        break;
      }
      const core::Input decided{.record = item->record, .from = input.at()};
      if (!core_->Ready(decided)) break;
      auto decision = core_->Decide(decided, now);
      input.Take();
      inputs_taken_.fetch_add(1, std::memory_order_relaxed);
      if (uncovered_inputs_++ == 0) uncovered_since_raw_ns_ = now.raw_ns;
#if TIDEGATE_MUTANT == 3
      if (decision.has_value()) AddRecord(RECORD_KIND_COVER, {}, now, {});
#endif
      if (decision.has_value()) AddRecord(RECORD_KIND_DECISION, std::move(*decision), now, {});
    }
  }
}

uint64_t PartitionRunner::FoldedPosition(log::TopicPartition at) const {
  for (const LogInput& input : folded_) {
    if (input.at() == at) return input.position();
  }
  return 0;
}

std::vector<PartitionRunner::InputProgress> PartitionRunner::input_progress() const {
  std::vector<InputProgress> all;
  for (const std::deque<LogInput>* inputs : {&folded_, &decided_}) {
    for (const LogInput& input : *inputs) {
      const uint64_t position = input.position();
      all.push_back({.at = input.at(),
                     .left = std::max(log_->End(input.at()), position) - position,
                     .caught_up_raw_ns = input.caught_up_raw_ns()});
    }
  }
  return all;
}

void PartitionRunner::DecideTicks(const Now& now) {
  while (!BatchFull()) {
    auto decision = core_->Decide({}, now);
    if (!decision.has_value()) {
      next_wake_raw_ns_ = core_->NextTickRawNs(now);
      return;
    }
    AddRecord(RECORD_KIND_DECISION, std::move(*decision), now, {});
  }
}

void PartitionRunner::AddMarkAndCover(const Now& now) {
  const auto due = [&](int64_t since, int64_t after) {
    const int64_t at = since + after;
    if (now.raw_ns >= at) return true;
    WakeBy(at);
    return false;
  };
  if (outbox_.unmarked() == 0) {
    unmarked_since_raw_ns_ = now.raw_ns;
  } else if (outbox_.unmarked() >= options_.mark_records_max ||
             due(unmarked_since_raw_ns_, options_.mark_after_ns)) {
    RecordHeader header;
    if (outbox_.WriteMark(&header)) AddRecord(RECORD_KIND_OUTBOX_MARK, {}, now, std::move(header));
    unmarked_since_raw_ns_ = now.raw_ns;
  }
  if (uncovered_inputs_ > 0 && (uncovered_inputs_ >= options_.cover_inputs_max ||
                                due(uncovered_since_raw_ns_, options_.cover_after_ns))) {
    AddRecord(RECORD_KIND_COVER, {}, now, {});
  }
}

void PartitionRunner::AddRecord(RecordKind kind, core::Decision decision, const Now& now,
                                RecordHeader header) {
  header.set_kind(kind);
  header.set_epoch(epoch_);
  header.set_seq(next_seq_ + batch_->records.size());
  header.set_decided_time_ns(now.wall_ns);
  for (const LogInput& input : decided_) input.WriteTo(header.add_covers());
  uncovered_inputs_ = 0;
  batch_->last_seq = header.seq();
  batch_->records.push_back({.key = std::move(decision.key),
                             .header = core::EncodeHeader(header),
                             .value = std::move(decision.value)});
  const log::Record& record = batch_->records.back();
  batch_->bytes += record.key.size() + record.header.size() + record.value.size();
}

void PartitionRunner::AppendBatch() {
  next_seq_ += batch_->records.size();
  batch_under_way_ = true;
  uint64_t generation;
  {
    std::lock_guard lock(append_result_->mu);
    append_result_->status.reset();
    generation = ++append_result_->generation;
  }
  log_->Append(options_.journal, std::move(batch_->records),
               [result = append_result_, generation, wake = options_.wake](absl::Status status) {
                 {
                   std::lock_guard lock(result->mu);
                   if (result->generation == generation) result->status = std::move(status);
                 }
                 wake();
               });
}

}  // namespace tidegate::runtime
