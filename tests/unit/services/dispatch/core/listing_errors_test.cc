// Listings that settle a doubt come to an end although pages fail (reliability 3.5).
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <string>
#include <vector>

#include "common/base/seeded_random.h"
#include "tests/unit/services/dispatch/core/one_lane.h"

namespace tidegate::dispatch {
namespace {

namespace json = boost::json;
using Phase = CampaignCallState::Phase;

constexpr int64_t kSecond = kNanosPerSecond;
constexpr char kPageFails[] = R"({"errcode":-1,"errmsg":"system busy"})";
constexpr char kBadCursor[] = R"({"errcode":50100,"errmsg":"invalid cursor"})";
constexpr int kPage = 10;
constexpr int kTasksPerSecond = 4;

// A corp whose other apps make tasks all the time; its list as WeCom tells it, page by page.
class ListingErrorsTest : public ::testing::Test {
 protected:
  ListingErrorsTest() {
    lane_.Launch("spring", 1, 1);
    const auto creates = lane_.Calls();
    EXPECT_EQ(creates.size(), 1u);
    lane_.Answer(creates.at(0), "");
    EXPECT_EQ(Call().phase, Phase::kDoubt);
  }

  const CampaignCallState& Call() {
    return lane_.core().campaigns().Find({OneLane::kCorp, "spring"})->calls[0];
  }
  CallToMake NextListing() {
    for (int second = 0; second < 300; ++second) {
      const auto calls = lane_.Calls();
      if (!calls.empty()) {
        EXPECT_EQ(calls[0].api, "get_groupmsg_list_v2");
        return calls[0];
      }
      lane_.Pass(kSecond);
    }
    ADD_FAILURE() << "no listing";
    return {};
  }
  static json::object Body(const CallToMake& listing) {
    return json::parse(listing.body).as_object();
  }
  static std::string Cursor(const json::object& body) {
    return body.contains("cursor") ? std::string(body.at("cursor").as_string()) : "";
  }
  std::string Page(const CallToMake& listing) const {
    const json::object body = Body(listing);
    const int64_t end_s = std::min(body.at("end_time").as_int64(), lane_.now().wall_ns / kSecond);
    const int64_t tasks = (end_s - body.at("start_time").as_int64()) * kTasksPerSecond;
    const std::string cursor = Cursor(body);
    const int64_t first = cursor.empty() ? 0 : std::stoll(cursor);
    json::array list;
    for (int64_t task = first; task < std::min(tasks, first + kPage); ++task) {
      list.push_back({{"msgid", absl::StrCat("other", task)}, {"create_time", 1'790'000'000}});
    }
    const std::string next = first + kPage < tasks ? absl::StrCat(first + kPage) : "";
    return json::serialize(
        json::object{{"errcode", 0}, {"group_msg_list", list}, {"next_cursor", next}});
  }

  OneLane lane_{wecom_table::DefaultLimits()};
};

TEST_F(ListingErrorsTest, OnePageInTenFailsAndTheDoubtIsSettledLongBeforeItWouldBeParked) {
  SeededRandom random(7);
  const int64_t opened_ns = lane_.now().raw_ns;
  int pages = 0, failed = 0;
  while (Call().phase == Phase::kDoubt) {
    const CallToMake listing = NextListing();
    lane_.Pass(100 * kNanosPerMilli);
    const bool fails = random.Chance(0.1);
    ++pages;
    failed += fails;
    lane_.Answer(listing, fails ? kPageFails : Page(listing));
    lane_.Decide();
  }
  EXPECT_EQ(Call().phase, Phase::kUnderWay) << "it is made again";
  EXPECT_EQ(Call().attempts, 2u);
  EXPECT_GT(failed, 5);
  EXPECT_GT(pages, 80);
  EXPECT_LT(lane_.now().raw_ns - opened_ns, 5 * 60 * kSecond);
  lane_.ExpectReplayGivesTheSame();
}

TEST_F(ListingErrorsTest, APageThatFailsIsReadAgainInTheSameWindow) {
  const CallToMake first = NextListing();
  lane_.Answer(first, Page(first));
  const CallToMake second = NextListing();
  EXPECT_EQ(Cursor(Body(second)), "10");
  lane_.Answer(second, kPageFails);
  lane_.Pass(20 * kSecond);
  const CallToMake again = NextListing();
  EXPECT_NE(again.call_id, second.call_id);
  EXPECT_EQ(again.body, second.body);
  EXPECT_EQ(Body(again).at("end_time"), Body(first).at("end_time"));
  lane_.ExpectReplayGivesTheSame();
}

TEST_F(ListingErrorsTest, ABadCursorEndsBothListingsAndTheNextHaveTheSameWindow) {
  const CallToMake first = NextListing();
  CallToMake listing = first;
  while (Call().doubt->listing == 1) {
    lane_.Answer(listing, Page(listing));
    listing = NextListing();
  }
  lane_.Answer(listing, Page(listing));
  listing = NextListing();
  lane_.Answer(listing, kBadCursor);
  EXPECT_EQ(Call().doubt->listing, 1u);
  EXPECT_EQ(NextListing().body, first.body);
}

TEST_F(ListingErrorsTest, APageThatNeverComesEndsBothListings) {
  const CallToMake first = NextListing();
  lane_.Answer(first, Page(first));
  CallToMake listing = NextListing();
  const std::string page = listing.body;
  int tries = 0;
  for (; listing.body == page && tries < 100; ++tries, listing = NextListing()) {
    lane_.Answer(listing, kPageFails);
  }
  EXPECT_EQ(tries, 8);
  EXPECT_EQ(listing.body, first.body);
}

}  // namespace
}  // namespace tidegate::dispatch
