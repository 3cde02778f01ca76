#include "tests/sim/lane.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/wecom_table/address_share.h"
#include "tidegate/log/v1/events.pb.h"
#include "tidegate/log/v1/header.pb.h"

namespace tidegate::sim {

using wecom_simulator::Ending;
using wecom_simulator::Scope;

namespace {

constexpr char kApi[] = "mark_tag";
constexpr int64_t kFairnessWindowNs = 10 * kNanosPerSecond;
constexpr size_t kBatchMax = 1000;
// A welcome that is not executed by then is dropped, on both sides.
constexpr int64_t kWelcomeOverNs = 25 * kNanosPerSecond;

}  // namespace

double Jain(const std::vector<int64_t>& got) {
  double sum = 0;
  double squares = 0;
  for (const int64_t each : got) {
    sum += static_cast<double>(each);
    squares += static_cast<double>(each) * static_cast<double>(each);
  }
  return sum * sum / (static_cast<double>(got.size()) * squares);
}

Lane::Lane(const LaneOptions& options)
    : options_(options),
      random_(options.seed),
      urgent_random_(options.seed ^ 0x7EC0DEu),
      start_ns_(1'000 * kNanosPerSecond) {
  now_ = {.wall_ns = options_.start_s * kNanosPerSecond, .raw_ns = start_ns_, .boot_ns = start_ns_};
  window_ends_ns_ = start_ns_ + kFairnessWindowNs;
  limits_ = options_.limits_json.empty() ? wecom_table::DefaultLimits()
                                         : *wecom_table::ParseLimits(options_.limits_json);
  limits_ = *wecom_table::LimitsOfShare(limits_, options_.address_millionths);
  limits_.quiet_hours = options_.quiet_hours;
  limits_.receive_quota = options_.receive_quota;
  connections_[0].most = options_.connections;
  connections_[1].most = options_.urgent_connections;
  SeedWecom();
  StartProcess();
  result_.accepted_by_corp.resize(options_.corps);
  result_.last_accepted_by_corp_ns.resize(options_.corps);
  for (size_t i = 0; i < corps_.size(); ++i) Feed(i);
  for (size_t i = 0; i < options_.campaigns.size(); ++i) {
    left_of_campaign_.push_back(options_.campaigns[i].calls);
    result_.served_by_campaign.push_back(0);
    Push(start_ns_ + static_cast<int64_t>(options_.campaigns[i].at_seconds * 1e9), Kind::kLaunch,
         i);
  }
  for (size_t i = 0; i < options_.messages.size(); ++i) {
    result_.messages_released_ns.push_back(-1);
    Push(MessageNs(i), Kind::kMessage, i);
  }
  for (const double at : options_.kill_at_seconds) {
    Push(start_ns_ + static_cast<int64_t>(at * 1e9), Kind::kKill);
  }
  other_requests_.resize(options_.other.at_once);
  for (size_t i = 0; i < other_requests_.size(); ++i) {
    Push(start_ns_ + static_cast<int64_t>(options_.other.from_seconds * 1e9), Kind::kOther, i);
  }
  if (options_.urgent.calls > 0) NextWelcome();
  if (options_.urgent.burst > 0) Push(start_ns_, Kind::kBurst);
  Push(now_.raw_ns, Kind::kTick);
}

Lane::~Lane() = default;

std::vector<wecom_simulator::LimitRow> Lane::limits() const {
  auto rows = wecom_->options().limits.RowsFor(kApi, Scope::kCorp);
  for (const auto& row : wecom_->options().limits.RowsFor(kApi, Scope::kIp)) rows.push_back(row);
  return rows;
}

// ---- Time ----

void Lane::Push(int64_t at_ns, Kind kind, size_t number) {
  events_.push({.at_ns = at_ns,
                .made = events_made_++,
                .kind = kind,
                .number = number,
                .generation = IsOfWire(kind) ? wires_[number].generation : 0});
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
    if (Done()) break;
  }
  const auto status = wecom_->OnControl("/control/status", {}, now_);
  CHECK(status.ok());
  result_.lockout_ms = status->at("lockout_ms_total").to_number<int64_t>();
  result_.lockouts = status->at("lockouts").to_number<int64_t>();
}

bool Lane::Done() const {
  if (!options_.ends_when_done || wanted_ < 0 || result_.fulfilled < wanted_) return false;
  if (result_.urgent.arrived < options_.urgent.calls) return false;
  return welcomed_.empty() || now_.raw_ns >= last_welcome_ns_ + kWelcomeOverNs;
}

