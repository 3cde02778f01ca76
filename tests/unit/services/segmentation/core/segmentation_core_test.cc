#include "services/segmentation/core/segmentation_core.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/civil_day.h"
#include "common/base/hash.h"
#include "services/segmentation/core/scan_index.h"
#include "tidegate/log/v1/definitions.pb.h"
#include "tidegate/log/v1/memberships.pb.h"
#include "tidegate/log/v1/profiles.pb.h"

namespace tidegate::segmentation {
namespace {

using ::tidegate::log::v1::AudienceChunk;
using ::tidegate::log::v1::MembershipRecord;
using ::tidegate::log::v1::Profile;
using ::tidegate::log::v1::ProfileRecord;
using ::tidegate::log::v1::Proposal;
using ::tidegate::log::v1::RecordHeader;

constexpr int64_t kToday = 20'000;
const SegmentationOptions kOptions = {.partition = 2, .partitions = 4};

// A core, driven by hand as the partition runtime would.
class Driver {
 public:
  explicit Driver(SegmentationOptions options = kOptions)
      : core_(std::move(options), std::make_unique<ScanIndex>()) {}

  // One tick; the decision as it would stand in the journal.
  std::optional<core::Decision> Tick() { return core_.Decide({}, now_); }
  AudienceChunk Apply(const core::Decision& decision) {
    outbox_.clear();
    core_.Apply(decision.key, decision.value, {}, &outbox_);
    MembershipRecord record;
    EXPECT_TRUE(record.ParseFromString(decision.value));
    EXPECT_EQ(outbox_.size(), 1u);
    if (!outbox_.empty()) {
      EXPECT_EQ(outbox_[0].target, (log::TopicPartition{log::Topic::kAudiences, lane_}));
      EXPECT_EQ(outbox_[0].key, decision.key);
      EXPECT_EQ(outbox_[0].value, record.audience_chunk().SerializeAsString());
    }
    return record.audience_chunk();
  }
  // Decides, applies and ends batches until there is nothing to decide.
  std::vector<AudienceChunk> Freeze() {
    std::vector<AudienceChunk> chunks;
    while (auto decision = Tick()) {
      chunks.push_back(Apply(*decision));
      core_.EndBatch();
      journal_.push_back(*std::move(decision));
      if (chunks.size() > 100) {
        ADD_FAILURE() << "freezes without an end";
        break;
      }
    }
    return chunks;
  }
  void Fence() { core_.ApplyFence({}, 2); }

  void Define(const std::string& id, const std::string& expression,
              const std::string& corp = "ww1") {
    Proposal proposal;
    proposal.set_corp(corp);
    proposal.set_expected_revision(revisions_[corp]++);
    proposal.set_request_id(id);
    auto* definition = proposal.add_definitions();
    definition->set_id(id);
    definition->mutable_audience()->set_expression(expression);
    Fold(proposal);
  }
  void Fold(const Proposal& proposal) {
    core_.Fold({log::Topic::kDefinitions, 0}, {.record = {.value = proposal.SerializeAsString()}},
               {});
  }
  void Fold(const Profile& profile, const RecordHeader& header) {
    ProfileRecord record;
    *record.mutable_profile() = profile;
    core_.Fold({log::Topic::kProfiles, kOptions.partition},
               {.record = {.value = record.SerializeAsString()}}, header);
  }
  // Customers wm000000, wm000001, ..: every second one has an order.
  void AddCustomers(int count) {
    RecordHeader header;
    header.set_kind(::tidegate::log::v1::RECORD_KIND_DECISION);
    for (int i = 0; i < count; ++i) {
      Profile profile;
      profile.set_corp("ww1");
      profile.set_customer(absl::StrFormat("wm%06d", i));
      profile.set_owner(absl::StrCat("m", i % 3));
      if (i % 2 == 1) {
        auto* order = profile.add_orders();
        order->set_amount_fen(100);
        order->set_paid_time_s(StartOfCivilDay(kToday));
      }
      Fold(profile, header);
    }
  }

  void ExpectLane(uint32_t lane) { lane_ = lane; }
  core::Core& core() { return core_; }
  const SegmentationCore& state() const { return core_; }
  const std::vector<core::Decision>& journal() const { return journal_; }

