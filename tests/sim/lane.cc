#include "tests/sim/lane.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "boost/json.hpp"
#include "common/base/check.h"
#include "tests/sim/network.h"
#include "tidegate/log/v1/commands.pb.h"
#include "tidegate/log/v1/header.pb.h"

namespace tidegate::sim {

namespace json = boost::json;
using wecom_simulator::Ending;
using wecom_simulator::Scope;

namespace {

constexpr char kAgent[] = "1000002";
constexpr char kAddress[] = "192.0.2.1";
constexpr char kApi[] = "mark_tag";
// A call whose answer is lost holds its customer for a while; so many have to be at hand.
constexpr size_t kCustomers = 20'000;
constexpr size_t kCustomersOfCorpMin = 500;
// Wishes of a corp that the core knows: enough that none of its turns is lost.
constexpr int64_t kWishesAhead = 60;
constexpr int64_t kFairnessWindowNs = 10 * kNanosPerSecond;
constexpr size_t kBatchMax = 256;

std::string CustomerOf(size_t number) { return absl::StrFormat("wm%030d", number); }

}  // namespace

Lane::Lane(const LaneOptions& options)
    : options_(options), random_(options.seed), start_ns_(1'000 * kNanosPerSecond) {
  now_ = {.wall_ns = 1'790'000'000 * kNanosPerSecond, .raw_ns = start_ns_, .boot_ns = start_ns_};
  window_ends_ns_ = start_ns_ + kFairnessWindowNs;
  limits_ = options_.limits_json.empty() ? wecom_table::DefaultLimits()
                                         : *wecom_table::ParseLimits(options_.limits_json);
  wecom_simulator::CoreOptions wecom;
  wecom.seed = options_.seed;
  wecom.window = options_.window;
  const std::string& of_wecom =
      options_.wecom_limits_json.empty() ? options_.limits_json : options_.wecom_limits_json;
  if (!of_wecom.empty()) wecom.limits = *wecom_simulator::ParseLimits(of_wecom);
  wecom.latency_median_ms = options_.served_median_ms;
  wecom.latency_p99_ms = options_.served_p99_ms;
  wecom_ = std::make_unique<wecom_simulator::WecomCore>(std::move(wecom));
  dispatch::DispatchOptions dispatch;
  customers_of_corp_ = std::max(kCustomers / options_.corps, kCustomersOfCorpMin);
  json::array customers;
  for (size_t c = 0; c < customers_of_corp_; ++c) {
    customers.push_back({{"external_userid", CustomerOf(c)}, {"member", "m"}});
  }
  for (size_t i = 0; i < options_.corps; ++i) {
    Corp& corp = corps_.emplace_back();
    corp.id = absl::StrCat("ww", i);
    const auto own = options_.calls_of.find(i);
    corp.left = own != options_.calls_of.end() ? own->second : options_.calls_per_corp;
    wanted_ = corp.left < 0 || wanted_ < 0 ? -1 : wanted_ + corp.left;
    corp_of_[corp.id] = i;
    dispatch.agent_ids[corp.id] = kAgent;
    const auto seeded = wecom_->OnControl(
        "/control/seed",
        {{"corp_id", corp.id},
         {"apps", {{{"agent_id", kAgent}, {"secret", absl::StrCat("secret of ", i)}}}},
         {"members", {"m"}},
         {"tags", {"t"}},
         {"customers", customers}},
        now_);
    CHECK(seeded.ok());
  }
  if (options_.reset_share > 0) {
    CHECK(
        wecom_
            ->OnControl(
                "/control/faults",
                {{"api", kApi}, {"kind", "EXEC_THEN_CLOSE"}, {"probability", options_.reset_share}},
                now_)
            .ok());
  }
  core_ = std::make_unique<dispatch::DispatchCore>(std::move(dispatch), &limits_);
  core_->OnCalls([this](std::vector<dispatch::CallToMake> calls) { Send(std::move(calls)); });
  ::tidegate::log::v1::Fence fence;
  fence.set_owner("sim");
  fence.set_boot_id("boot");
  fence.set_raw_time_ns(now_.raw_ns);
  fence.set_boot_time_ns(now_.boot_ns);
  fence.set_wall_time_ns(now_.wall_ns);
  fence.set_predecessor_dead(true);
  core_->ApplyFence(fence, 1);
  result_.accepted_by_corp.resize(options_.corps);
  result_.last_accepted_by_corp_ns.resize(options_.corps);
  for (size_t i = 0; i < corps_.size(); ++i) Feed(i);
  Push(now_.raw_ns, Kind::kTick);
}

Lane::~Lane() = default;

std::vector<wecom_simulator::LimitRow> Lane::limits() const {
  auto rows = wecom_->options().limits.RowsFor(kApi, Scope::kCorp);
  for (const auto& row : wecom_->options().limits.RowsFor(kApi, Scope::kIp)) rows.push_back(row);
  return rows;
}

// ---- Time ----

void Lane::Push(int64_t at_ns, Kind kind, size_t wire) {
  const bool of_wire = kind != Kind::kTick && kind != Kind::kAppended;
  events_.push({.at_ns = at_ns,
                .number = events_made_++,
                .kind = kind,
                .wire = wire,
                .generation = of_wire ? wires_[wire].generation : 0});
}

void Lane::RunFor(int64_t ns) {
  const int64_t end_ns = start_ns_ + ns;
  while (!events_.empty() && events_.top().at_ns <= end_ns) {
    const Event event = events_.top();
    events_.pop();
    while (event.at_ns >= window_ends_ns_) EndWindow();
    const int64_t passed = event.at_ns - now_.raw_ns;
    now_.raw_ns += passed;
    now_.boot_ns += passed;
    now_.wall_ns += passed;
    ++result_.events;
    Handle(event);
    if (wanted_ >= 0 && result_.fulfilled >= wanted_) break;
  }
  const auto status = wecom_->OnControl("/control/status", {}, now_);
  CHECK(status.ok());
  result_.lockout_ms = status->at("lockout_ms_total").to_number<int64_t>();
  result_.lockouts = status->at("lockouts").to_number<int64_t>();
}

void Lane::Handle(const Event& event) {
  switch (event.kind) {
    case Kind::kTick:
      if (event.at_ns == tick_at_ns_) tick_at_ns_ = -1;
      return Turn();
    case Kind::kAppended:
      return Applied();
    default:
      // Whoever gave up, or was answered after that, has gone.
      if (event.generation == wires_[event.wire].generation) HandleOfWire(event);
  }
}

void Lane::HandleOfWire(const Event& event) {
  switch (event.kind) {
    case Kind::kTick:
    case Kind::kAppended:
      return;
    case Kind::kArrives:
      return Arrive(event.wire);
    case Kind::kLeaves:
      wecom_->OnAnswered(wires_[event.wire].decision.request_id, now_);
      wires_[event.wire].at_wecom = false;
      return FreeWire(event.wire);
    case Kind::kAnswered:
      return Answer(event.wire, wires_[event.wire].decision.ending == Ending::kAnswer);
    case Kind::kGivesUp:
      return Answer(event.wire, false);
  }
}

// ---- The lane's thread ----

void Lane::Turn() {
  if (!batch_.empty()) return;
  while (!answers_.empty() && batch_.size() < kBatchMax) {
    const auto answer = std::move(answers_.front());
    answers_.pop_front();
    if (auto decision = core_->Decide({.local = answer.get()}, now_)) {
      batch_.push_back(*std::move(decision));
    }
  }
  while (batch_.size() < kBatchMax) {
    auto decision = core_->Decide({}, now_);
    if (!decision.has_value()) break;
    batch_.push_back(*std::move(decision));
  }
  if (!batch_.empty()) return Push(now_.raw_ns + options_.append_ns, Kind::kAppended);
  core_->EndBatch();
  const auto next = core_->NextTickRawNs(now_);
  if (!next.has_value()) return;
  const int64_t at_ns = std::max(*next, now_.raw_ns + 1);
  if (tick_at_ns_ > now_.raw_ns && tick_at_ns_ <= at_ns) return;
  tick_at_ns_ = at_ns;
  Push(at_ns, Kind::kTick);
}

void Lane::Applied() {
  std::vector<core::Decision> batch;
  batch.swap(batch_);
  std::vector<core::OutboxRecord> outbox;
  for (const core::Decision& decision : batch) {
    core_->Apply(decision.key, decision.value,
                 {.epoch = 1, .seq = ++seq_, .offset = seq_, .live = true}, &outbox);
  }
  core_->EndBatch();
  core_->Release(now_);
  Turn();
}

void Lane::Feed(size_t number) {
  Corp& corp = corps_[number];
  while (corp.wishes < kWishesAhead && corp.left != 0) {
    ::tidegate::log::v1::Command command;
    command.set_corp(corp.id);
    command.set_member("m");
    command.set_customer(CustomerOf(corp.next_customer++ % customers_of_corp_));
    command.mutable_mark_tag()->add_add("t");
    log::StoredRecord stored;
    stored.offset = commands_++;
    stored.record.value = command.SerializeAsString();
    ::tidegate::log::v1::RecordHeader header;
    header.mutable_source();
    core_->Fold({log::Topic::kCommands, 0}, stored, header);
    ++corp.wishes;
    if (corp.left > 0) --corp.left;
  }
}

// ---- The wire ----

int64_t Lane::NetworkNs() {
  const double sigma = std::log(options_.network_p99_ms / options_.network_median_ms) / 2.3263;
  return static_cast<int64_t>(Lognormal(&random_, options_.network_median_ms, sigma) *
                              static_cast<double>(kNanosPerMilli));
}

int64_t Lane::Through(int64_t at_ns) const {
  if (options_.stall_seconds <= 0) return at_ns;
  const auto every = static_cast<int64_t>(options_.stall_every_seconds * 1e9);
  const auto stall = static_cast<int64_t>(options_.stall_seconds * 1e9);
  return start_ns_ + AfterStall(at_ns - start_ns_, every, stall);
}

size_t Lane::NewWire() {
  if (free_wires_.empty()) {
    wires_.emplace_back();
    return wires_.size() - 1;
  }
  const size_t wire = free_wires_.back();
  free_wires_.pop_back();
  wires_[wire] = Wire{.generation = wires_[wire].generation + 1};
  return wire;
}

void Lane::FreeWire(size_t wire) {
  if (wires_[wire].over && !wires_[wire].at_wecom) free_wires_.push_back(wire);
}

void Lane::FetchToken(Corp* corp) {
  const auto decision = wecom_->OnRequest(
      {"GET", "/cgi-bin/gettoken",
       absl::StrCat("corpid=", corp->id, "&corpsecret=secret%20of%20", corp->id.substr(2)), "",
       kAddress},
      now_);
  wecom_->OnAnswered(decision.request_id, now_);
  const auto answer = json::parse(decision.body).as_object();
  CHECK(answer.at("errcode").to_number<int>() == 0);
  corp->token = std::string(answer.at("access_token").as_string());
}

void Lane::Send(std::vector<dispatch::CallToMake> calls) {
  for (dispatch::CallToMake& call : calls) {
    const size_t wire = NewWire();
    Wire& made = wires_[wire];
    made.corp = corp_of_.at(call.corp);
    made.call = std::move(call);
    made.sent_ns = now_.raw_ns;
    made.at_wecom = true;
    Push(Through(now_.raw_ns + NetworkNs()), Kind::kArrives, wire);
    Push(now_.raw_ns + limits_.http_deadline_ns, Kind::kGivesUp, wire);
  }
}

void Lane::Arrive(size_t wire) {
  Wire& made = wires_[wire];
  Corp& corp = corps_[made.corp];
  if (corp.token.empty()) FetchToken(&corp);
  made.decision =
      wecom_->OnRequest({"POST", absl::StrCat("/cgi-bin/externalcontact/", made.call.api),
                         absl::StrCat("access_token=", corp.token), made.call.body, kAddress},
                        now_);
  if (result_.first_arrival_ns < 0) result_.first_arrival_ns = now_.raw_ns;
  const auto& entry = made.decision.entry;
  if (entry.verdict == "executed") {
    ++result_.accepted;
    ++result_.accepted_by_corp[made.corp];
    ++corp.in_window;
    result_.last_accepted_ns = now_.raw_ns;
    result_.last_accepted_by_corp_ns[made.corp] = now_.raw_ns;
  } else {
    ++result_.rejected[entry.errcode];
    // What a token's end costs is one refusal.
    if (entry.errcode == 42001 || entry.errcode == 40014) corp.token.clear();
  }
  Push(made.decision.answer_at_raw_ns, Kind::kLeaves, wire);
  Push(Through(made.decision.answer_at_raw_ns + NetworkNs()), Kind::kAnswered, wire);
}

void Lane::Answer(size_t wire, bool answered) {
  Wire& made = wires_[wire];
  // The first of answer and patience's end.
  if (made.over) return;
  made.over = true;
  Corp& corp = corps_[made.corp];
  auto answer = std::make_unique<dispatch::CallAnswer>();
  answer->call_id = made.call.call_id;
  answer->attempt = made.call.attempt;
  answer->bytes_written = true;
  answer->answered = answered;
  answer->http_status = made.decision.http_status;
  if (answered) answer->body = made.decision.body;
  answer->completed = now_;
  answers_.push_back(std::move(answer));
  if (!answered) ++result_.unanswered;
  if (answered && made.decision.entry.verdict == "executed") {
    ++result_.fulfilled;
    --corp.wishes;
    Feed(made.corp);
  }
  FreeWire(wire);
  Turn();
}

void Lane::EndWindow() {
  double sum = 0;
  double squares = 0;
  for (Corp& corp : corps_) {
    const auto got = static_cast<double>(corp.in_window);
    sum += got;
    squares += got * got;
    corp.in_window = 0;
  }
  window_ends_ns_ += kFairnessWindowNs;
  // A window in which hardly anything may leave says nothing.
  if (sum < 10 * static_cast<double>(corps_.size())) return;
  const double jain = sum * sum / (static_cast<double>(corps_.size()) * squares);
  result_.jain_sum += jain;
  ++result_.jain_windows;
  result_.jain_min = std::min(result_.jain_min, jain);
}

}  // namespace tidegate::sim