void Lane::Handle(const Event& event) {
  switch (event.kind) {
    case Kind::kTick:
      if (event.at_ns == tick_at_ns_) tick_at_ns_ = -1;
      return Turn();
    case Kind::kAppended:
      return Applied();
    case Kind::kWelcome:
      Welcome();
      NextWelcome();
      return Turn();
    case Kind::kBurst:
      Burst();
      return Turn();
    case Kind::kLaunch:
      Launch(event.number);
      return Turn();
    case Kind::kMessage:
      Message(event.number);
      return Turn();
    case Kind::kKill:
      Kill();
      return Turn();
    case Kind::kOther:
      return Other(event.number);
    default:
      // Whoever gave up, or was answered after that, has gone.
      if (event.generation == wires_[event.number].generation) HandleOfWire(event);
  }
}

void Lane::HandleOfWire(const Event& event) {
  Wire& made = wires_[event.number];
  switch (event.kind) {
    case Kind::kArrives:
      return Arrive(event.number);
    case Kind::kLeaves:
      wecom_->OnAnswered(made.decision.request_id, now_);
      made.at_wecom = false;
      return FreeWire(event.number);
    case Kind::kAnswered:
      return Answer(event.number, made.decision.ending == Ending::kAnswer);
    case Kind::kGivesUp:
      return Answer(event.number, false);
    default:
      CHECK(false);
  }
}

// ---- The process, and the lane's thread ----

void Lane::StartProcess() {
  dispatch::DispatchOptions dispatch;
  for (const Corp& corp : corps_) dispatch.agent_ids[corp.id] = kAgent;
  core_ = std::make_unique<dispatch::DispatchCore>(std::move(dispatch), &limits_);
  core_->OnCalls([this](std::vector<dispatch::CallToMake> calls) { Send(std::move(calls)); });
  ::tidegate::log::v1::RecordHeader header;
  header.mutable_source();
  for (const auto& [topic, record] : inputs_) core_->Fold({topic, 0}, record, header);
  std::vector<core::OutboxRecord> outbox;
  for (const auto& [decision, context] : journal_) {
    core_->Apply(decision.key, decision.value, context, &outbox);
  }
  ::tidegate::log::v1::Fence fence;
  fence.set_owner(absl::StrCat("process ", ++epoch_));
  fence.set_boot_id("boot");
  fence.set_raw_time_ns(now_.raw_ns);
  fence.set_boot_time_ns(now_.boot_ns);
  fence.set_wall_time_ns(now_.wall_ns);
  fence.set_predecessor_dead(true);
  core_->ApplyFence(fence, epoch_);
}

void Lane::Kill() {
  batch_.clear();
  answers_.clear();
  for (size_t wire = 0; wire < wires_.size(); ++wire) {
    // What has left arrives all the same, and nobody takes its answer.
    if (std::exchange(wires_[wire].over, true)) continue;
    if (!wires_[wire].at_wecom) FreeWire(wire);
  }
  for (Connections& connections : connections_) connections = {.most = connections.most};
  StartProcess();
}

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
  if (!batch_.empty()) {
    const int64_t decided_ns = options_.decision_ns * static_cast<int64_t>(batch_.size());
    return Push(now_.raw_ns + decided_ns + options_.append_ns, Kind::kAppended);
  }
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
    core::ApplyContext context{.epoch = epoch_, .seq = ++seq_, .offset = seq_, .live = true};
    core_->Apply(decision.key, decision.value, context, &outbox);
    context.live = false;
    if (!options_.kill_at_seconds.empty()) journal_.emplace_back(decision, context);
  }
  for (const core::OutboxRecord& record : outbox) {
    ::tidegate::log::v1::CustomerEvent event;
    CHECK(event.ParseFromString(record.value));
    ++result_.touches[event.kind()];
  }
  core_->EndBatch();
  core_->Release(now_);
  Turn();
}

void Lane::EndWindow() {
  int64_t sum = 0;
  std::vector<int64_t> got;
  for (Corp& corp : corps_) {
    got.push_back(std::exchange(corp.in_window, 0));
    sum += got.back();
  }
  window_ends_ns_ += kFairnessWindowNs;
  const bool forward = window_ends_ns_ / kFairnessWindowNs % 2 == 0;
  const auto step_ns = static_cast<int64_t>(options_.wall_step_seconds * 1e9);
  now_.wall_ns += forward ? step_ns : -step_ns;
  // A window in which hardly anything may leave says nothing.
  if (sum < 10 * static_cast<int64_t>(corps_.size())) return;
  const double jain = Jain(got);
  result_.jain_sum += jain;
  ++result_.jain_windows;
  result_.jain_min = std::min(result_.jain_min, jain);
}

}  // namespace tidegate::sim
