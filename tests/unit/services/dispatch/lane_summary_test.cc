#include "services/dispatch/lane_summary.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

namespace tidegate::dispatch {
namespace {

using Phase = CampaignCallState::Phase;
using ::tidegate::log::v1::CAMPAIGN_INTENT_PAUSE;
using ::tidegate::log::v1::CAMPAIGN_INTENT_RUN;
using ::tidegate::log::v1::CAMPAIGN_PHASE_COLLECTING;
using ::tidegate::log::v1::CAMPAIGN_PHASE_COMPLETED;
using ::tidegate::log::v1::CAMPAIGN_PHASE_FREEZING;
using ::tidegate::log::v1::CAMPAIGN_PHASE_RUNNING;

CampaignCallState Call(Phase phase, std::vector<uint8_t> statuses) {
  CampaignCallState call;
  call.phase = phase;
  call.statuses = std::move(statuses);
  if (phase == Phase::kDoubt) {
    call.doubt.emplace();
    call.doubt->opened_wall_ns = 100 * kNanosPerSecond;
  }
  return call;
}

CampaignState Campaign(::tidegate::log::v1::CampaignPhase phase,
                       ::tidegate::log::v1::CampaignIntent intent = CAMPAIGN_INTENT_RUN) {
  CampaignState campaign;
  campaign.phase = phase;
  campaign.intent = intent;
  return campaign;
}

void Add(CampaignCallState call, CampaignState* campaign) {
  campaign->open.insert(campaign->calls.next());
  campaign->calls.Add() = std::move(call);
}

class LaneSummaryTest : public ::testing::Test {
 protected:
  LaneSummary Summary() const { return Summarize(campaigns_, blocks_, limits_, now_); }

