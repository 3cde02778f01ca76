// Turns an audience into the fewest calls: one content and one sender per call, at most 10,000
// customers each. Pure and deterministic: the same audience and id give the same plan, whoever
// asks.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace tidegate::dispatch {

// M1 of WeCom's limits: external_userid per add_msg_template.
inline constexpr size_t kCustomersPerCall = 10'000;

// A4: members per message_send.
inline constexpr size_t kMembersPerCall = 1'000;

struct AudienceCustomer {
  std::string customer;
  std::string owner;  // the sender; empty = nobody can send
};

struct ContentVariant {
  std::string text;
  std::string link_url;
  std::string link_title;
};

struct PlannedBatch {
  std::string sender;
  uint32_t variant = 0;
  std::vector<uint32_t> customers;  // indices into the audience, ascending
};

struct Plan {
  std::vector<PlannedBatch> calls;           // by sender, variant, batch
  std::vector<uint32_t> skipped_no_sender;   // indices, ascending
  std::vector<uint32_t> skipped_over_quota;  // indices, ascending
  std::string hash;                          // SHA-256 of all calls
};

// variants >= 1. `over_quota`: indices of those who have a sender and may not get one more,
// ascending.
Plan MakePlan(absl::string_view campaign, std::span<const AudienceCustomer> audience,
              uint32_t variants, std::vector<uint32_t> over_quota = {});

// The variant of a customer: stable, even, independent between campaigns.
uint32_t VariantOf(absl::string_view campaign, absl::string_view customer, uint32_t variants);

// Equal for every attempt of one call; 32 hex digits.
std::string CallId(absl::string_view corp, absl::string_view campaign, uint32_t batch);
// What the call's link carries: 16 hex digits of its id.
std::string Marker(absl::string_view call_id);

}  // namespace tidegate::dispatch
