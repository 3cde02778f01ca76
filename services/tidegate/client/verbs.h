// The verbs, one function each: options in, result to client.out, OK or the error that ends the
// process (its exit code: ExitCodeOf). Not for flags: cli.cc fills the options.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "services/tidegate/client/client.h"

namespace tidegate::client {

struct ChannelAddOptions {
  std::string corp;
  std::string id;
  std::string state;
  std::vector<std::string> tags;
  std::string welcome;
  std::string request_id;  // empty = a random one, here and below
};
absl::Status ChannelAdd(const Client& client, const ChannelAddOptions& options);
absl::Status ChannelList(const Client& client, const std::string& corp);

struct RuleAddOptions {
  std::string corp;
  std::string id;
  std::string when;
  std::string on;
  std::vector<std::string> tags;
  std::vector<std::string> untags;
  std::string request_id;
};
absl::Status RuleAdd(const Client& client, const RuleAddOptions& options);
absl::Status RuleList(const Client& client, const std::string& corp);

struct SegmentOptions {
  std::string corp;
  std::string expression;
  std::string customer;  // of contains
  std::string as_of;     // YYYY-MM-DD; empty = now
};
absl::Status SegmentCount(const Client& client, const SegmentOptions& options);
absl::Status SegmentContains(const Client& client, const SegmentOptions& options);

struct CampaignCreateOptions {
  std::string corp;
  // JSON file with the campaign; then the four below are empty.
  std::string file;
  std::string id;
  std::string audience;
  // TEXT|LINK_URL|LINK_TITLE each.
  std::vector<std::string> variants;
  uint32_t reminders = 0;
  bool validate_only = false;
  std::vector<std::string> explain;  // external_userids; of plan
  std::string request_id;
};
absl::Status CampaignCreate(const Client& client, const CampaignCreateOptions& options);

struct CampaignOptions {
  std::string corp;
  std::string id;
  std::string reason;    // of pause and resume
  std::string customer;  // of explain
  std::string request_id;
};
// The plan that a launch would make now; nothing is stored.
absl::Status CampaignPlan(const Client& client, const CampaignCreateOptions& options);
absl::Status CampaignExplain(const Client& client, const CampaignOptions& options);
absl::Status CampaignLaunch(const Client& client, const CampaignOptions& options);
absl::Status CampaignPause(const Client& client, const CampaignOptions& options);
absl::Status CampaignResume(const Client& client, const CampaignOptions& options);
absl::Status CampaignReport(const Client& client, const CampaignOptions& options);
// Returns when the campaign is completed.
absl::Status CampaignWatch(const Client& client, const CampaignOptions& options);
absl::Status CampaignList(const Client& client, const std::string& corp);

struct MessageSendOptions {
  std::string corp;
  std::string sender;
  std::vector<std::string> customers;
  std::vector<std::string> members;  // whom the app writes to, instead of customers
  std::string content;               // TEXT|LINK_URL|LINK_TITLE, to members also TEXT
  std::string message_class = "bulk";
  double within_s = 0;     // deadline from now; 0 = none
  std::string key_prefix;  // keys are PREFIX:CUSTOMER or PREFIX:MEMBER; empty = a random one
};
absl::Status MessageSend(const Client& client, const MessageSendOptions& options);

struct TouchOptions {
  std::string corp;
  std::string key;
  uint64_t after = 0;      // of watch
  std::string key_prefix;  // of watch
};
absl::Status TouchGet(const Client& client, const TouchOptions& options);
absl::Status TouchList(const Client& client, const std::string& corp);
absl::Status TouchCancel(const Client& client, const TouchOptions& options);
// Goes on until it is interrupted.
absl::Status TouchWatch(const Client& client, const TouchOptions& options);

absl::Status QuotaList(const Client& client, const std::string& corp);

struct BlockOptions {
  std::string corp;      // "*" = everything
  std::string campaign;  // empty = the whole corp
  std::string reason;
  std::string actor;
  double for_s = 0;  // ends by itself; 0 = never
};
absl::Status BlockSet(const Client& client, const BlockOptions& options);
absl::Status BlockEnd(const Client& client, const BlockOptions& options);
absl::Status BlockShow(const Client& client, const std::string& corp);

absl::Status DoubtList(const Client& client, const std::string& corp);
struct DoubtOptions {
  std::string corp;
  std::string call_id;
  int attempt = 0;
  std::string as;  // accepted, not-executed, abandoned
  std::string msgid;
  std::string actor;
  std::string reason;
};
absl::Status DoubtShow(const Client& client, const DoubtOptions& options);
absl::Status DoubtResolve(const Client& client, const DoubtOptions& options);
absl::Status WritebackStatus(const Client& client, const std::string& corp);

struct GenerateOptions {
  std::string out_dir;
  // Page with the runbooks; alerts link to an anchor in it.
  std::string runbooks_url;
  // Of prometheus-config: SERVICE=HOST:PORT each.
  std::vector<std::string> targets;
};
absl::Status GenerateDashboards(const Client& client, const GenerateOptions& options);
absl::Status GenerateAlerts(const Client& client, const GenerateOptions& options);
absl::Status GeneratePrometheusConfig(const Client& client, const GenerateOptions& options);

absl::Status ShowVersion(const Client& client);

}  // namespace tidegate::client
