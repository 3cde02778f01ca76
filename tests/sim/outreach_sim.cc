// A day of outreach: two campaigns with overlapping audiences, launched at the same moment in the
// morning, through the core of dispatch, as it runs in the product, to the simulated WeCom's core
// on a fake clock. Prints one JSON object. Used by sim.py.
//
//   outreach_sim --customers 1000000 --members 3000 --seed 7
//
// The best possible: each campaign's task is there for every member from the launch on, and each
// reminder comes at the earliest moment that is allowed: 2 and 6 hours later (the third is due on
// the next morning, when the count is over). A customer can be reached by then if the member's own
// draws of chance, which the simulated WeCom uses too, let the member confirm by then. No real task
// is there earlier, so no sender reaches more; which of the two campaigns a customer is in makes no
// difference, since members treat all their tasks alike.

#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <ctime>
#include <iostream>
#include <iterator>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "boost/json.hpp"
#include "common/base/check.h"
#include "common/base/civil_day.h"
#include "common/base/seeded_random.h"
#include "tests/sim/lane.h"
#include "tests/sim/network.h"

namespace tidegate::sim {
namespace {

namespace json = boost::json;
using wecom_simulator::CoreOptions;
using wecom_simulator::WitnessEntry;

struct Options {
  uint32_t customers = 1'000'000;
  uint32_t members = 3'000;
  uint64_t seed = 1;
};

constexpr int64_t kHourNs = 3600 * kNanosPerSecond;
constexpr int64_t kDayNs = 24 * kHourNs;
constexpr uint32_t kReminders = 3;
// Of a day of China.
constexpr int64_t kLaunchNs = 9 * kHourNs;
constexpr int64_t kCountedHours[] = {10, 12, 16, 20};
constexpr int64_t kEndNs = 36 * kHourNs;
constexpr wecom_table::QuietHours kQuiet{.from = 22 * 60, .to = 8 * 60};
constexpr int64_t kReminderAfterNs[] = {2 * kHourNs, 6 * kHourNs};
// Members confirm by themselves an hour after a task comes, on average; of all 40 % within two
// hours. Of the others a third does after a reminder, two hours after it on average: so some are
// about to when the count is over.
constexpr double kConfirmMeanMs = 3600e3;
constexpr double kRemindedMeanMs = 2 * 3600e3;
constexpr double kWithinTwoHours = 0.4;
constexpr double kConfirmReminded = 1.0 / 3;
// How uneven members are: the standard deviation of the logarithm of how many customers they have.
constexpr double kUneven = 1.2;

void SetMembers(CoreOptions* wecom) {
  wecom->confirm_mean_ms = kConfirmMeanMs;
  wecom->reminded_mean_ms = kRemindedMeanMs;
  wecom->confirm_never = 1 - kWithinTwoHours / (1 - std::exp(-2.0 * 3600e3 / kConfirmMeanMs));
  wecom->confirm_reminded = kConfirmReminded;
  wecom->confirm_alike = true;
  wecom->receive_quota = wecom_simulator::ReceiveQuotaKind::kOnePerDay;
}

// Whose each customer is.
std::vector<uint32_t> Owners(const Options& options, SeededRandom* random) {
  std::vector<double> upto;
  double sum = 0;
  for (uint32_t member = 0; member < options.members; ++member) {
    upto.push_back(sum += Lognormal(random, 1, kUneven));
  }
  std::vector<uint32_t> owners;
  owners.reserve(options.customers);
  for (uint32_t customer = 0; customer < options.customers; ++customer) {
    const auto at = std::upper_bound(upto.begin(), upto.end(), random->Unit() * sum);
    owners.push_back(static_cast<uint32_t>(std::min<size_t>(at - upto.begin(), upto.size() - 1)));
  }
  return owners;
}

// Each has two thirds of the customers; a third is in both.
std::vector<CampaignOptions> TwoCampaigns(const std::vector<uint32_t>& owners,
                                          SeededRandom* random) {
  std::vector<CampaignOptions> campaigns(2, CampaignOptions{.reminders = kReminders});
  for (uint32_t customer = 0; customer < owners.size(); ++customer) {
    const uint64_t third = random->Below(3);
    const Recipient recipient{.customer = customer, .member = owners[customer]};
    if (third != 2) campaigns[0].audience.push_back(recipient);
    if (third != 0) campaigns[1].audience.push_back(recipient);
  }
  return campaigns;
}

// How long after the launch the member confirms at best; INT64_MAX: never, or after a later
// reminder.
int64_t BestConfirmNs(const CoreOptions& wecom, const std::string& member) {
  int64_t best = wecom_simulator::OwnConfirmNs(wecom, "ww0", member, "");
  for (size_t i = 0; i < std::size(kReminderAfterNs) && best > kReminderAfterNs[i]; ++i) {
    const int64_t after = wecom_simulator::RemindedConfirmNs(wecom, "ww0", member, "", i + 1);
    if (after != INT64_MAX) best = std::min(best, kReminderAfterNs[i] + after);
  }
  return best;
}

// By each of the hours at which they are counted.
using ByHour = std::array<int64_t, std::size(kCountedHours)>;

ByHour BestReached(const CoreOptions& wecom, const std::vector<uint32_t>& owners,
                   uint32_t members) {
  std::vector<int64_t> confirms_ns;
  for (uint32_t member = 0; member < members; ++member) {
    confirms_ns.push_back(BestConfirmNs(wecom, NameOfMember(member)));
  }
  ByHour best{};
  for (const uint32_t member : owners) {
    for (size_t i = 0; i < best.size(); ++i) {
      best[i] += confirms_ns[member] <= kCountedHours[i] * kHourNs - kLaunchNs;
    }
  }
  return best;
}

// What WeCom was asked for.
class Witness {
 public:
  explicit Witness(int64_t midnight_ns) : midnight_ns_(midnight_ns) {}

