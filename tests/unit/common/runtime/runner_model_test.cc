// Random schedules with everything a core can do (a folded input that holds others back, sources
// that repeat, local inputs, ticks, two outbox targets), against a model: what the journal counts
// is each input once and in order, and all else follows from what it counts.
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/seeded_random.h"
#include "common/core/header_codec.h"
#include "common/core/journal_filter.h"
#include "common/core/source_filter.h"
#include "common/log/memory_log.h"
#include "common/runtime/partition_runner.h"

namespace tidegate::runtime {
namespace {

using ::tidegate::log::v1::RECORD_KIND_DECISION;
using ::tidegate::log::v1::RecordHeader;
using State = PartitionRunner::State;

constexpr log::TopicPartition kJournal{log::Topic::kLedger, 0};
constexpr log::TopicPartition kInput{log::Topic::kEvents, 0};
constexpr log::TopicPartition kFolded{log::Topic::kDefinitions, 0};
constexpr log::TopicPartition kTargets[] = {{log::Topic::kCommands, 0}, {log::Topic::kCommands, 1}};
constexpr int kSeeds = 500;
constexpr int kSteps = 400;
constexpr int kKeys = 4;
constexpr int64_t kTickEveryNs = 400 * kNanosPerMilli;

// Every fifth event needs no record; every seventh waits until as many records were folded.
bool NeedsRecord(int id) { return id % 5 != 0; }
size_t FoldsNeeded(int id) { return id % 7 == 0 ? static_cast<size_t>(id / 7) : 0; }

// What other services must hear of a decision.
void Tell(const std::string& key, const std::string& value,
          std::vector<core::OutboxRecord>* outbox) {
  int number = 0;
  if (key == "tick") {
    for (const char* part : {"a", "b"}) {
      outbox->push_back({.target = kTargets[1], .key = key, .value = absl::StrCat(value, part)});
    }
  } else if (absl::SimpleAtoi(std::string(value.substr(0, value.find(' '))), &number)) {
    outbox->push_back({.target = kTargets[0], .key = key, .value = value});
    if (number % 3 == 0) outbox->push_back({.target = kTargets[1], .key = key, .value = value});
  }
}

struct Local : core::LocalInput {
  int number = 0;
};

// Seq and value of what some owner released.
using Releases = std::vector<std::pair<uint64_t, std::string>>;

// Decisions: key of the event, "id nth-of-its-key"; "local", "number"; "tick", "nth".
class ModelCore : public core::Core {
 public:
  explicit ModelCore(Releases* releases) : releases_(releases) {}

  void Fold(log::TopicPartition, const log::StoredRecord&, const RecordHeader&) override {
    ++folded_;
  }
  bool Ready(const core::Input& input) override {
    return folded_ >= FoldsNeeded(Id(input.record->record.value));
  }
  std::optional<core::Decision> Decide(const core::Input& input, const Now& now) override {
    if (input.local != nullptr) {
      return core::Decision{"local", absl::StrCat(dynamic_cast<const Local*>(input.local)->number)};
    }
    if (input.record == nullptr) {
      if (tick_pending_ || now.raw_ns < next_tick_raw_ns_) return std::nullopt;
      tick_pending_ = true;
      return core::Decision{"tick", absl::StrCat(ticks_ + 1)};
    }
    const int id = Id(input.record->record.value);
    if (!NeedsRecord(id)) return std::nullopt;
    const std::string& key = input.record->record.key;
    const int nth = counts_[key] + ++pending_[key];
    return core::Decision{key, absl::StrCat(id, " ", nth)};
  }
  void Apply(absl::string_view key, absl::string_view value, const core::ApplyContext& context,
             std::vector<core::OutboxRecord>* outbox) override {
    if (key == "tick") {
      ++ticks_;
      next_tick_raw_ns_ = context.decided_time_ns + kTickEveryNs;
    } else if (key != "local") {
      ++counts_[std::string(key)];
    }
    if (context.live) to_release_.emplace_back(context.seq, absl::StrCat(key, " ", value));
    Tell(std::string(key), std::string(value), outbox);
  }
  void ApplyFence(const ::tidegate::log::v1::Fence&, uint64_t) override { to_release_.clear(); }
  void EndBatch() override {
    pending_.clear();
    tick_pending_ = false;
  }
  void Release(const Now&) override {
    releases_->insert(releases_->end(), to_release_.begin(), to_release_.end());
    to_release_.clear();
  }
  std::optional<int64_t> NextTickRawNs(const Now&) override { return next_tick_raw_ns_; }

 private:
  static int Id(const std::string& value) {
    int id = 0;
    EXPECT_TRUE(absl::SimpleAtoi(value, &id)) << value;
    return id;
  }