  const wecom_table::Limits deployment_ = wecom_table::DefaultLimits();
  CorpLimits limits_{&deployment_};
  Now now_{.wall_ns = 130 * kNanosPerSecond};
  std::map<CampaignKey, CampaignState> campaigns_;
  BlockList blocks_;
};

TEST_F(LaneSummaryTest, AnEmptyLaneHasEveryStateAndStatusAtZero) {
  const LaneSummary summary = Summary();
  EXPECT_EQ(summary.campaigns.size(), 5u);
  EXPECT_EQ(summary.touches.size(), 6u);
  for (const auto& [state, count] : summary.campaigns) EXPECT_EQ(count, 0) << state;
  for (const auto& [status, count] : summary.touches) EXPECT_EQ(count, 0) << status;
  EXPECT_EQ(summary.forecast_seconds, 0);
}

TEST_F(LaneSummaryTest, CampaignsCountByStateAPauseBeforeThePhase) {
  campaigns_[{"a", "1"}] = Campaign(CAMPAIGN_PHASE_FREEZING);
  campaigns_[{"a", "2"}] = Campaign(CAMPAIGN_PHASE_RUNNING);
  campaigns_[{"a", "3"}] = Campaign(CAMPAIGN_PHASE_RUNNING, CAMPAIGN_INTENT_PAUSE);
  campaigns_[{"b", "1"}] = Campaign(CAMPAIGN_PHASE_COLLECTING);
  campaigns_[{"b", "2"}] = Campaign(CAMPAIGN_PHASE_COMPLETED, CAMPAIGN_INTENT_PAUSE);
  EXPECT_EQ(
      Summary().campaigns,
      (std::map<std::string, double>{
          {"collecting", 1}, {"completed", 1}, {"freezing", 1}, {"paused", 1}, {"running", 1}}));
}

// Nobody must be called at night for a campaign that stands still because it is blocked.
TEST_F(LaneSummaryTest, WhatIsBlockedCountsAsPaused) {
  campaigns_[{"a", "1"}] = Campaign(CAMPAIGN_PHASE_RUNNING);
  campaigns_[{"a", "2"}] = Campaign(CAMPAIGN_PHASE_RUNNING);
  ::tidegate::log::v1::SendingBlocked blocked;
  blocked.set_corp("a");
  blocked.set_campaign("2");
  blocks_.Apply(blocked);
  EXPECT_EQ(Summary().campaigns["running"], 1);
  EXPECT_EQ(Summary().campaigns["paused"], 1);
}

TEST_F(LaneSummaryTest, WhatRunsInTheQuietHoursOfItsCorpCountsAsPaused) {
  campaigns_[{"a", "1"}] = Campaign(CAMPAIGN_PHASE_RUNNING);
  campaigns_[{"a", "2"}] = Campaign(CAMPAIGN_PHASE_COLLECTING);
  campaigns_[{"b", "1"}] = Campaign(CAMPAIGN_PHASE_RUNNING);
  ::tidegate::log::v1::LimitsSet set;
  set.set_corp("a");
  set.mutable_limits()->mutable_quiet_hours()->set_from("08:00");  // now it is 08:02 in China
  set.mutable_limits()->mutable_quiet_hours()->set_to("09:00");
  limits_.Set(set);
  EXPECT_EQ(Summary().campaigns["running"], 1);
  EXPECT_EQ(Summary().campaigns["paused"], 1);
  EXPECT_EQ(Summary().campaigns["collecting"], 1);
  now_.wall_ns = 3600 * kNanosPerSecond;
  EXPECT_EQ(Summary().campaigns["running"], 2);
}

TEST_F(LaneSummaryTest, TouchesCountUntilTheirCampaignIsCompleted) {
  CampaignState& running = campaigns_[{"a", "1"}] = Campaign(CAMPAIGN_PHASE_RUNNING);
  running.skipped_no_sender = 3;
  Add(Call(Phase::kAccepted, {kTouchSent, kTouchOpen, kTouchNotFriend, kTouchUnconfirmed}),
      &running);
  Add(Call(Phase::kParked, {kTouchOpen, kTouchOpen}), &running);
  Add(Call(Phase::kRefused, {kTouchRefused}), &running);
  running.open.erase(2);  // it is final, and counts until the campaign is completed
  CampaignState& completed = campaigns_[{"a", "2"}] = Campaign(CAMPAIGN_PHASE_COMPLETED);
  Add(Call(Phase::kAccepted, {kTouchSent}), &completed);
  EXPECT_EQ(Summary().touches, (std::map<std::string, double>{{"failed", 2},
                                                              {"open", 1},
                                                              {"parked", 2},
                                                              {"sent", 1},
                                                              {"skipped", 3},
                                                              {"unconfirmed", 1}}));
  EXPECT_EQ(Summary().doubts_parked, 1);
}

TEST_F(LaneSummaryTest, TheOldestDoubtGivesItsAge) {
  CampaignState& running = campaigns_[{"a", "1"}] = Campaign(CAMPAIGN_PHASE_RUNNING);
  Add(Call(Phase::kDoubt, {kTouchOpen}), &running);
  Add(Call(Phase::kDoubt, {kTouchOpen}), &running);
  running.calls[1].doubt->opened_wall_ns = 120 * kNanosPerSecond;
  EXPECT_EQ(Summary().doubts_open, 2);
  EXPECT_DOUBLE_EQ(Summary().doubt_oldest_seconds, 30);
}

TEST_F(LaneSummaryTest, TheForecastIsThatOfTheCorpThatNeedsLongest) {
  CampaignState& one = campaigns_[{"a", "1"}] = Campaign(CAMPAIGN_PHASE_RUNNING);
  Add(Call(Phase::kPlanned, {kTouchOpen}), &one);
  const double short_one = Summary().forecast_seconds;
  CampaignState& other = campaigns_[{"b", "1"}] = Campaign(CAMPAIGN_PHASE_RUNNING);
  for (int i = 0; i < 50'000; ++i) Add(Call(Phase::kPlanned, {kTouchOpen}), &other);
  const double long_one = Summary().forecast_seconds;
  EXPECT_GT(short_one, 0);
  EXPECT_GT(long_one, 60);
  // Both at once: each corp has buckets of its own.
  for (auto& [batch, call] : one.calls) call.phase = Phase::kAccepted;
  EXPECT_EQ(Summary().forecast_seconds, long_one);
}

TEST_F(LaneSummaryTest, TheForecastIsByTheLimitsOfTheCorp) {
  CampaignState& campaign = campaigns_[{"a", "1"}] = Campaign(CAMPAIGN_PHASE_RUNNING);
  for (int i = 0; i < 11; ++i) Add(Call(Phase::kPlanned, {kTouchOpen}), &campaign);
  EXPECT_LT(Summary().forecast_seconds, 60);
  ::tidegate::log::v1::LimitsSet set;
  set.set_corp("a");
  auto* window = set.mutable_limits()->add_windows();
  window->set_api("add_msg_template");
  window->set_amount(5);
  window->set_window_ms(60'000);
  limits_.Set(set);
  EXPECT_DOUBLE_EQ(Summary().forecast_seconds, 120);
}

}  // namespace
}  // namespace tidegate::dispatch
