// What is wanted: tags without end, welcomes, campaigns, messages.
#include <algorithm>
#include <cmath>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "boost/json.hpp"
#include "common/base/check.h"
#include "tests/sim/lane.h"
#include "tidegate/log/v1/audiences.pb.h"
#include "tidegate/log/v1/commands.pb.h"
#include "tidegate/log/v1/definitions.pb.h"
#include "tidegate/log/v1/header.pb.h"

namespace tidegate::sim {

namespace json = boost::json;
using ::tidegate::log::v1::Command;

namespace {

// A call whose answer is lost holds its customer for a while; so many have to be at hand.
constexpr size_t kCustomers = 20'000;
constexpr size_t kCustomersOfCorpMin = 1'000;
constexpr int64_t kWelcomeNs = 20 * kNanosPerSecond;

std::string CustomerOf(size_t number) { return absl::StrFormat("wm%030d", number); }
// Of a campaign.
std::string CustomerOf(size_t campaign, int64_t number) {
  return absl::StrFormat("wc%03dx%024d", campaign, number);
}
std::string CustomerOfMessage(size_t message) { return absl::StrFormat("wq%030d", message); }
std::string MemberOf(size_t campaign, int64_t number) {
  return absl::StrCat("m", campaign, "x", number);
}

// Customers of one request that seeds WeCom.
constexpr size_t kSeededAtOnce = 50'000;

template <typename Message>
log::StoredRecord Stored(const Message& message, uint64_t offset) {
  log::StoredRecord stored;
  stored.offset = offset;
  stored.record.value = message.SerializeAsString();
  return stored;
}

}  // namespace

std::string NameOfCustomer(uint32_t number) { return absl::StrFormat("wo%08d", number); }
std::string NameOfMember(uint32_t number) { return absl::StrCat("o", number); }

void Lane::Fold(log::Topic topic, log::StoredRecord record) {
  ::tidegate::log::v1::RecordHeader header;
  header.mutable_source();
  core_->Fold({topic, 0}, record, header);
  if (!options_.kill_at_seconds.empty()) inputs_.emplace_back(topic, std::move(record));
}

void Lane::SeedWecom() {
  wecom_simulator::CoreOptions wecom;
  wecom.seed = options_.seed;
  wecom.window = options_.window;
  const std::string& of_wecom =
      options_.wecom_limits_json.empty() ? options_.limits_json : options_.wecom_limits_json;
  if (!of_wecom.empty()) wecom.limits = *wecom_simulator::ParseLimits(of_wecom);
  wecom.latency_median_ms = options_.served_median_ms;
  wecom.latency_p99_ms = options_.served_p99_ms;
  wecom.broken = wecom.over_quota = 0;
  wecom.fail_list = options_.unsendable_share;
  if (options_.set_wecom) options_.set_wecom(&wecom);
  wecom_ = options_.wecom != nullptr
               ? options_.wecom
               : std::make_shared<wecom_simulator::WecomCore>(std::move(wecom));
  customers_of_corp_ = options_.customers > 0
                           ? options_.customers
                           : std::max(kCustomers / options_.corps, kCustomersOfCorpMin);
  json::array customers;
  for (size_t c = 0; c < customers_of_corp_; ++c) {
    customers.push_back({{"external_userid", CustomerOf(c)}, {"member", "m"}});
  }
  for (size_t i = 0; i < options_.corps; ++i) {
    Corp& corp = corps_.emplace_back();
    const size_t number = options_.first_corp + i;
    corp.id = absl::StrCat("ww", number);
    corp_of_[corp.id] = i;
    const auto own = options_.calls_of.find(i);
    corp.left = own != options_.calls_of.end() ? own->second : options_.calls_per_corp;
    wanted_ = corp.left < 0 || wanted_ < 0 ? -1 : wanted_ + corp.left;
    json::array members = {"m"};
    json::array of_corp = customers;
    for (size_t k = 0; i == 0 && k < options_.campaigns.size(); ++k) {
      for (int64_t n = 0; n < options_.campaigns[k].calls; ++n) {
        members.emplace_back(MemberOf(k, n));
        const int64_t each = options_.campaigns[k].customers_per_call;
        for (int64_t c = n * each; c < (n + 1) * each; ++c) {
          of_corp.push_back({{"external_userid", CustomerOf(k, c)}, {"member", MemberOf(k, n)}});
        }
      }
      if (wanted_ >= 0) wanted_ += options_.campaigns[k].calls;
    }
    for (size_t k = 0; i == 0 && k < options_.messages.size(); ++k) {
      of_corp.push_back({{"external_userid", CustomerOfMessage(k)}, {"member", "m"}});
    }
    const auto seeded = wecom_->OnControl(
        "/control/seed",
        {{"corp_id", corp.id},
         {"apps", {{{"agent_id", kAgent}, {"secret", absl::StrCat("secret of ", number)}}}},
         {"members", std::move(members)},
         {"tags", {"t"}},
         {"customers", std::move(of_corp)}},
        now_);
    CHECK(seeded.ok());
  }
  for (const CampaignOptions& campaign : options_.campaigns) SeedAudience(campaign.audience);
  if (options_.wrongly_refused > 0) {
    CHECK(
        wecom_
            ->OnControl(
                "/control/faults",
                {{"api", "mark_tag"}, {"kind", "REJECT:45009"}, {"next", options_.wrongly_refused}},
                now_)
            .ok());
  }
  for (const char* api : {"add_msg_template", "remind_groupmsg_send"}) {
    if (options_.passing_share <= 0) break;
    CHECK(wecom_
              ->OnControl(
                  "/control/faults",
                  {{"api", api}, {"kind", "REJECT:45011"}, {"probability", options_.passing_share}},
                  now_)
              .ok());
  }
  if (options_.reset_share <= 0) return;
  for (const char* api :
       {"mark_tag", "send_welcome_msg", "add_msg_template", "remind_groupmsg_send"}) {
    CHECK(
        wecom_
            ->OnControl(
                "/control/faults",
                {{"api", api}, {"kind", "EXEC_THEN_CLOSE"}, {"probability", options_.reset_share}},
                now_)
            .ok());
  }
}

void Lane::Feed(size_t number) {
  Corp& corp = corps_[number];
  while (corp.wishes < options_.wishes_ahead && corp.left != 0) {
    Command command;
    command.set_corp(corp.id);
    command.set_member("m");
    command.set_customer(CustomerOf(corp.next_customer++ % customers_of_corp_));
    command.mutable_mark_tag()->add_add(std::string("t"));
    Fold(log::Topic::kCommands, Stored(command, commands_++));
    ++corp.wishes;
    if (corp.left > 0) --corp.left;
  }
}

// ---- Welcomes ----

void Lane::Welcome() {
  if (result_.urgent.arrived == options_.urgent.calls) return;
  ++result_.urgent.arrived;
  Corp& corp = corps_[urgent_random_.Below(corps_.size())];
  Command command;
  command.set_corp(corp.id);
  command.set_member("m");
  command.set_customer(CustomerOf(corp.next_welcomed++ % customers_of_corp_));
  const auto added = wecom_->OnControl("/control/event",
                                       {{"corp_id", corp.id},
                                        {"kind", "add_external_contact"},
                                        {"external_userid", command.customer()},
                                        {"member", command.member()}},
                                       now_);
  CHECK(added.ok());
  const std::string code(added->at("welcome_code").as_string());
  command.mutable_welcome()->set_welcome_code(code);
  command.mutable_welcome()->set_text("welcome");
  command.mutable_welcome()->set_expires_ns(now_.wall_ns + kWelcomeNs);
  welcomed_[code] = {.at_ns = now_.raw_ns};
  last_welcome_ns_ = now_.raw_ns;
  Fold(log::Topic::kCommands, Stored(command, commands_++));
}

void Lane::NextWelcome() {
  if (result_.urgent.arrived == options_.urgent.calls) return;
  const double seconds = -std::log(1.0 - urgent_random_.Unit()) / options_.urgent.per_second;
  Push(now_.raw_ns + static_cast<int64_t>(seconds * 1e9), Kind::kWelcome);
}

void Lane::Burst() {
  for (int64_t i = 0; i < options_.urgent.burst; ++i) Welcome();
  if (result_.urgent.arrived == options_.urgent.calls) return;
  Push(now_.raw_ns + static_cast<int64_t>(options_.urgent.burst_every_seconds * 1e9), Kind::kBurst);
}

// ---- Campaigns ----

void Lane::SeedAudience(const std::vector<Recipient>& audience) {
  std::set<uint32_t> numbers;
  for (const Recipient& each : audience) numbers.insert(each.member);
  json::array members;
  for (const uint32_t number : numbers) members.emplace_back(NameOfMember(number));
  for (size_t first = 0; first < audience.size(); first += kSeededAtOnce) {
    json::array customers;
    for (size_t i = first; i < std::min(first + kSeededAtOnce, audience.size()); ++i) {
      customers.push_back({{"external_userid", NameOfCustomer(audience[i].customer)},
                           {"member", NameOfMember(audience[i].member)}});
    }
    CHECK(wecom_
              ->OnControl("/control/seed",
                          {{"corp_id", corps_[0].id},
                           {"members", members},
                           {"customers", std::move(customers)}},
                          now_)
              .ok());
  }
}

void Lane::Launch(size_t number) {
  const CampaignOptions& campaign = options_.campaigns[number];
  const std::string name = absl::StrCat(kCampaignPrefix, number);
  ::tidegate::log::v1::Proposal proposal;
  proposal.set_corp(corps_[0].id);
  proposal.set_expected_revision(revisions_++);
  proposal.set_request_id(name);
  proposal.set_time_ns(now_.wall_ns);
  auto* definition = proposal.add_definitions();
  definition->set_id(name);
  definition->mutable_campaign()->set_intent(::tidegate::log::v1::CAMPAIGN_INTENT_RUN);
  definition->mutable_campaign()->set_reminders(campaign.reminders);
  definition->mutable_campaign()->add_variants()->set_text("hello");
  definition->mutable_campaign()->mutable_variants(0)->set_link_url("https://example.com");
  definition->mutable_campaign()->mutable_variants(0)->set_link_title("hello");
  Fold(log::Topic::kDefinitions, Stored(proposal, revisions_));
  ::tidegate::log::v1::AudienceChunk chunk;
  chunk.set_corp(corps_[0].id);
  chunk.set_audience(name);
  chunk.set_round(1);
  chunk.set_shards(1);
  chunk.mutable_manifest()->set_chunks(1);
  for (const Recipient& recipient : campaign.audience) {
    auto* customer = chunk.add_customers();
    customer->set_customer(NameOfCustomer(recipient.customer));
    customer->set_owner(NameOfMember(recipient.member));
  }
  const int64_t each = campaign.customers_per_call;
  for (int64_t n = 0; n < campaign.calls * each; ++n) {
    auto* customer = chunk.add_customers();
    customer->set_customer(CustomerOf(number, n));
    customer->set_owner(MemberOf(number, n / each));
  }
  Fold(log::Topic::kAudiences, Stored(chunk, number));
}

void Lane::CountServed(size_t campaign) {
  bool all_have_work = true;
  for (size_t i = 0; i < left_of_campaign_.size(); ++i) {
    const bool begun = i == campaign || left_of_campaign_[i] < options_.campaigns[i].calls;
    all_have_work &= begun && left_of_campaign_[i] > 0;
  }
  --left_of_campaign_[campaign];
  if (all_have_work) ++result_.served_by_campaign[campaign];
}

// ---- Messages ----

int64_t Lane::MessageNs(size_t number) const {
  return start_ns_ + static_cast<int64_t>(options_.messages[number].at_seconds * 1e9);
}

void Lane::Message(size_t number) {
  Command command;
  command.set_corp(corps_[0].id);
  auto* batch = command.mutable_message_batch();
  batch->set_received_ns(now_.wall_ns);
  auto* content = batch->add_contents();
  content->set_text("hello");
  content->set_link_url("https://example.com");
  content->set_link_title("hello");
  auto* message = batch->add_messages();
  message->set_key(absl::StrCat("message ", number));
  message->set_customer(CustomerOfMessage(number));
  message->set_sender("m");
  message->set_message_class(options_.messages[number].message_class);
  Fold(log::Topic::kCommands, Stored(command, commands_++));
}

size_t Lane::MessageOf(const dispatch::CallToMake& call) {
  const auto body = json::parse(call.body);
  const std::string customer(body.at("external_userid").at(0).as_string());
  size_t message = 0;
  CHECK(absl::SimpleAtoi(customer.substr(2), &message));
  return message;
}

}  // namespace tidegate::sim
