// What planning costs: recipients a second of one core, from a frozen audience to packed calls with
// their ids, without and with a receive quota of which something is known for every customer,
// beside a loop that only copies the ids of the same customers into one buffer. Owners are chosen
// at random, as an audience is ordered by customer. Seconds are the thread's own: what others do on
// the machine does not count. Prints one JSON object. Used by plan_bench.py.
//
//   plan_bench --recipients 1000000 --rounds 7 --seed 1

#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_format.h"
#include "boost/json.hpp"
#include "common/base/check.h"
#include "common/base/seeded_random.h"
#include "services/dispatch/core/planner.h"
#include "services/dispatch/core/receive_quota.h"
#include "tests/bench/spread.h"
#include "tests/bench/thread_clock.h"

namespace tidegate::bench {
namespace {

namespace json = boost::json;
using dispatch::AudienceCustomer;

struct Options {
  size_t recipients = 1'000'000;
  int rounds = 7;
  uint64_t seed = 1;
};

constexpr char kCorp[] = "ww0";
constexpr char kCampaign[] = "spring";

double ThreadSeconds() { return static_cast<double>(ThreadNs()) * 1e-9; }

std::vector<AudienceCustomer> MakeAudience(size_t recipients, size_t owners, SeededRandom* random) {
  std::vector<AudienceCustomer> audience;
  audience.reserve(recipients);
  for (size_t i = 0; i < recipients; ++i) {
    audience.push_back({.customer = absl::StrFormat("wm%030d", i),
                        .owner = absl::StrFormat("member%05d", random->Below(owners))});
  }
  return audience;
}

constexpr auto kMode = ::tidegate::common::v1::RECEIVE_QUOTA_DAYS_IN_MONTH;
constexpr int64_t kWallNs = int64_t{1'790'000'000} * 1'000'000'000;

// Seconds of one plan with the ids of its calls. `quotas`: nullptr = without.
double PlanOnce(const std::vector<AudienceCustomer>& audience, uint32_t variants,
                dispatch::ReceiveQuotas* quotas, size_t* calls) {
  const double began = ThreadSeconds();
  std::vector<uint32_t> over;
  if (quotas != nullptr) over = quotas->OverQuota(kCorp, kMode, audience, kWallNs);
  const dispatch::Plan plan = dispatch::MakePlan(kCampaign, audience, variants, std::move(over));
  size_t letters = 0;
  for (uint32_t batch = 0; batch < plan.calls.size(); ++batch) {
    const std::string id = dispatch::CallId(kCorp, kCampaign, batch);
    letters += id.size() + dispatch::Marker(id).size();
  }
  const double seconds = ThreadSeconds() - began;
  CHECK(letters == 48 * plan.calls.size());
  *calls = plan.calls.size();
  return seconds;
}

double CopyOnce(const std::vector<AudienceCustomer>& audience, std::string* copied) {
  const double began = ThreadSeconds();
  copied->clear();
  for (const AudienceCustomer& customer : audience) copied->append(customer.customer);
  return ThreadSeconds() - began;
}

json::object Measure(size_t owners, uint32_t variants, const Options& options) {
  SeededRandom random(options.seed);
  const auto audience = MakeAudience(options.recipients, owners, &random);
  const auto recipients = static_cast<double>(audience.size());
  std::string copied;
  size_t calls = 0;
  CopyOnce(audience, &copied);  // pages are touched
  PlanOnce(audience, variants, nullptr, &calls);
  const wecom_table::Limits limits = wecom_table::DefaultLimits();
  const dispatch::CorpLimits corp_limits(&limits);
  dispatch::ReceiveQuotas quotas(&corp_limits);
  const double began = ThreadSeconds();
  quotas.ReservePlanned(kCorp, kMode, audience, kWallNs);
  const double reserve = ThreadSeconds() - began;
  std::vector<double> planned;
  std::vector<double> with_quota;
  std::vector<double> bare;
  std::vector<double> ratio;
  for (int round = 0; round < options.rounds; ++round) {
    const double copy = CopyOnce(audience, &copied);
    const double plan = PlanOnce(audience, variants, nullptr, &calls);
    with_quota.push_back(recipients / PlanOnce(audience, variants, &quotas, &calls));
    planned.push_back(recipients / plan);
    bare.push_back(recipients / copy);
    ratio.push_back(copy / plan);
  }
  return {{"recipients", audience.size()},
          {"owners", owners},
          {"variants", variants},
          {"calls", calls},
          {"plan_s", Spread(std::move(planned))},
          {"quota_s", Spread(std::move(with_quota))},
          {"first_reserved_s", recipients / reserve},
          {"quota_bytes", static_cast<double>(quotas.bytes(kCorp)) / recipients},
          {"copy_s", Spread(std::move(bare))},
          {"ratio", Spread(std::move(ratio))}};
}

}  // namespace
}  // namespace tidegate::bench

int main(int argc, char** argv) {
  tidegate::bench::Options options;
  CLI::App app("What planning costs.");
  app.add_option("--recipients", options.recipients, "of the audience")
      ->check(CLI::Range(1000, 100'000'000));
  app.add_option("--rounds", options.rounds)->check(CLI::Range(1, 1000));
  app.add_option("--seed", options.seed);
  CLI11_PARSE(app, argc, argv);
  boost::json::array rows;
  for (const auto& [owners, variants] :
       {std::pair<size_t, uint32_t>{1, 1}, {1'000, 1}, {1'000, 3}, {30'000, 3}}) {
    rows.push_back(tidegate::bench::Measure(owners, variants, options));
  }
  std::cout << boost::json::serialize(boost::json::object{{"rows", std::move(rows)}}) << "\n";
  return 0;
}
