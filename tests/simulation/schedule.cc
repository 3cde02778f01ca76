#include "tests/simulation/schedule.h"

#include <algorithm>
#include <boost/json.hpp>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/civil_day.h"
#include "common/base/hash.h"
#include "common/base/partitioner.h"
#include "common/base/seeded_random.h"
#include "common/core/header_codec.h"
#include "common/http/server.h"
#include "common/log/memory_log.h"
#include "common/wecom/callback_crypto.h"
#include "common/wecom/callback_xml.h"
#include "common/wecom_table/endpoints.h"
#include "services/ingestion/core/event_builder.h"
#include "services/wecom_simulator/core/wecom_core.h"
#include "tests/simulation/process.h"
#include "tidegate/log/v1/definitions.pb.h"
#include "tidegate/log/v1/events.pb.h"
#include "tidegate/log/v1/ledger.pb.h"

namespace tidegate::simulation {
namespace {

namespace json = boost::json;
using log::Topic;
using ::tidegate::log::v1::CustomerEvent;
using ::tidegate::log::v1::LedgerRecord;
using ::tidegate::log::v1::Proposal;
using wecom_simulator::Ending;
using wecom_simulator::WecomCore;
using wecom_simulator::WitnessEntry;

constexpr int kCustomers = 60;
constexpr int kMembers = 6;
constexpr int kAdds = 8;
constexpr int kFaultSteps = 2500;
constexpr int kQuietStepsMax = 40'000;
constexpr char kToken[] = "callbacktoken";
constexpr char kAesKey[] = "K7mQ2xV9bT4nR8wY3cF6hJ1sD5gL0pZaXeUiOqWtBvC";
// One file for the product and the simulator, so that both mean the same.
constexpr char kLimits[] = R"({
  "limits": [
    {"api": "add_msg_template", "scope": "corp", "amount": 4, "window_ms": 1000, "lockout_ms": 1000},
    {"api": "add_msg_template", "scope": "corp", "amount": 10, "window_ms": 4000, "lockout_ms": 4000}],
  "in_flight": [{"api": "add_msg_template", "amount": 3}, {"api": "mark_tag", "amount": 2}],
  "http_deadline_ms": 300,
  "settle": {"user_timeout_ms": 200, "hold_ms": 400, "list_lag_ms": 200, "skew_ms": 50, "factor": 1.5,
             "list_gap_ms": 100},
  "results": {"first_poll_ms": 100, "poll_ms": 400, "close_after_ms": 3000}})";

// How long what left too late counts at WeCom: the longest window and its lockout.
constexpr int64_t kLateCountsNs = 8 * kNanosPerSecond;

std::string CustomerId(int number) { return absl::StrCat("wm", number); }
std::string MemberId(int number) { return absl::StrCat("m", number % kMembers); }

class Schedule {
 public:
  explicit Schedule(uint64_t seed);
  Verdict Run();

 private:
  struct Wire {  // a request on its way to WeCom
    int64_t arrives_raw_ns;
    int64_t sent_raw_ns;
    int64_t sent_boot_ns;
    int process;
    dispatch::CallToMake call;
  };
  struct Later {  // what the fake network does at a time
    int64_t at_raw_ns;
    std::function<void()> act;
  };
  // A process that was replaced while it lived: it stands still for a while, goes on, and ends.
  struct Zombie {
    std::unique_ptr<Process> process;
    int64_t goes_on_raw_ns;
    int64_t ends_raw_ns;
    // Its calls of which no byte has left. One that had looked at its send deadline before the
    // process stopped does not look again.
    std::vector<std::pair<dispatch::CallToMake, bool>> held;
  };

