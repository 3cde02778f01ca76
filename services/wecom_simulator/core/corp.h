// What the simulated WeCom knows of one corp: apps, members, tags, customers and who follows whom.
// Plain state without rules of time; the rules are in the files that use it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>

namespace tidegate::wecom_simulator {

struct App {
  std::string agent_id;
  std::string secret;
  std::string callback_token;
  std::string callback_key;  // 32 bytes; empty = no callback configured
  std::string callback_url;  // empty = this app gets no events
  // The last token given out.
  std::string access_token;
  int64_t token_expires_raw_ns = INT64_MIN;
  int64_t tokens_made = 0;
};

// How a member and a customer stand to each other.
enum class Relation {
  kFull,             // both sides
  kHalf,             // added without confirmation: customer APIs answer 84061
  kCustomerDeleted,  // one-way: calls work, messages end as status 2
  kMemberDeleted,    // no relation: 84061
};

struct Follow {
  Relation relation = Relation::kFull;
  int64_t added_raw_ns = 0;
  int64_t ended_raw_ns = INT64_MAX;  // when either side deleted the other
  std::set<std::string> tags;
  std::string half_code;  // welcome code of the half event; used or not
};

struct Corp {
  std::string id;
  std::map<std::string, App> apps;  // by agent id
  std::set<std::string> members;
  std::set<std::string> tags;
  // Addresses that calls may come from; nothing = any.
  std::optional<std::set<std::string>> trusted_ips;
  // customer -> member -> follow
  std::map<std::string, std::map<std::string, Follow>> customers;

  bool Trusts(const std::string& ip) const {
    return !trusted_ips.has_value() || trusted_ips->count(ip) != 0;
  }
  bool HasCustomer(const std::string& customer) const { return customers.count(customer) != 0; }
  // Null if there never was one, or the member deleted the customer.
  Follow* FindFollow(const std::string& member, const std::string& customer) {
    const auto found = customers.find(customer);
    if (found == customers.end()) return nullptr;
    const auto follow = found->second.find(member);
    if (follow == found->second.end()) return nullptr;
    return follow->second.relation == Relation::kMemberDeleted ? nullptr : &follow->second;
  }
  const Follow* FindFollow(const std::string& member, const std::string& customer) const {
    return const_cast<Corp*>(this)->FindFollow(member, customer);
  }
  // What the customer APIs ask: followed, and confirmed by the member.
  bool IsServed(const std::string& member, const std::string& customer) const {
    const Follow* follow = FindFollow(member, customer);
    return follow != nullptr && follow->relation != Relation::kHalf;
  }
};

}  // namespace tidegate::wecom_simulator