  void Tell(const WitnessEntry& entry, const std::string& campaign) {
    ++calls_[entry.api];
    if (entry.verdict != "executed") {
      // A token's end is told by one refusal, and a task that is young by another.
      if (entry.errcode != 42001 && entry.errcode != 41063) ++refused_[entry.errcode];
      return;
    }
    if (entry.api == "remind_groupmsg_send") {
      reminded_[entry.msgid].push_back(entry.t_raw_ns);
    } else if (entry.api == "add_msg_template") {
      campaign_of_[entry.msgid] = campaign;
    } else {
      return;
    }
    const int64_t minute = (entry.t_wall_ns - midnight_ns_) % kDayNs / (60 * kNanosPerSecond);
    if (minute >= kQuiet.from || minute < kQuiet.to) ++in_quiet_hours_;
  }

  // By msgid.
  const std::map<std::string, std::string>& campaign_of() const { return campaign_of_; }
  int64_t tasks() const { return static_cast<int64_t>(campaign_of_.size()); }
  int64_t in_quiet_hours() const { return in_quiet_hours_; }
  int64_t reminders() const {
    int64_t sum = 0;
    for (const auto& [msgid, times] : reminded_) sum += static_cast<int64_t>(times.size());
    return sum;
  }
  // Of one task in any 24 h.
  int64_t most_reminders() const {
    int64_t most = 0;
    for (const auto& [msgid, times] : reminded_) {
      for (auto from = times.begin(), to = from; to != times.end(); ++to) {
        while (*to - *from >= kDayNs) ++from;
        most = std::max<int64_t>(most, to - from + 1);
      }
    }
    return most;
  }
  json::object calls() const {
    json::object calls;
    for (const auto& [api, count] : calls_) calls[api] = count;
    return calls;
  }
  json::object refused() const {
    json::object refused;
    for (const auto& [code, count] : refused_) refused[absl::StrCat(code)] = count;
    return refused;
  }