  void Violation(std::string what) {
    if (verdict_.violations.size() < 10) verdict_.violations.push_back(std::move(what));
  }
  int64_t Millis(int64_t below) {
    return static_cast<int64_t>(random_.Below(static_cast<uint64_t>(below))) * kNanosPerMilli;
  }
  void Advance(int64_t ns);
  void Propose(std::vector<::tidegate::log::v1::Definition> definitions);
  void Define();
  void Launch();
  void SetIntent(::tidegate::log::v1::CampaignIntent intent);
  void Publish(const CustomerEvent& event);
  void PublishSomething();
  void StartProcess();
  void StopProcess();
  void StopIfDue();
  void ForgetStop() {
    stop_at_create_ = stop_after_own_fence_ = create_released_ = ledger_append_failed_ = false;
  }
  // The process is gone; its successors hear of it some time later.
  void End(std::unique_ptr<Process> process);
  void RunZombies();
  void LookForFormerOwners(Process* process);
  Process* FindProcess(int id);
  void TakeCalls(Process* process, std::vector<dispatch::CallToMake> calls);
  void Send(int process, dispatch::CallToMake call);
  void Arrive(const Wire& wire);
  void AnswerEnds(bool faults);
  void TellAnswer(int process, const dispatch::CallToMake& call, bool answered, std::string body);
  void RunNetwork();
  void TakeCallbacks(bool faults);
  void ReadLedger();
  void Fault();
  void Step(bool faults);
  bool Done();
  void Judge();

