#include "common/definitions/definition_store.h"

#include <chrono>
#include <future>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/hash.h"
#include "common/base/log.h"

namespace tidegate::definitions {

using ::tidegate::log::v1::Proposal;

namespace {

constexpr log::TopicPartition kTopic{log::Topic::kDefinitions, 0};
constexpr size_t kPendingMax = 1000;
constexpr size_t kReadersMax = 10'000;
constexpr int64_t kCurrentPatienceNs = 10 * kNanosPerSecond;
constexpr std::chrono::milliseconds kWaitingCheck(500);
constexpr std::chrono::milliseconds kAskAgain(20);
// Whoever proposes waits no longer, and repeats with the same request id.
constexpr int64_t kAppendPatienceMs = 10'000;

absl::Status TooManyWait() {
  return absl::ResourceExhaustedError("too many changes wait; try again in a second");
}

}  // namespace

DefinitionStore::DefinitionStore(log::Log* log, const Clock* clock)
    : log_(log), clock_(clock), return_(std::make_shared<Return>()) {
  return_->store = this;
  watch_id_ = log_->Watch(kTopic, [this] {
    std::lock_guard lock(mu_);
    log_moved_ = true;
    wake_.notify_all();
  });
  thread_ = std::jthread([this] { Run(); });
}

DefinitionStore::~DefinitionStore() {
  log_->Unwatch(watch_id_);
  {
    std::lock_guard lock(return_->mu);
    return_->store = nullptr;
  }
  {
    std::lock_guard lock(mu_);
    stopping_ = true;
    wake_.notify_all();
  }
  thread_.join();
  for (auto& [id, pending] : pending_) {
    pending->done(absl::UnavailableError("the service stops; repeat with the same request_id"));
  }
  for (Waiting& waiting : waiting_) waiting.done(absl::UnavailableError("the service stops"));
}

absl::Status DefinitionStore::WaitUntilRead() {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  absl::Status status;
  do {
    auto read = std::make_shared<std::promise<absl::Status>>();
    WhenCurrent([read](absl::Status s) { read->set_value(std::move(s)); });
    status = read->get_future().get();
    if (absl::IsUnavailable(status)) std::this_thread::sleep_for(kAskAgain);
  } while (absl::IsUnavailable(status) && std::chrono::steady_clock::now() < deadline);
  return absl::IsUnavailable(status)
             ? absl::DeadlineExceededError(absl::StrCat(
                   "tidegate.definitions was not read within 30 s: ", status.message()))
             : status;
}

void DefinitionStore::WhenCurrent(std::function<void(absl::Status)> answer) {
  if (readers_->fetch_add(1) >= kReadersMax) {
    --*readers_;
    return answer(absl::ResourceExhaustedError(
        "too many calls wait for the definitions; try again in a second"));
  }
  const auto done = [readers = readers_, answer = std::move(answer)](absl::Status status) {
    --*readers;
    answer(std::move(status));
  };
  log_->QueryEnd(kTopic, [back = return_, done](const absl::StatusOr<uint64_t>& end) {
    DefinitionStore* store = nullptr;
    {
      std::lock_guard lock(back->mu);
      store = back->store;
    }
    // Whoever waits keeps the store: it is destroyed after the last call was answered.
    if (store == nullptr) return done(absl::UnavailableError("the service stops"));
    if (!end.ok()) return done(end.status());
    store->WaitFor(*end, done);
  });
}

void DefinitionStore::WaitFor(uint64_t end, std::function<void(absl::Status)> done) {
  absl::Status status;
  {
    std::lock_guard lock(mu_);
    status = failure_;
    if (status.ok() && position_ < end) {
      waiting_.push_back({end, clock_->Read().raw_ns + kCurrentPatienceNs, std::move(done)});
      return;
    }
  }
  done(std::move(status));
}

// On the store's thread.
void DefinitionStore::AnswerWaiting() {
  std::vector<std::pair<std::function<void(absl::Status)>, absl::Status>> answered;
  {
    std::lock_guard lock(mu_);
    if (waiting_.empty()) return;
    const int64_t now = clock_->Read().raw_ns;
    std::erase_if(waiting_, [&](Waiting& waiting) {
      absl::Status status = failure_;
      if (status.ok() && position_ < waiting.end) {
        if (now < waiting.give_up_raw_ns) return false;
        status = absl::UnavailableError("definitions are not read up to their end yet; repeat");
      }
      answered.emplace_back(std::move(waiting.done), std::move(status));
      return true;
    });
  }
  for (auto& [done, status] : answered) done(std::move(status));
}

void DefinitionStore::OnChange(std::function<void(const std::string& corp)> on_change) {
  std::lock_guard lock(mu_);
  on_change_ = std::move(on_change);
}

std::shared_ptr<const CorpDefinitions> DefinitionStore::Corp(const std::string& corp) const {
  static const auto kNone = std::make_shared<const CorpDefinitions>();
  std::lock_guard lock(mu_);
  const auto it = snapshots_.find(corp);
  return it == snapshots_.end() ? kNone : it->second;
}

void DefinitionStore::Propose(Request request, Build build, Done done) {
  bool full = false;
  {
    std::lock_guard lock(mu_);
    full = *waiting_for_end_ + pending_.size() >= kPendingMax;
    if (!full) ++*waiting_for_end_;
  }
  if (full) return done(TooManyWait());
  // A wish is judged by what others were told before it was made.
  WhenCurrent([this, waiting = waiting_for_end_, request = std::move(request),
               build = std::move(build), done = std::move(done)](const absl::Status& status) {
    --*waiting;
    if (!status.ok()) return done(absl::UnavailableError(status.message()));
    ProposeNow(request, build, done);
  });
}

void DefinitionStore::ProposeNow(Request request, Build build, Done done) {
  Work work;
  {
    std::lock_guard lock(mu_);
    if (!failure_.ok()) {
      work.finished.emplace_back(std::move(done), absl::UnavailableError("definitions unreadable"));
    } else if (pending_.size() >= kPendingMax) {
      work.finished.emplace_back(std::move(done), TooManyWait());
    } else {
      Start(
          std::make_unique<Pending>(Pending{std::move(request), std::move(build), std::move(done)}),
          &work);
    }
  }
  CarryOut(std::move(work));
}

// Requires mu_.
void DefinitionStore::Start(std::unique_ptr<Pending> pending, Work* work) {
  const Request& request = pending->request;
  const auto finish = [&](absl::StatusOr<AcceptedRequest> result) {
    work->finished.emplace_back(std::move(pending->done), std::move(result));
  };
  if (const AcceptedRequest* past =
          fold_.FindRequest(request.corp, request.caller, request.request_id)) {
    if (past->body_hash == request.body_hash) return finish(*past);
    return finish(absl::InvalidArgumentError(
        "request_id was used for another request; make a new UUID for a new request"));
  }
  if (pending->races >= kRacesMax) {
    return finish(absl::AbortedError(
        absl::StrCat("definitions of the corp changed ", kRacesMax, " times meanwhile; repeat")));
  }
  const CorpDefinitions& corp = fold_.Corp(request.corp);
  auto definitions = pending->build(corp);
  if (!definitions.ok()) return finish(definitions.status());

  Proposal proposal;
  proposal.set_corp(request.corp);
  proposal.set_expected_revision(corp.revision);
  proposal.set_caller(request.caller);
  proposal.set_request_id(request.request_id);
  proposal.set_body_hash(request.body_hash);
  proposal.set_reason(request.reason);
  proposal.set_time_ns(clock_->Read().wall_ns);
  proposal.set_proposal_id(RandomBytes(16));
  for (auto& definition : *definitions) *proposal.add_definitions() = std::move(definition);

  const std::string id = proposal.proposal_id();
  work->appends.emplace_back(
      id, log::Record{.key = request.corp, .header = "", .value = proposal.SerializeAsString()});
  pending_[id] = std::move(pending);
}

void DefinitionStore::CarryOut(Work work) {
  for (auto& [done, result] : work.finished) done(std::move(result));
  for (auto& [id, record] : work.appends) {
    std::vector<log::Record> records;
    records.push_back(std::move(record));
    log_->AppendWithin(kTopic, std::move(records), kAppendPatienceMs,
                       [back = return_, id = id](absl::Status status) {
                         if (status.ok()) return;
                         std::lock_guard lock(back->mu);
                         if (back->store != nullptr) {
                           back->store->OnAppendFailed(id, std::move(status));
                         }
                       });
  }
}

void DefinitionStore::OnAppendFailed(const std::string& id, absl::Status status) {
  std::lock_guard lock(mu_);
  append_failures_.emplace_back(id, std::move(status));
  wake_.notify_all();
}

// Requires mu_. Nothing that waits would ever be read back.
void DefinitionStore::FailPending(Work* work) {
  work->appends.clear();
  for (auto& [id, pending] : pending_) {
    work->finished.emplace_back(std::move(pending->done),
                                absl::UnavailableError("definitions unreadable"));
  }
  pending_.clear();
}

void DefinitionStore::FoldRecord(const log::StoredRecord& record, Work* work) {
  Proposal proposal;
  if (!proposal.ParseFromString(record.record.value)) {
    LogEvent(LogLevel::kError, "definition_unreadable", {{"offset", absl::StrCat(record.offset)}});
    return;
  }
  const auto verdict = fold_.Apply(proposal);
  if (verdict == DefinitionsFold::Verdict::kAccepted) work->changed.insert(proposal.corp());
  const auto it = pending_.find(proposal.proposal_id());
  if (it == pending_.end()) return;
  std::unique_ptr<Pending> pending = std::move(it->second);
  pending_.erase(it);
  // Accepted and repeated are found as a past request; a lost race is checked anew.
  if (verdict == DefinitionsFold::Verdict::kLostRace) ++pending->races;
  Start(std::move(pending), work);
}

void DefinitionStore::Run() {
  std::vector<log::StoredRecord> records;
  while (true) {
    {
      std::unique_lock lock(mu_);
      wake_.wait_for(lock, kWaitingCheck,
                     [this] { return stopping_ || log_moved_ || !append_failures_.empty(); });
      if (stopping_) return;
      log_moved_ = false;
    }
    Work work;
    absl::Status status;
    while ((status = log_->Read(kTopic, position_, 1000, 1 << 20, &records)).ok() &&
           !records.empty()) {
      std::lock_guard lock(mu_);
      for (const log::StoredRecord& record : records) {
        FoldRecord(record, &work);
        position_ = record.offset + 1;
      }
      // Once per read: many changes of one corp would be copied again and again.
      for (const std::string& corp : work.changed) {
        snapshots_[corp] = std::make_shared<const CorpDefinitions>(fold_.Corp(corp));
      }
    }
    std::function<void(const std::string&)> on_change;
    {
      std::lock_guard lock(mu_);
      if (!status.ok()) {
        failure_ = status;
        LogEvent(LogLevel::kError, "definitions_unreadable", {{"status", status.ToString()}});
        FailPending(&work);
        wake_.notify_all();
      }
      for (auto& [id, error] : append_failures_) {
        const auto it = pending_.find(id);
        if (it == pending_.end()) continue;
        work.finished.emplace_back(
            std::move(it->second->done),
            absl::IsInvalidArgument(error)
                ? error
                : absl::UnavailableError(absl::StrCat("not acknowledged: ", error.message(),
                                                      "; repeat with the same request_id")));
        pending_.erase(it);
      }
      append_failures_.clear();
      on_change = on_change_;
    }
    const std::set<std::string> changed = std::move(work.changed);
    CarryOut(std::move(work));
    if (on_change) {
      for (const std::string& corp : changed) on_change(corp);
    }
    AnswerWaiting();
  }
}

}  // namespace tidegate::definitions