  Releases* const releases_;
  size_t folded_ = 0;
  std::map<std::string, int> counts_;
  std::map<std::string, int> pending_;
  int ticks_ = 0;
  int64_t next_tick_raw_ns_ = 0;
  bool tick_pending_ = false;
  Releases to_release_;
};

struct Process {
  Process(log::MemoryLog* log, Releases* releases, const std::string& token) : core(releases) {
    RunnerOptions options;
    options.journal = kJournal;
    options.folded_inputs = {{.at = kFolded}};
    options.decided_inputs = {{.at = kInput}};
    options.fence_token = token;
    options.batch_records_max = 6;
    options.outbox_records_max = 20;
    options.cover_inputs_max = 3;
    options.mark_records_max = 4;
    options.wake = [] {};
    runner = std::make_unique<PartitionRunner>(std::move(options), log, &core);
  }
  ModelCore core;
  std::unique_ptr<PartitionRunner> runner;
};

class Schedule {
 public:
  explicit Schedule(uint64_t seed) : random_(seed) { process_ = Start(); }

  void Run() {
    for (int step = 0; step < kSteps; ++step) {
      Pass(static_cast<int64_t>(random_.Below(40)) * kNanosPerMilli);
      Step();
      ASSERT_NE(process_->runner->state(), State::kFailed) << process_->runner->failure();
      // The loser of a race for an epoch ends; its supervisor starts it again.
      if (process_->runner->state() == State::kFenced) process_ = Start();
    }
    // Faults are over: all that waits for something folded gets it.
    for (int id = 0; id <= last_id_; id += 7) log_.InjectRaw(kFolded, {});
    for (int quiet = 0; quiet < 100;) {
      Pass(20 * kNanosPerMilli);
      process_->runner->Turn(now_);
      for (auto& zombie : zombies_) zombie->runner->Turn(now_);
      log_.DeliverAll();
      if (process_->runner->state() == State::kFenced) process_ = Start();
      // Ticks go on for ever; what else there is must end.
      quiet = process_->runner->inputs_taken() == inputs_seen_ ? quiet + 1 : 0;
      inputs_seen_ = process_->runner->inputs_taken();
    }
    ASSERT_EQ(process_->runner->state(), State::kLive);
    Check();
  }

 private:
  std::unique_ptr<Process> Start() {
    inputs_seen_ = 0;
    return std::make_unique<Process>(&log_, &releases_, absl::StrCat("t", ++tokens_));
  }
  void Pass(int64_t ns) {
    now_.wall_ns += ns;
    now_.raw_ns += ns;
  }

  void Step() {
    switch (random_.Below(20)) {
      case 0:
      case 1:
      case 2:
      case 3:
        PublishEvent();
        break;
      case 4:
        log_.InjectRaw(kFolded, {});
        break;
      case 5: {
        auto local = std::make_unique<Local>();
        local->number = ++last_local_;
        (void)process_->runner->PostLocal(std::move(local));
        break;
      }
      case 6:
        log_.FailNext(absl::InternalError("fault"), random_.Below(4));
        break;
      case 7:
        log_.FailNext(absl::ResourceExhaustedError("full"), 0);
        break;
      case 8:
        log_.DuplicateNext();
        break;
      case 9:
        // Only journals can bear a gap: elsewhere the log keeps a prefix.
        log_.GapNext(random_.Below(3), absl::InternalError("torn"), kJournal);
        break;
      case 10:  // a kill
        process_.reset();
        if (random_.Chance(0.5)) log_.Deliver(random_.Below(3));
        log_.CrashDropPending();
        process_ = Start();
        break;
      case 11:  // a takeover while the former owner lives on
        if (random_.Chance(0.3)) {
          zombies_.push_back(std::move(process_));
          process_ = Start();
        }
        break;
      case 12:
        for (auto& zombie : zombies_) zombie->runner->Turn(now_);
        break;
      case 13:
        InjectStaleRecord();
        break;
      default:
        process_->runner->Turn(now_);
        if (random_.Chance(0.6)) log_.Deliver(1 + random_.Below(2));
        break;
    }
  }

  // From an edge, or from one of two journals that send some records twice.
  void PublishEvent() {
    const int id = ++last_id_;
    RecordHeader header;
    const uint64_t source = random_.Below(3);
    if (source > 0) {
      header.mutable_source()->set_journal(absl::StrCat("source/", source));
      header.mutable_source()->set_out_seq(++out_seqs_[source]);
    }
    const log::Record record{.key = absl::StrCat("k", random_.Below(kKeys)),
                             .header = core::EncodeHeader(header),
                             .value = absl::StrCat(id)};
    events_.emplace_back(id, record.key);
    log_.InjectRaw(kInput, record);
    if (source > 0 && random_.Chance(0.3)) log_.InjectRaw(kInput, record);
  }

