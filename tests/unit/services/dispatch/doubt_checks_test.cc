#include "services/dispatch/doubt_checks.h"

#include <gtest/gtest.h>

namespace tidegate::dispatch {
namespace {

namespace v1 = ::tidegate::dispatch::v1;

v1::ResolveDoubtRequest Word(v1::DoubtResolution resolution, const std::string& msgid) {
  v1::ResolveDoubtRequest request;
  request.set_corp("ww1");
  request.set_call_id("00ff");
  request.set_attempt(2);
  request.set_resolution(resolution);
  request.set_msgid(msgid);
  request.set_actor("li");
  request.set_reason("seen");
  return request;
}

CampaignCallState Parked(Channel channel) {
  CampaignCallState call;
  call.channel = channel;
  call.phase = CampaignCallState::Phase::kParked;
  call.attempts = 2;
  return call;
}

TEST(DoubtChecksTest, OnlyAMessageToMembersIsAcceptedWithoutATask) {
  const auto bare = Word(v1::DOUBT_RESOLUTION_ACCEPTED, "");
  EXPECT_TRUE(DoubtFaults(bare).empty());
  EXPECT_TRUE(MayResolve(Parked(Channel::kMembers), bare, "li").ok());
  EXPECT_EQ(MayResolve(Parked(Channel::kCustomers), bare, "li").code(),
            absl::StatusCode::kInvalidArgument);
  const auto named = Word(v1::DOUBT_RESOLUTION_ACCEPTED, "msg1");
  EXPECT_TRUE(DoubtFaults(named).empty());
  for (const Channel channel : {Channel::kMembers, Channel::kCustomers}) {
    EXPECT_TRUE(MayResolve(Parked(channel), named, "li").ok());
  }
}

TEST(DoubtChecksTest, WhatWasNotExecutedHasNoTask) {
  for (const auto resolution :
       {v1::DOUBT_RESOLUTION_NOT_EXECUTED, v1::DOUBT_RESOLUTION_ABANDONED}) {
    EXPECT_TRUE(DoubtFaults(Word(resolution, "")).empty());
    EXPECT_TRUE(MayResolve(Parked(Channel::kCustomers), Word(resolution, ""), "li").ok());
    const auto wrong = DoubtFaults(Word(resolution, "msg1"));
    ASSERT_EQ(wrong.size(), 1u);
    EXPECT_EQ(wrong[0].field, "msgid");
  }
}

TEST(DoubtChecksTest, AnotherAttemptAndTheSameActorAreRefused) {
  const auto word = Word(v1::DOUBT_RESOLUTION_NOT_EXECUTED, "");
  CampaignCallState call = Parked(Channel::kCustomers);
  call.first_actor = "li";
  EXPECT_EQ(MayResolve(call, word, "li").code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(MayResolve(call, word, "wang").ok());
  call.attempts = 3;
  EXPECT_EQ(MayResolve(call, word, "wang").code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace tidegate::dispatch