 private:
  SegmentationCore core_;
  const Now now_ = {.wall_ns = (StartOfCivilDay(kToday) + 3600) * kNanosPerSecond};
  std::map<std::string, uint64_t> revisions_;
  uint32_t lane_ = 0;  // that chunks go to
  std::vector<core::OutboxRecord> outbox_;
  std::vector<core::Decision> journal_;
};

RecordHeader Header(::tidegate::log::v1::RecordKind kind, const std::string& input,
                    uint64_t position) {
  RecordHeader header;
  header.set_kind(kind);
  auto* cover = header.add_covers();
  cover->set_input(input);
  cover->set_position(position);
  return header;
}

TEST(SegmentationCoreTest, AReplayOfAMovedCorpSendsItsChunksWhereTheyWent) {
  SegmentationOptions options = kOptions;
  options.lanes = LaneMap(4, {{"ww1", 2}});
  Driver before(options);
  before.ExpectLane(2);
  before.AddCustomers(10);
  before.Define("a", "orders.count >= 1");
  ASSERT_FALSE(before.Freeze().empty());
  options.lanes = LaneMap(4, {{"ww1", 3}});
  Driver after(options);
  after.ExpectLane(2);
  for (const core::Decision& decision : before.journal()) after.Apply(decision);
  after.ExpectLane(3);
  after.AddCustomers(10);
  after.Define("a", "orders.count >= 1");
  after.Define("b", "orders.count >= 1");
  EXPECT_FALSE(after.Freeze().empty());
}

TEST(SegmentationCoreTest, DecidesNothingWhenNoAudienceIsWanted) {
  Driver driver;
  driver.AddCustomers(3);
  EXPECT_FALSE(driver.Tick().has_value());
  EXPECT_EQ(driver.state().profiles_folded(), 3u);
}

TEST(SegmentationCoreTest, FreezesASmallAudienceIntoOneChunk) {
  Driver driver;
  driver.AddCustomers(10);
  driver.Define("a1", "orders.count >= 1");
  const auto chunks = driver.Freeze();
  ASSERT_EQ(chunks.size(), 1u);
  EXPECT_EQ(driver.journal()[0].key, "ww1/a1");
  const AudienceChunk& chunk = chunks[0];
  EXPECT_EQ(chunk.corp(), "ww1");
  EXPECT_EQ(chunk.audience(), "a1");
  EXPECT_EQ(chunk.round(), 1u);
  EXPECT_EQ(chunk.shard(), 2u);
  EXPECT_EQ(chunk.shards(), 4u);
  EXPECT_EQ(chunk.chunk(), 0u);
  ASSERT_EQ(chunk.customers_size(), 5);
  EXPECT_EQ(chunk.customers(0).customer(), "wm000001");
  EXPECT_EQ(chunk.customers(0).owner(), "m1");
  ASSERT_TRUE(chunk.has_manifest());
  EXPECT_EQ(chunk.manifest().expression(), "orders.count >= 1");
  EXPECT_EQ(chunk.manifest().day(), kToday);
  EXPECT_EQ(chunk.manifest().customers(), 5u);
  EXPECT_EQ(chunk.manifest().chunks(), 1u);
  std::string ids;
  for (const char* id : {"wm000001", "wm000003", "wm000005", "wm000007", "wm000009"}) {
    ids += id;
    ids.push_back('\0');
  }
  EXPECT_EQ(chunk.manifest().checksum(), Sha256(ids));
}

TEST(SegmentationCoreTest, FreezesAnEmptyAudienceIntoAManifest) {
  for (const int customers : {0, 10}) {
    Driver driver;
    driver.AddCustomers(customers);
    driver.Define("a1", "none");
    const auto chunks = driver.Freeze();
    ASSERT_EQ(chunks.size(), 1u) << customers;
    EXPECT_EQ(chunks[0].customers_size(), 0) << customers;
    EXPECT_EQ(chunks[0].manifest().customers(), 0u) << customers;
    EXPECT_EQ(chunks[0].manifest().chunks(), 1u) << customers;
    EXPECT_EQ(chunks[0].manifest().checksum(), Sha256("")) << customers;
  }
}

TEST(SegmentationCoreTest, CutsChunksOfFiveThousand) {
  struct Case {
    int customers;
    std::vector<int> sizes;
  };
  for (const Case& row : {Case{4999, {4999}}, Case{5000, {5000}}, Case{5001, {5000, 1}},
                          Case{10'000, {5000, 5000}}, Case{12'345, {5000, 5000, 2345}}}) {
    Driver driver;
    driver.AddCustomers(row.customers);
    driver.Define("a1", "all");
    const auto chunks = driver.Freeze();
    ASSERT_EQ(chunks.size(), row.sizes.size()) << row.customers;
    std::set<std::string> frozen;
    std::string ids;
    for (size_t i = 0; i < chunks.size(); ++i) {
      EXPECT_EQ(chunks[i].customers_size(), row.sizes[i]) << row.customers;
      EXPECT_EQ(chunks[i].chunk(), i) << row.customers;
      EXPECT_EQ(chunks[i].round(), 1u) << row.customers;
      EXPECT_EQ(chunks[i].has_manifest(), i + 1 == chunks.size()) << row.customers;
      EXPECT_LT(driver.journal()[i].value.size(), 900'000u) << row.customers;
      for (const auto& customer : chunks[i].customers()) {
        frozen.insert(customer.customer());
        ids += customer.customer();
        ids.push_back('\0');
      }
    }
    EXPECT_EQ(frozen.size(), static_cast<size_t>(row.customers));
    EXPECT_EQ(chunks.back().manifest().customers(), static_cast<uint64_t>(row.customers));
    EXPECT_EQ(chunks.back().manifest().chunks(), chunks.size()) << row.customers;
    EXPECT_EQ(chunks.back().manifest().checksum(), Sha256(ids)) << row.customers;
  }
}

TEST(SegmentationCoreTest, GivesOneChunkPerDecision) {
  Driver driver;
  driver.AddCustomers(5001);
  driver.Define("a1", "all");
  driver.Define("a2", "none");
  // Three decisions of one batch, none applied yet.
  const auto first = driver.Tick();
  const auto last = driver.Tick();
  ASSERT_TRUE(first.has_value());
  ASSERT_TRUE(last.has_value());
  EXPECT_FALSE(driver.Tick().has_value()) << "the next audience waits for the last chunk";
  EXPECT_FALSE(driver.Apply(*first).has_manifest());
  EXPECT_TRUE(driver.Apply(*last).has_manifest());
  driver.core().EndBatch();
  const auto rest = driver.Freeze();
  ASSERT_EQ(rest.size(), 1u);
  EXPECT_EQ(rest[0].audience(), "a2");
}

TEST(SegmentationCoreTest, FreezesTheMomentOfTheFirstChunk) {
  Driver driver;
  driver.AddCustomers(5001);
  driver.Define("a1", "all");
  auto decision = driver.Tick();
  ASSERT_TRUE(decision.has_value());
  driver.Apply(*decision);
  driver.core().EndBatch();
  driver.AddCustomers(6000);
  const auto rest = driver.Freeze();
  ASSERT_EQ(rest.size(), 1u);
  EXPECT_EQ(rest[0].manifest().customers(), 5001u);
}

TEST(SegmentationCoreTest, StartsTheNextRoundAfterAFenceMidWay) {
  Driver driver;
  driver.AddCustomers(10'001);
  driver.Define("a1", "all");
  auto decision = driver.Tick();
  ASSERT_TRUE(decision.has_value());
  EXPECT_EQ(driver.Apply(*decision).round(), 1u);
  driver.core().EndBatch();
  driver.Fence();
  const auto chunks = driver.Freeze();
  ASSERT_EQ(chunks.size(), 3u);
  for (const AudienceChunk& chunk : chunks) EXPECT_EQ(chunk.round(), 2u);
  EXPECT_EQ(chunks[0].chunk(), 0u);
  EXPECT_EQ(chunks[2].manifest().customers(), 10'001u);
}

TEST(SegmentationCoreTest, KeepsTheRoundWhenNothingOfItCounted) {
  Driver driver;
  driver.AddCustomers(10);
  driver.Define("a1", "all");
  ASSERT_TRUE(driver.Tick().has_value());  // decided, and void
  driver.core().EndBatch();
  driver.Fence();
  const auto chunks = driver.Freeze();
  ASSERT_EQ(chunks.size(), 1u);
  EXPECT_EQ(chunks[0].round(), 1u);
}

TEST(SegmentationCoreTest, DoesNotFreezeACompleteAudienceAgainAfterReplay) {
  Driver before;
  before.AddCustomers(5001);
  before.Define("a1", "all");
  ASSERT_EQ(before.Freeze().size(), 2u);

  Driver after;
  after.AddCustomers(6000);
  after.Define("a1", "all");
  for (const core::Decision& decision : before.journal()) after.Apply(decision);
  after.Fence();
  EXPECT_FALSE(after.Tick().has_value());
  // Defined once more, or folded after the journal: complete stays complete.
  after.Define("a1", "none");
  EXPECT_FALSE(after.Tick().has_value());
}

TEST(SegmentationCoreTest, FinishesAnIncompleteAudienceAfterReplay) {
  Driver before;
  before.AddCustomers(5001);
  before.Define("a1", "all");
  ASSERT_EQ(before.Freeze().size(), 2u);

  Driver after;
  after.AddCustomers(5001);
  after.Define("a1", "all");
  after.Apply(before.journal()[0]);  // the crash came before the second chunk
  after.Fence();
  const auto chunks = after.Freeze();
  ASSERT_EQ(chunks.size(), 2u);
  EXPECT_EQ(chunks[0].round(), 2u);
  EXPECT_EQ(chunks[1].round(), 2u);
  EXPECT_EQ(chunks[1].manifest().customers(), 5001u);
}

TEST(SegmentationCoreTest, FreezesEveryAudienceOnce) {
  Driver driver;
  driver.AddCustomers(10);
  driver.Define("a2", "orders.count >= 1");
  driver.Define("a1", "all");
  driver.Define("a1", "all", "ww2");
  std::map<std::string, uint64_t> sizes;
  for (const AudienceChunk& chunk : driver.Freeze()) {
    const std::string name = absl::StrCat(chunk.corp(), "/", chunk.audience());
    EXPECT_TRUE(sizes.emplace(name, chunk.manifest().customers()).second) << name;
  }
  const std::map<std::string, uint64_t> expected = {{"ww1/a1", 10}, {"ww1/a2", 5}, {"ww2/a1", 0}};
  EXPECT_EQ(sizes, expected);
}

TEST(SegmentationCoreTest, PassesOverAnAudienceThatDoesNotParse) {
  Driver driver;
  driver.AddCustomers(10);
  driver.Define("a1", "orders.colour >= 3");
  driver.Define("a2", "all");
  const auto chunks = driver.Freeze();
  ASSERT_EQ(chunks.size(), 1u);
  EXPECT_EQ(chunks[0].audience(), "a2");
}

TEST(SegmentationCoreTest, IgnoresDefinitionsThatDoNotCount) {
  Driver driver;
  Proposal late;
  late.set_corp("ww1");
  late.set_expected_revision(7);
  auto* definition = late.add_definitions();
  definition->set_id("a1");
  definition->mutable_audience()->set_expression("all");
  driver.Fold(late);
  Proposal rule;
  rule.set_corp("ww1");
  rule.set_request_id("r1");
  rule.add_definitions()->mutable_rule()->set_condition("all");
  driver.Fold(rule);
  driver.core().Fold({log::Topic::kDefinitions, 0}, {.record = {.value = "\xFF broken"}}, {});
  EXPECT_FALSE(driver.Tick().has_value());
}

TEST(SegmentationCoreTest, TakesTheEventsPositionFromCovers) {
  Driver driver;
  Profile profile;
  profile.set_corp("ww1");
  profile.set_customer("wm0");
  struct Case {
    const char* name;
    RecordHeader header;
    uint64_t position;
    uint64_t profiles;
  };
  const std::string events = "tidegate.events/2";
  for (const Case& row : {
           Case{"a decision", Header(::tidegate::log::v1::RECORD_KIND_DECISION, events, 5), 5, 1},
           Case{"another shard's events",
                Header(::tidegate::log::v1::RECORD_KIND_DECISION, "tidegate.events/3", 90), 5, 2},
           Case{"another topic",
                Header(::tidegate::log::v1::RECORD_KIND_DECISION, "tidegate.ledger/2", 91), 5, 3},
           Case{"a cover alone", Header(::tidegate::log::v1::RECORD_KIND_COVER, events, 9), 9, 3},
           Case{"an older one", Header(::tidegate::log::v1::RECORD_KIND_COVER, events, 7), 9, 3},
       }) {
    driver.Fold(profile, row.header);
    EXPECT_EQ(driver.state().events_position(), row.position) << row.name;
    EXPECT_EQ(driver.state().profiles_folded(), row.profiles) << row.name;
  }
  driver.Define("a1", "all");
  const auto chunks = driver.Freeze();
  ASSERT_EQ(chunks.size(), 1u);
  EXPECT_EQ(chunks[0].manifest().events_position(), 9u);
}

TEST(SegmentationCoreTest, FoldsARecordOfADeadLetterWithoutACustomer) {
  Driver driver;
  ProfileRecord record;
  record.mutable_dead_letter()->set_reason("broken");
  RecordHeader header;
  header.set_kind(::tidegate::log::v1::RECORD_KIND_DECISION);
  driver.core().Fold({log::Topic::kProfiles, 2}, {.record = {.value = record.SerializeAsString()}},
                     header);
  EXPECT_EQ(driver.state().profiles_folded(), 0u);
}

}  // namespace
}  // namespace tidegate::segmentation