  // A former owner's produce that was under way for long.
  void InjectStaleRecord() {
    core::JournalFilter filter;
    (void)Counted(&filter);
    if (filter.epoch() < 2) return;
    RecordHeader header;
    header.set_kind(RECORD_KIND_DECISION);
    header.set_epoch(1 + random_.Below(filter.epoch() - 1));
    header.set_seq(filter.seq() + random_.Below(3));
    log_.InjectRaw(kJournal,
                   {.key = "k0", .header = core::EncodeHeader(header), .value = "999999 1"});
  }

  // Key, value and seq of the decisions that count.
  struct Entry {
    std::string key;
    std::string value;
    uint64_t seq;
  };
  std::vector<Entry> Counted(core::JournalFilter* filter) {
    std::vector<log::StoredRecord> records;
    EXPECT_TRUE(log_.Read(kJournal, 0, 1'000'000, 1 << 30, &records).ok());
    std::vector<Entry> counted;
    for (const auto& record : records) {
      const auto header = *core::DecodeHeader(record.record.header);
      if (filter->Admit(header) == core::JournalFilter::Verdict::kCounted &&
          header.kind() == RECORD_KIND_DECISION) {
        counted.push_back({record.record.key, record.record.value, header.seq()});
      }
    }
    return counted;
  }

  void Check() {
    core::JournalFilter filter;
    const std::vector<Entry> counted = Counted(&filter);

    std::vector<std::string> expected_events;
    std::map<std::string, int> nth;
    for (const auto& [id, key] : events_) {
      if (NeedsRecord(id)) {
        expected_events.push_back(absl::StrCat(key, " ", id, " ", ++nth[key]));
      }
    }
    std::vector<std::string> events;
    std::set<std::string> locals;
    int ticks = 0;
    std::map<uint64_t, std::string> by_seq;
    std::vector<core::OutboxRecord> told;
    for (const Entry& entry : counted) {
      by_seq[entry.seq] = absl::StrCat(entry.key, " ", entry.value);
      Tell(entry.key, entry.value, &told);
      if (entry.key == "tick") {
        EXPECT_EQ(entry.value, absl::StrCat(++ticks));
      } else if (entry.key == "local") {
        EXPECT_TRUE(locals.insert(entry.value).second) << "local input " << entry.value << " twice";
      } else {
        events.push_back(by_seq[entry.seq]);
      }
    }
    EXPECT_EQ(events, expected_events);
    EXPECT_GT(ticks, 0);

    std::set<uint64_t> released;
    for (const auto& [seq, value] : releases_) {
      EXPECT_TRUE(released.insert(seq).second) << "seq " << seq << " released twice";
      EXPECT_EQ(value, by_seq[seq]) << "released, but does not count";
    }

    for (const auto& target : kTargets) {
      std::vector<std::string> expected;
      for (const auto& record : told) {
        if (record.target == target)
          expected.push_back(absl::StrCat(record.key, " ", record.value));
      }
      std::vector<std::string> heard = Hear(target);
      // The newest ticks may still be on their way.
      ASSERT_LE(heard.size(), expected.size());
      EXPECT_LE(expected.size() - heard.size(), 2 * kTicksUnderWayMax);
      expected.resize(heard.size());
      EXPECT_EQ(heard, expected) << log::Name(target);
    }
  }

  std::vector<std::string> Hear(log::TopicPartition target) {
    std::vector<log::StoredRecord> records;
    EXPECT_TRUE(log_.Read(target, 0, 1'000'000, 1 << 30, &records).ok());
    core::SourceFilter filter;
    std::vector<std::string> heard;
    for (const auto& record : records) {
      const auto header = *core::DecodeHeader(record.record.header);
      const auto verdict = filter.Judge(header);
      EXPECT_NE(verdict, core::SourceFilter::Verdict::kGap);
      if (verdict != core::SourceFilter::Verdict::kTake) continue;
      filter.Take(header);
      heard.push_back(absl::StrCat(record.record.key, " ", record.record.value));
    }
    return heard;
  }

  static constexpr size_t kTicksUnderWayMax = 2;

  SeededRandom random_;
  log::MemoryLog log_{log::MemoryLogOptions{.manual = true}};
  Now now_{.wall_ns = 1, .raw_ns = 1, .boot_ns = 1};
  int tokens_ = 0;
  Releases releases_;
  std::vector<std::unique_ptr<Process>> zombies_;
  std::unique_ptr<Process> process_;
  std::vector<std::pair<int, std::string>> events_;
  std::map<uint64_t, uint64_t> out_seqs_;
  int last_id_ = 0;
  int last_local_ = 0;
  uint64_t inputs_seen_ = 0;
};

TEST(RunnerModelTest, AllFollowsFromWhatTheJournalCounts) {
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    Schedule(seed).Run();
    if (::testing::Test::HasFailure()) break;
  }
}

}  // namespace
}  // namespace tidegate::runtime