  SeededRandom random_;
  log::MemoryLog log_{log::MemoryLogOptions{.manual = true, .manual_ends = true}};
  wecom_table::Limits limits_ = *wecom_table::ParseLimits(kLimits);
  std::unique_ptr<WecomCore> wecom_;
  wecom::CallbackCrypto crypto_ = *wecom::CallbackCrypto::Create(kToken, kAesKey, kCorp);
  std::string access_token_;
  Now now_{.wall_ns = 1'790'000'000 * kNanosPerSecond,
           .raw_ns = 1'000 * kNanosPerSecond,
           .boot_ns = 1'000 * kNanosPerSecond};
  Verdict verdict_;
  std::vector<WitnessEntry> witness_;

  int processes_ = 0;
  std::unique_ptr<Process> process_;
  std::vector<Zombie> zombies_;
  // The process is to stop when it has released a create: at once, or after it lost the create at a
  // fence of its own.
  bool stop_at_create_ = false;
  bool stop_after_own_fence_ = false;
  bool create_released_ = false;
  bool ledger_append_failed_ = false;
  std::map<std::string, int64_t> end_known_raw_ns_;  // of processes that ended, by owner
  std::vector<Wire> wires_;
  std::vector<Later> later_;
  // A call that left too late is in nobody's buckets: until then WeCom may refuse others for it.
  int64_t refusals_excused_until_raw_ns_ = 0;

  // The model: what was put in.
  std::map<std::string, std::map<std::string, int64_t>> orders_;  // customer, order id, fen
  std::vector<CustomerEvent> published_;
  int customers_published_ = 0;
  int orders_published_ = 0;
  int adds_made_ = 0;
  uint64_t revision_ = 0;
  int requests_ = 0;
  bool launched_ = false;
  ::tidegate::log::v1::Campaign campaign_;

  uint64_t ledger_position_ = 0;
  std::set<std::pair<std::string, uint32_t>> durable_attempts_;
};

Schedule::Schedule(uint64_t seed) : random_(seed) {
  wecom_simulator::CoreOptions options;
  options.seed = seed;
  options.window =
      seed % 2 == 0 ? wecom_simulator::WindowKind::kFixed : wecom_simulator::WindowKind::kSliding;
  options.limits = *wecom_simulator::ParseLimits(kLimits);
  options.confirm_mean_ms = 500;
  options.distributing_ms = 100;
  options.list_page_max = 2;
  wecom_ = std::make_unique<WecomCore>(std::move(options));
  json::array members, customers;
  for (int m = 0; m < kMembers; ++m) members.emplace_back(MemberId(m));
  for (int c = 0; c < kCustomers; ++c) {
    customers.push_back({{"external_userid", CustomerId(c)}, {"member", MemberId(c)}});
  }
  const auto seeded = wecom_->OnControl("/control/seed",
                                        {{"corp_id", kCorp},
                                         {"apps",
                                          {{{"agent_id", kAgent},
                                            {"secret", "s"},
                                            {"token", kToken},
                                            {"aes_key", kAesKey},
                                            {"callback_url", "http://callback/x"}}}},
                                         {"members", members},
                                         {"tags", {"loyal", "channel"}},
                                         {"customers", customers}},
                                        now_);
  if (!seeded.ok()) Violation(absl::StrCat("harness: seed: ", seeded.status().message()));
  const auto fault = [&](const char* api, const char* kind, double probability) {
    if (!wecom_
             ->OnControl("/control/faults",
                         {{"api", api}, {"kind", kind}, {"probability", probability}}, now_)
             .ok()) {
      Violation("harness: faults");
    }
  };
  fault("add_msg_template", "EXEC_THEN_CLOSE", 0.08);
  fault("add_msg_template", "EXEC_THEN_TIMEOUT", 0.08);
  fault("add_msg_template", "EXEC_THEN_-1", 0.05);
  fault("add_msg_template", "EXEC_THEN_GARBAGE", 0.03);
  fault("add_msg_template", "DROP_THEN_CLOSE", 0.05);
  fault("mark_tag", "EXEC_THEN_CLOSE", 0.05);
  fault("send_welcome_msg", "EXEC_THEN_CLOSE", 0.05);
  fault("get_groupmsg_list_v2", "LIST_ERR", 0.1);
  const auto token = wecom_->OnRequest(
      {"GET", "/cgi-bin/gettoken", absl::StrCat("corpid=", kCorp, "&corpsecret=s"), "", "10.0.0.1"},
      now_);
  wecom_->OnAnswered(token.request_id, now_);
  access_token_ = std::string(json::parse(token.body).as_object().at("access_token").as_string());
  Define();
  StartProcess();
}

void Schedule::Advance(int64_t ns) {
  now_.wall_ns += ns;
  now_.raw_ns += ns;
  now_.boot_ns += ns;
}

// ---- What people do ----

void Schedule::Propose(std::vector<::tidegate::log::v1::Definition> definitions) {
  Proposal proposal;
  proposal.set_corp(kCorp);
  proposal.set_expected_revision(revision_++);
  proposal.set_request_id(absl::StrCat("request ", ++requests_));
  proposal.set_time_ns(now_.wall_ns);
  for (auto& definition : definitions) *proposal.add_definitions() = std::move(definition);
  log_.InjectRaw({Topic::kDefinitions, 0},
                 {.key = kCorp, .header = "", .value = proposal.SerializeAsString()});
}

void Schedule::Define() {
  std::vector<::tidegate::log::v1::Definition> definitions(2);
  definitions[0].set_id("loyal");
  definitions[0].mutable_rule()->set_event_kind("order_paid");
  definitions[0].mutable_rule()->set_condition("orders.count >= 2");
  definitions[0].mutable_rule()->add_tags("loyal");
  definitions[1].set_id("qr");
  definitions[1].mutable_channel()->set_state("qr");
  definitions[1].mutable_channel()->add_tags("channel");
  definitions[1].mutable_channel()->set_welcome_text("welcome");
  Propose(std::move(definitions));
}

void Schedule::Launch() {
  launched_ = true;
  campaign_.set_audience_expression("orders.count >= 1");
  for (const char* text : {"spring", "summer"}) {
    auto* variant = campaign_.add_variants();
    variant->set_text(text);
    variant->set_link_url("https://example.com/a?b=c");
    variant->set_link_title("look");
  }
  std::vector<::tidegate::log::v1::Definition> definitions(2);
  campaign_.set_intent(::tidegate::log::v1::CAMPAIGN_INTENT_RUN);
  definitions[0].set_id("spring");
  *definitions[0].mutable_campaign() = campaign_;
  definitions[1].set_id("spring");
  definitions[1].mutable_audience()->set_expression(campaign_.audience_expression());
  definitions[1].mutable_audience()->set_campaign("spring");
  Propose(std::move(definitions));
}

void Schedule::SetIntent(::tidegate::log::v1::CampaignIntent intent) {
  campaign_.set_intent(intent);
  std::vector<::tidegate::log::v1::Definition> definitions(1);
  definitions[0].set_id("spring");
  *definitions[0].mutable_campaign() = campaign_;
  Propose(std::move(definitions));
}

void Schedule::Publish(const CustomerEvent& event) {
  const std::string key = CustomerKey(event.corp(), event.customer());
  log_.InjectRaw({Topic::kEvents, PartitionOf(key, kPartitions)},
                 {.key = key, .header = "", .value = event.SerializeAsString()});
}

// A customer, an order, or something that was published before.
void Schedule::PublishSomething() {
  if (!published_.empty() && random_.Chance(0.2)) {
    return Publish(published_[random_.Below(published_.size())]);
  }
  CustomerEvent event;
  event.set_corp(kCorp);
  event.set_source("shop");
  event.set_event_time_ns(now_.wall_ns);
  event.set_received_time_ns(now_.wall_ns);
  event.set_corp_revision(1);
  if (customers_published_ < kCustomers) {
    const int customer = customers_published_++;
    event.set_customer(CustomerId(customer));
    event.set_event_id(absl::StrCat("customer ", customer));
    event.set_kind("customer_imported");
    event.mutable_customer_import()->set_owner(MemberId(customer));
  } else if (orders_published_ < kCustomers * 2) {
    const int order = orders_published_++;
    const std::string customer = CustomerId(static_cast<int>(random_.Below(kCustomers)));
    event.set_customer(customer);
    event.set_event_id(absl::StrCat("order ", order));
    event.set_kind("order_paid");
    event.mutable_order()->set_order_id(absl::StrCat(order));
    event.mutable_order()->set_amount_fen(static_cast<int64_t>(random_.Below(100'000)));
    event.mutable_order()->set_paid_time_s(now_.wall_ns / kNanosPerSecond);
    orders_[customer][event.order().order_id()] = event.order().amount_fen();
  } else {
    return;
  }
  published_.push_back(event);
  Publish(event);
}

// ---- Processes and the network ----

void Schedule::StartProcess() {
  ForgetStop();
  process_ =
      std::make_unique<Process>(++processes_, &log_, &limits_,
                                [this](Process* process, std::vector<dispatch::CallToMake> calls) {
                                  TakeCalls(process, std::move(calls));
                                });
}

// A takeover while the former owner lives on: perhaps standing still, with calls of which no byte
// has left yet.
void Schedule::StopProcess() {
  ++verdict_.takeovers;
  Zombie zombie;
  zombie.goes_on_raw_ns = now_.raw_ns + (random_.Chance(0.3) ? 0 : Millis(6000));
  zombie.ends_raw_ns = now_.raw_ns + Millis(9000);
  for (auto it = wires_.begin(); it != wires_.end();) {
    if (it->process != process_->id() || random_.Chance(0.3)) {
      ++it;
      continue;
    }
    zombie.held.emplace_back(std::move(it->call), random_.Chance(0.7));
    it = wires_.erase(it);
  }
  zombie.process = std::move(process_);
  zombies_.push_back(std::move(zombie));
  StartProcess();
}

void Schedule::StopIfDue() {
  if (!create_released_) return;
  if (stop_at_create_) return StopProcess();
  if (!ledger_append_failed_) {
    ledger_append_failed_ =
        log_.FailNext(absl::InternalError("fault"), 0, log::TopicPartition{Topic::kLedger, 0});
  } else if (process_->Live()) {  // with its new fence
    StopProcess();
  }
}

void Schedule::End(std::unique_ptr<Process> process) {
  end_known_raw_ns_[process->owner()] = now_.raw_ns + Millis(1500);
}

void Schedule::RunZombies() {
  for (Zombie& zombie : zombies_) {
    if (now_.raw_ns >= zombie.ends_raw_ns) {
      End(std::move(zombie.process));
      continue;
    }
    if (now_.raw_ns < zombie.goes_on_raw_ns) continue;
    for (auto& [call, deadline_seen] : zombie.held) {
      const bool late = now_.boot_ns > call.send_deadline_boot_ns;
      if (late && !deadline_seen) continue;
      if (late && call.api == "add_msg_template") ++verdict_.late_creates;
      Send(zombie.process->id(), std::move(call));
    }
    zombie.held.clear();
    if (random_.Chance(0.3)) zombie.process->Turn(now_);
    if (random_.Chance(0.3)) LookForFormerOwners(zombie.process.get());
    if (zombie.process->Fenced()) End(std::move(zombie.process));
  }
  std::erase_if(zombies_, [](const Zombie& zombie) { return zombie.process == nullptr; });
}

void Schedule::LookForFormerOwners(Process* process) {
  for (const auto& [owner, boot_id] : process->dispatch().former_owners()) {
    const auto known = end_known_raw_ns_.find(owner);
    if (known != end_known_raw_ns_.end() && now_.raw_ns >= known->second) {
      process->TellOwnerEnded(owner);
    }
  }
}

Process* Schedule::FindProcess(int id) {
  if (process_ != nullptr && process_->id() == id) return process_.get();
  for (const Zombie& zombie : zombies_) {
    if (zombie.process != nullptr && zombie.process->id() == id) return zombie.process.get();
  }
  return nullptr;
}

void Schedule::ReadLedger() {
  std::vector<log::StoredRecord> records;
  if (!log_.Read({Topic::kLedger, 0}, ledger_position_, 1'000'000, 1 << 30, &records).ok()) return;
  for (const auto& record : records) {
    ledger_position_ = record.offset + 1;
    LedgerRecord ledger;
    if (!ledger.ParseFromString(record.record.value)) continue;
    if (ledger.has_former_owner_dead()) ++verdict_.ends_told;
    if (!ledger.has_attempt()) continue;
    durable_attempts_.emplace(ledger.attempt().call_id(), ledger.attempt().attempt());
  }
}

void Schedule::TakeCalls(Process* process, std::vector<dispatch::CallToMake> calls) {
  ReadLedger();
  for (dispatch::CallToMake& call : calls) {
    if (!durable_attempts_.contains({call.call_id, call.attempt})) {
      Violation(absl::StrCat("call ", call.call_id, " left before its attempt was durable"));
    }
    const bool awaited = (stop_at_create_ || stop_after_own_fence_) && process == process_.get() &&
                         call.api == "add_msg_template";
    create_released_ |= awaited;
    Send(process->id(), std::move(call));
    // It takes its time to connect.
    if (awaited && stop_after_own_fence_) wires_.back().arrives_raw_ns += Millis(250);
  }
}

void Schedule::Send(int process, dispatch::CallToMake call) {
  wires_.push_back({.arrives_raw_ns = now_.raw_ns + Millis(30),
                    .sent_raw_ns = now_.raw_ns,
                    .sent_boot_ns = now_.boot_ns,
                    .process = process,
                    .call = std::move(call)});
}

void Schedule::TellAnswer(int process, const dispatch::CallToMake& call, bool answered,
                          std::string body) {
  Process* to = FindProcess(process);
  if (to == nullptr) return;
  for (const Zombie& zombie : zombies_) {
    if (zombie.process.get() != to || now_.raw_ns >= zombie.goes_on_raw_ns) continue;
    // It stands still: it reads the answer, or closes the socket, when it goes on.
    later_.push_back({zombie.goes_on_raw_ns, [this, process, call, answered, body] {
                        TellAnswer(process, call, answered, body);
                      }});
    return;
  }
  auto answer = std::make_unique<dispatch::CallAnswer>();
  answer->call_id = call.call_id;
  answer->attempt = call.attempt;
  answer->bytes_written = true;
  answer->answered = answered;
  answer->http_status = answered ? 200 : 0;
  answer->body = std::move(body);
  answer->completed = now_;
  to->Answer(std::move(answer));
}

void Schedule::Arrive(const Wire& wire) {
  const auto* endpoint = wecom_table::FindEndpoint(wire.call.api);
  const auto decision =
      wecom_->OnRequest({"POST", std::string(endpoint->path),
                         absl::StrCat("access_token=", access_token_), wire.call.body, "10.0.0.1"},
                        now_);
  witness_.push_back(decision.entry);
  const bool refused_by_a_limit = decision.entry.errcode == 45009 ||
                                  decision.entry.errcode == 45033 ||
                                  decision.entry.errcode == 45035;
  const bool excused = now_.raw_ns < refusals_excused_until_raw_ns_;
  const bool late = wire.sent_boot_ns > wire.call.send_deadline_boot_ns;
  if (late || (excused && refused_by_a_limit)) {
    refusals_excused_until_raw_ns_ = now_.raw_ns + kLateCountsNs;
  } else if (refused_by_a_limit) {
    Violation(absl::StrCat("WeCom answered ", decision.entry.errcode, " to ", wire.call.api));
  }
  const int64_t deadline = wire.sent_raw_ns + limits_.http_deadline_ns;
  later_.push_back({decision.answer_at_raw_ns,
                    [this, id = decision.request_id] { wecom_->OnAnswered(id, now_); }});
  const bool answered = decision.ending == Ending::kAnswer && decision.answer_at_raw_ns < deadline;
  later_.push_back(
      {std::min(deadline, decision.answer_at_raw_ns), [this, wire, answered, body = decision.body] {
         TellAnswer(wire.process, wire.call, answered, answered ? body : "");
       }});
}

void Schedule::RunNetwork() {
  std::vector<Wire> arriving;
  for (auto it = wires_.begin(); it != wires_.end();) {
    if (it->arrives_raw_ns > now_.raw_ns) {
      ++it;
      continue;
    }
    arriving.push_back(std::move(*it));
    it = wires_.erase(it);
  }
  for (const Wire& wire : arriving) Arrive(wire);
  std::vector<Later> due;
  for (auto it = later_.begin(); it != later_.end();) {
    if (it->at_raw_ns > now_.raw_ns) {
      ++it;
      continue;
    }
    due.push_back(std::move(*it));
    it = later_.erase(it);
  }
  for (const Later& item : due) item.act();
}

// Each question of a runner waits for some steps, and some get no end at all.
void Schedule::AnswerEnds(bool faults) {
  using EndAnswer = log::MemoryLog::EndAnswer;
  for (size_t i = log_.PendingEnds().size(); i-- > 0;) {
    if (faults && random_.Chance(0.5)) continue;
    const EndAnswer answer = faults && random_.Chance(0.05) ? EndAnswer::kError
                             : random_.Chance(0.5)          ? EndAnswer::kAsAsked
                                                            : EndAnswer::kAsNow;
    log_.AnswerEnd(i, answer);
  }
}

void Schedule::TakeCallbacks(bool faults) {
  for (const auto& delivery : wecom_->TakeDueCallbacks(now_)) {
    const auto envelope = wecom::ParseEnvelope(delivery.body);
    const auto text = crypto_.Open(http::QueryValue(delivery.url, "msg_signature"),
                                   http::QueryValue(delivery.url, "timestamp"),
                                   http::QueryValue(delivery.url, "nonce"),
                                   envelope.ok() ? envelope->encrypt : "");
    if (!text.ok()) {
      Violation("a callback could not be opened");
      continue;
    }
    auto event = ingestion::FromCallback(kCorp, *text, wecom::ParseEvent(*text), now_);
    event.set_corp_revision(1);
    Publish(event);
    // Stored, but the 200 was lost: it comes again.
    wecom_->OnCallbackDone(delivery.id, faults && random_.Chance(0.3) ? 0 : 200, now_);
  }
}

// ---- Faults ----

void Schedule::Fault() {
  switch (random_.Below(5)) {
    case 0: {  // a kill
      ++verdict_.crashes;
      // What the kernel still holds may arrive a little later, or never.
      for (auto it = wires_.begin(); it != wires_.end();) {
        if (it->process != process_->id()) {
          ++it;
          continue;
        }
        if (random_.Chance(0.5)) {
          it = wires_.erase(it);
          continue;
        }
        it->arrives_raw_ns =
            std::min(it->arrives_raw_ns + Millis(150), it->sent_raw_ns + limits_.http_deadline_ns);
        ++it;
      }
      if (random_.Chance(0.5)) log_.Deliver(random_.Below(4));
      End(std::move(process_));
      log_.CrashDropPending();
      Advance(Millis(300));
      StartProcess();
      break;
    }
    case 1:  // a takeover while the former owner lives on for a while
      if (!random_.Chance(0.5)) break;
      if (random_.Chance(0.3)) {
        stop_after_own_fence_ = true;
      } else if (random_.Chance(0.5)) {
        stop_at_create_ = true;
      } else {
        StopProcess();
      }
      break;
    case 2:
      ++verdict_.append_faults;
      log_.FailNext(absl::InternalError("fault"), random_.Below(4));
      break;
    case 3:
      ++verdict_.append_faults;
      log_.DuplicateNext();
      break;
    default: {
      ++verdict_.append_faults;
      const log::TopicPartition journals[] = {
          {Topic::kLedger, 0}, {Topic::kProfiles, 0}, {Topic::kMemberships, 1}};
      log_.GapNext(random_.Below(3), absl::InternalError("torn"), journals[random_.Below(3)]);
      break;
    }
  }
}

void Schedule::Step(bool faults) {
  Advance(static_cast<int64_t>(random_.Below(8)) * kNanosPerMilli);
  RunNetwork();
  TakeCallbacks(faults);
  process_->Turn(now_);
  StopIfDue();
  if (random_.Chance(0.3)) LookForFormerOwners(process_.get());
  RunZombies();
  AnswerEnds(faults);
  if (!faults || random_.Chance(0.8)) log_.Deliver(faults ? 1 + random_.Below(3) : 1000);
  // A process that lost a partition exits; its supervisor starts it again.
  if (process_->Fenced()) {
    End(std::move(process_));
    StartProcess();
  }
  if (process_->Failed()) Violation("a partition failed");
}

bool Schedule::Done() {
  const auto* campaign = process_->dispatch().campaigns().Find({kCorp, "spring"});
  if (!process_->CaughtUp(&log_) || campaign == nullptr ||
      campaign->phase != ::tidegate::log::v1::CAMPAIGN_PHASE_COMPLETED) {
    return false;
  }
  const auto progress = process_->dispatch().commands().Progress(kCorp);
  return progress.tags_written + progress.tags_refused == progress.tags_wanted &&
         progress.welcomes_sent + progress.welcomes_dropped == progress.welcomes_requested &&
         wires_.empty();
}

Verdict Schedule::Run() {
  bool paused = false;
  for (int step = 0; step < kFaultSteps && verdict_.violations.empty(); ++step) {
    if (random_.Chance(0.25)) PublishSomething();
    if (adds_made_ < kAdds && random_.Chance(0.01)) {
      const std::string customer = absl::StrCat("wm9", adds_made_++);
      (void)wecom_->OnControl("/control/event",
                              {{"corp_id", kCorp},
                               {"kind", "add_external_contact"},
                               {"external_userid", customer},
                               {"member", MemberId(adds_made_)},
                               {"state", "qr"}},
                              now_);
    }
    const bool all_published = orders_published_ == kCustomers * 2;
    if (!launched_ && all_published && process_->CaughtUp(&log_)) Launch();
    if (launched_ && random_.Chance(0.004)) {
      paused = !paused;
      SetIntent(paused ? ::tidegate::log::v1::CAMPAIGN_INTENT_PAUSE
                       : ::tidegate::log::v1::CAMPAIGN_INTENT_RUN);
    }
    if (random_.Chance(0.02)) Fault();
    if (process_ != nullptr) Step(/*faults=*/true);
  }
  if (paused) SetIntent(::tidegate::log::v1::CAMPAIGN_INTENT_RUN);
  ForgetStop();
  int quiet = 0;
  for (; quiet < kQuietStepsMax && verdict_.violations.empty() && !(launched_ && Done()); ++quiet) {
    PublishSomething();
    if (!launched_ && orders_published_ == kCustomers * 2 && process_->CaughtUp(&log_)) Launch();
    Step(/*faults=*/false);
  }
  if (quiet == kQuietStepsMax) Violation("not done after the faults stopped");
  // The last outcomes are on their way back.
  for (int i = 0; i < 300 && verdict_.violations.empty(); ++i) Step(/*faults=*/false);
  if (verdict_.violations.empty()) Judge();
  std::string text;
  for (const WitnessEntry& entry : witness_) text += wecom_simulator::ToLine(entry, 0);
  verdict_.witness_hash = Sha256Hex(text);
  return verdict_;
}

// ---- The judge: what WeCom saw, what was put in, and the raw log ----

void Schedule::Judge() {
  std::map<std::string, int> executed;  // customer -> executed creates
  std::set<std::string> failed;         // in a fail_list
  std::map<std::string, int> welcomes;
  std::map<std::pair<std::string, std::string>, std::set<std::string>> tags;  // member, customer
  for (const WitnessEntry& entry : witness_) {
    if (entry.verdict != "executed") continue;
    if (entry.api == "add_msg_template") {
      ++verdict_.creates_executed;
      const std::set<std::string> refused(entry.fail_list.begin(), entry.fail_list.end());
      failed.insert(refused.begin(), refused.end());
      for (const std::string& customer : entry.recipients) ++executed[customer];
    } else if (entry.api == "mark_tag") {
      auto& state = tags[{entry.sender, entry.recipients.at(0)}];
      state.insert(entry.add.begin(), entry.add.end());
      for (const std::string& tag : entry.remove) state.erase(tag);
    } else if (entry.api == "send_welcome_msg") {
      ++welcomes[entry.recipients.at(0)];
    }
  }
  for (const auto& [customer, times] : executed) {
    if (times > 1) Violation(absl::StrCat(customer, " was in ", times, " executed creates"));
    if (!orders_.contains(customer)) Violation(absl::StrCat(customer, " was not meant"));
  }
  const auto* campaign = process_->dispatch().campaigns().Find({kCorp, "spring"});
  verdict_.doubts = static_cast<int>(campaign->doubts_opened);
  std::set<std::string> refused;  // in calls that WeCom refused whole
  for (const auto& [batch, call] : campaign->calls) {
    if (call.phase != dispatch::CampaignCallState::Phase::kRefused) continue;
    for (const uint32_t index : call.customers) refused.insert(campaign->audience[index].customer);
  }
  // Outcomes as they came back, repeats dropped by their id.
  std::map<std::string, std::set<std::string>> outcomes;
  for (uint32_t p = 0; p < kPartitions; ++p) {
    std::vector<log::StoredRecord> records;
    (void)log_.Read({Topic::kEvents, p}, 0, 1'000'000, 1 << 30, &records);
    for (const auto& record : records) {
      CustomerEvent event;
      event.ParseFromString(record.record.value);
      if (event.source() == "dispatch") outcomes[event.customer()].insert(event.kind());
    }
  }
  for (const auto& [customer, orders] : orders_) {
    if (!executed.contains(customer) && !refused.contains(customer)) {
      Violation(absl::StrCat(customer, " was lost"));
    }
    if (outcomes[customer].size() != 1) {
      Violation(absl::StrCat(customer, " has ", outcomes[customer].size(), " kinds of outcome"));
    }
    if (failed.contains(customer) && !outcomes[customer].contains("touch_failed")) {
      Violation(
          absl::StrCat(customer, " was in a fail_list and ended as ", *outcomes[customer].begin()));
    }
  }
  for (int c = 0; c < kCustomers; ++c) {
    const std::string customer = CustomerId(c);
    const bool loyal = orders_[customer].size() >= 2;
    if (tags[{MemberId(c), customer}].contains("loyal") != loyal) {
      Violation(absl::StrCat(customer, loyal ? " lacks its tag" : " has a tag it must not have"));
    }
    const auto partition = PartitionOf(CustomerKey(kCorp, customer), kPartitions);
    const auto* profile = process_->tagging(partition).FindProfile(kCorp, customer);
    if (profile == nullptr ||
        profile->orders_size() != static_cast<int>(orders_[customer].size())) {
      Violation(absl::StrCat(customer, ": orders of the profile differ from the model"));
    }
  }
  for (int i = 0; i < adds_made_; ++i) {
    const std::string customer = absl::StrCat("wm9", i);
    if (welcomes[customer] != 1)
      Violation(absl::StrCat(customer, " got ", welcomes[customer], " welcomes"));
    if (!tags[{MemberId(i + 1), customer}].contains("channel")) {
      Violation(absl::StrCat(customer, " lacks its channel tag"));
    }
  }
}

}  // namespace

Verdict RunSchedule(uint64_t seed) { return Schedule(seed).Run(); }

}  // namespace tidegate::simulation
