// The way to WeCom and back.
#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "boost/json.hpp"
#include "common/base/check.h"
#include "tests/sim/lane.h"
#include "tests/sim/network.h"

namespace tidegate::sim {

namespace json = boost::json;

namespace {

constexpr char kAddress[] = "192.0.2.1";
// Calls that wait for a connection; one more is told at once that it was not sent.
constexpr size_t kWaitingMax = 1024;

}  // namespace

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

// ---- There ----

Lane::Connections& Lane::ConnectionsOf(const Wire& wire) {
  const bool apart = options_.urgent_connections > 0 && !wire.code.empty();
  return connections_[apart ? 1 : 0];
}

void Lane::Send(std::vector<dispatch::CallToMake> calls) {
  for (dispatch::CallToMake& call : calls) {
    const size_t wire = NewWire();
    Wire& made = wires_[wire];
    made.corp = corp_of_.at(call.corp);
    made.call = std::move(call);
    made.released_ns = now_.raw_ns;
    if (made.call.api == "send_welcome_msg") {
      made.code = std::string(json::parse(made.call.body).at("welcome_code").as_string());
      const auto found = welcomed_.find(made.code);
      if (found != welcomed_.end() && !std::exchange(found->second.released, true)) {
        result_.urgent.released_ns.push_back(now_.raw_ns - found->second.at_ns);
      }
    } else if (made.call.campaign.starts_with(dispatch::kMessageCampaign)) {
      const size_t message = MessageOf(made.call);
      int64_t& released_ns = result_.messages_released_ns[message];
      if (released_ns < 0) released_ns = now_.raw_ns - MessageNs(message);
    } else if (made.call.api == "add_msg_template") {
      made.bulk = true;
      size_t campaign = 0;
      CHECK(absl::SimpleAtoi(absl::StripPrefix(made.call.campaign, kCampaignPrefix), &campaign));
      CountServed(campaign);
    } else {
      made.bulk = made.call.api == "mark_tag";
    }
    Connections& connections = ConnectionsOf(made);
    if (connections.most == 0 || connections.busy < connections.most) {
      Start(wire);
    } else if (connections.waiting.size() < kWaitingMax) {
      connections.waiting.emplace_back(wire, made.generation);
    } else {
      Push(now_.raw_ns, Kind::kGivesUp, wire);
    }
    Push(now_.raw_ns + limits_.http_deadline_ns, Kind::kGivesUp, wire);
  }
}

void Lane::Start(size_t wire) {
  Wire& made = wires_[wire];
  ++ConnectionsOf(made).busy;
  made.first_byte_ns = now_.raw_ns;
  if (made.call.api == "mark_tag" && made.corp == 0) {
    ++tags_under_way_;
    if (result_.all_used_ns < 0 && !OtherIsThere() &&
        tags_under_way_ >= limits_.InFlight("mark_tag")) {
      result_.all_used_ns = now_.raw_ns - start_ns_;
    }
  }
  const auto tenth = static_cast<size_t>((now_.raw_ns - start_ns_) / (kNanosPerSecond / 10));
  if (tenth >= result_.sent_in_100_ms.size()) result_.sent_in_100_ms.resize(tenth + 1);
  ++result_.sent_in_100_ms[tenth];
  made.at_wecom = true;
  if (const auto found = welcomed_.find(made.code);
      found != welcomed_.end() && !std::exchange(found->second.first_byte, true)) {
    result_.urgent.first_byte_ns.push_back(now_.raw_ns - found->second.at_ns);
  }
  Push(Through(now_.raw_ns + NetworkNs()), Kind::kArrives, wire);
}

void Lane::Arrive(size_t wire) {
  Wire& made = wires_[wire];
  if (!made.held_back && options_.late_share > 0 && random_.Chance(options_.late_share)) {
    made.held_back = true;
    ++result_.late;
    const auto hold_ms = static_cast<double>(wecom_->options().limits.hold_ms);
    const double ms = random_.Unit() * hold_ms;
    return Push(now_.raw_ns + static_cast<int64_t>(ms * 1e6), Kind::kArrives, wire);
  }
  Corp& corp = corps_[made.corp];
  if (corp.token.empty()) FetchToken(&corp);
  made.decision =
      wecom_->OnRequest({"POST", absl::StrCat("/cgi-bin/externalcontact/", made.call.api),
                         absl::StrCat("access_token=", corp.token), made.call.body, kAddress},
                        now_);
  Count(made);
  Push(made.decision.answer_at_raw_ns, Kind::kLeaves, wire);
  Push(Through(made.decision.answer_at_raw_ns + NetworkNs()), Kind::kAnswered, wire);
}

bool Lane::OtherIsThere() const {
  const OtherProgram& other = options_.other;
  return elapsed_ns() < static_cast<int64_t>(other.until_seconds * 1e9);
}

// Right at WeCom, so that each of its calls always takes one of those that are served.
void Lane::Other(size_t call) {
  uint64_t& request = other_requests_[call];
  if (request != 0) wecom_->OnAnswered(std::exchange(request, 0), now_);
  if (!OtherIsThere()) return;
  Corp& corp = corps_.front();
  if (corp.token.empty()) FetchToken(&corp);
  // Wrong fields are looked at last.
  const auto decision =
      wecom_->OnRequest({"POST", "/cgi-bin/externalcontact/mark_tag",
                         absl::StrCat("access_token=", corp.token), "{}", kAddress},
                        now_);
  request = decision.request_id;
  Push(decision.answer_at_raw_ns, Kind::kOther, call);
}

void Lane::Count(const Wire& made) {
  Corp& corp = corps_[made.corp];
  const auto& entry = made.decision.entry;
  if (options_.on_witness) options_.on_witness(entry, made.call.campaign);
  if (made.bulk && result_.first_arrival_ns < 0) result_.first_arrival_ns = now_.raw_ns;
  if (entry.verdict != "executed") {
    ++result_.rejected[entry.errcode];
    // What a token's end costs is one refusal.
    if (entry.errcode == 42001 || entry.errcode == 40014) corp.token.clear();
    return;
  }
  if (welcomed_.erase(made.code) > 0) ++result_.urgent.executed;
  if (!made.bulk) return;
  result_.fail_listed += static_cast<int64_t>(entry.fail_list.size());
  ++result_.accepted;
  ++result_.accepted_by_corp[made.corp];
  ++corp.in_window;
  result_.last_accepted_ns = now_.raw_ns;
  result_.last_accepted_by_corp_ns[made.corp] = now_.raw_ns;
}

// ---- And back ----

void Lane::Answer(size_t wire, bool answered) {
  Wire& made = wires_[wire];
  // The first of answer and patience's end.
  if (made.over) return;
  made.over = true;
  auto answer = std::make_unique<dispatch::CallAnswer>();
  answer->call_id = made.call.call_id;
  answer->attempt = made.call.attempt;
  answer->bytes_written = made.first_byte_ns >= 0;
  answer->answered = answered;
  if (answered) {
    answer->http_status = made.decision.http_status;
    answer->body = made.decision.body;
    CountAnswer(made);
  } else if (answer->bytes_written) {
    ++result_.unanswered;
  }
  answer->completed = now_;
  answers_.push_back(std::move(answer));
  if (made.first_byte_ns >= 0 && made.call.api == "mark_tag" && made.corp == 0) --tags_under_way_;
  if (made.first_byte_ns >= 0) {
    Connections& connections = ConnectionsOf(made);
    --connections.busy;
    while (connections.busy < connections.most && !connections.waiting.empty()) {
      const auto [next, generation] = connections.waiting.front();
      connections.waiting.pop_front();
      if (wires_[next].generation == generation && !wires_[next].over) Start(next);
    }
  }
  FreeWire(wire);
  Turn();
}

void Lane::CountAnswer(const Wire& made) {
  const auto& entry = made.decision.entry;
  if (entry.errcode == 45033) {
    if (made.released_ns - start_ns_ > result_.ceiling_learnt_ns) {
      result_.ceilings.push_back(0);
      result_.ceiling_learnt_ns = now_.raw_ns - start_ns_;
    }
    ++result_.ceilings.back();
  }
  if (!made.bulk) return;
  ++result_.answered;
  result_.answered_ns += now_.raw_ns - made.first_byte_ns;
  if (entry.verdict != "executed") return;
  ++result_.fulfilled;
  if (made.call.api != "mark_tag") return;
  --corps_[made.corp].wishes;
  Feed(made.corp);
}

}  // namespace tidegate::sim