 private:
  const int64_t midnight_ns_;
  std::map<std::string, int64_t> calls_;
  std::map<int, int64_t> refused_;                        // by errcode
  std::map<std::string, std::vector<int64_t>> reminded_;  // by msgid
  std::map<std::string, std::string> campaign_of_;        // by msgid
  int64_t in_quiet_hours_ = 0;
};

// What reached customers, as WeCom counted it.
struct Reached {
  ByHour customers{};
  std::map<std::string, int64_t> by_campaign;
  int64_t over_quota = 0;       // got more than one on a day
  int64_t said_over_quota = 0;  // WeCom had to refuse one
};

Reached CountReached(Lane* lane, const Witness& witness, uint32_t customers, int64_t midnight_ns) {
  Reached reached;
  constexpr size_t kDays = 2;
  std::vector<std::array<uint8_t, kDays>> got(customers);
  std::vector<int64_t> first_ns(customers, INT64_MAX);
  const Now& now = lane->now();
  lane->wecom().EachRecipient("ww0", now, [&](const wecom_simulator::Recipient& recipient) {
    reached.said_over_quota += recipient.status == 3;
    if (recipient.status != 1) return;
    const int64_t wall_ns = now.wall_ns - (now.raw_ns - recipient.confirmed_raw_ns);
    uint32_t customer = 0;
    CHECK(absl::SimpleAtoi(recipient.customer.substr(2), &customer));
    ++got[customer][static_cast<size_t>((wall_ns - midnight_ns) / kDayNs)];
    first_ns[customer] = std::min(first_ns[customer], wall_ns - midnight_ns);
    if (wall_ns - midnight_ns > kCountedHours[std::size(kCountedHours) - 1] * kHourNs) return;
    ++reached.by_campaign[witness.campaign_of().at(recipient.msgid)];
  });
  for (uint32_t customer = 0; customer < customers; ++customer) {
    for (size_t i = 0; i < reached.customers.size(); ++i) {
      reached.customers[i] += first_ns[customer] <= kCountedHours[i] * kHourNs;
    }
    reached.over_quota += std::any_of(got[customer].begin(), got[customer].end(),
                                      [](uint8_t count) { return count > 1; });
  }
  return reached;
}

json::object Measure(const Options& options) {
  const std::clock_t began = std::clock();
  SeededRandom random(options.seed ^ 0x0D7EAC4u);
  const std::vector<uint32_t> owners = Owners(options, &random);
  const int64_t midnight_ns = StartOfCivilDay(20'783) * kNanosPerSecond;
  Witness witness(midnight_ns);
  LaneOptions lane;
  lane.seed = options.seed;
  lane.calls_per_corp = 0;
  lane.campaigns = TwoCampaigns(owners, &random);
  lane.ends_when_done = false;
  lane.start_s = (midnight_ns + kLaunchNs) / kNanosPerSecond;
  lane.quiet_hours = kQuiet;
  lane.receive_quota = wecom_table::ReceiveQuota::kOnePerDay;
  lane.set_wecom = SetMembers;
  lane.on_witness = [&](const WitnessEntry& entry, const std::string& campaign) {
    witness.Tell(entry, campaign);
  };
  Lane run(lane);
  run.RunFor(kEndNs - kLaunchNs);

  const Reached reached = CountReached(&run, witness, options.customers, midnight_ns);
  const ByHour best = BestReached(run.wecom().options(), owners, options.members);
  json::object by_campaign;
  for (const auto& [campaign, count] : reached.by_campaign) by_campaign[campaign] = count;
  json::object by_hour;
  std::vector<double> ratios;
  for (size_t i = 0; i < best.size(); ++i) {
    ratios.push_back(static_cast<double>(reached.customers[i]) / static_cast<double>(best[i]));
    by_hour[absl::StrCat(kCountedHours[i], ":00")] = ratios.back();
  }
  json::array audiences;
  for (const CampaignOptions& campaign : lane.campaigns) {
    audiences.emplace_back(campaign.audience.size());
  }
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return {{"customers", options.customers},
          {"members", options.members},
          {"audiences", std::move(audiences)},
          {"reached", reached.customers.back()},
          {"best", best.back()},
          {"ratio", ratios.back()},
          {"ratio_by_hour", std::move(by_hour)},
          {"reached_by_campaign", std::move(by_campaign)},
          {"over_quota", reached.over_quota},
          {"said_over_quota", reached.said_over_quota},
          {"tasks", witness.tasks()},
          {"reminders", witness.reminders()},
          {"most_reminders", witness.most_reminders()},
          {"in_quiet_hours", witness.in_quiet_hours()},
          {"calls", witness.calls()},
          {"refused", witness.refused()},
          {"unanswered", run.result().unanswered},
          {"late", run.result().late},
          {"cpu_seconds", static_cast<double>(std::clock() - began) / CLOCKS_PER_SEC},
          {"memory_mib", usage.ru_maxrss / 1024}};
}

}  // namespace
}  // namespace tidegate::sim

int main(int argc, char** argv) {
  tidegate::sim::Options options;
  CLI::App app("A simulated day of outreach.");
  app.add_option("--customers", options.customers)->check(CLI::Range(100, 50'000'000));
  app.add_option("--members", options.members)->check(CLI::Range(1, 1'000'000));
  app.add_option("--seed", options.seed);
  CLI11_PARSE(app, argc, argv);
  std::cout << boost::json::serialize(tidegate::sim::Measure(options)) << std::endl;
  return 0;
}
