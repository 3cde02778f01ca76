// The shell around DefinitionsFold for RPC handlers: reads the topic on a thread of its own,
// answers reads from memory, and turns a wish into an accepted proposal.
//
//   store->Propose({.corp = "ww1", .request_id = id, .body_hash = hash},
//                  [](const CorpDefinitions& now) -> absl::StatusOr<std::vector<Definition>> { ...
//                  },
//                  [](absl::StatusOr<AcceptedRequest> result) { ... });
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/clock.h"
#include "common/base/hash.h"
#include "common/definitions/definitions_fold.h"
#include "common/log/log.h"

namespace tidegate::definitions {

inline constexpr int kRacesMax = 5;

// All methods: any thread.
class DefinitionStore {
 public:
  struct Request {
    std::string corp;
    std::string caller;
    std::string request_id;
    std::string body_hash;
    std::string reason;
  };
  // Checks the wish against the current definitions and returns what to store. Runs under the
  // store's lock: short, and no call back into the store.
  using Build = std::function<absl::StatusOr<std::vector<::tidegate::log::v1::Definition>>(
      const CorpDefinitions&)>;
  using Done = std::function<void(absl::StatusOr<AcceptedRequest>)>;

  // Neither is owned; both outlive the store.
  DefinitionStore(log::Log* log, const Clock* clock);
  // Pending proposals end UNAVAILABLE.
  ~DefinitionStore();

  // Blocks until everything that was in the topic at construction is folded. DEADLINE_EXCEEDED
  // after 30 s; DATA_LOSS if the topic cannot be read.
  absl::Status WaitUntilRead();

  // Calls `done` once, when everything is folded that any process had been told was accepted before
  // this call: OK, or UNAVAILABLE the log did not tell its end, or it was not reached in 10 s;
  // RESOURCE_EXHAUSTED more than 10,000 calls wait (policy: reject).
  // Perhaps inside the call, perhaps on the store's thread or one of the log.
  void WhenCurrent(std::function<void(absl::Status)> done);

  // Calls `done` once, after the accepted proposal is durable and folded. A repeat of an accepted
  // request id gives its first result. Errors: those of `build`; INVALID_ARGUMENT the request id
  // was used with another body; ABORTED five lost races; UNAVAILABLE the log failed (repeat with
  // the same request id); RESOURCE_EXHAUSTED more than 1,000 proposals wait (policy: reject).
  void Propose(Request request, Build build, Done done);

  // A copy that does not change.
  std::shared_ptr<const CorpDefinitions> Corp(const std::string& corp) const;

  // Called after each accepted proposal, on the store's thread; set before use.
  void OnChange(std::function<void(const std::string& corp)> on_change);

 private:
  struct Pending {
    Request request;
    Build build;
    Done done;
    int races = 0;
  };
  // What was decided under mu_ and is carried out after it was given back.
  struct Work {
    std::vector<std::pair<Done, absl::StatusOr<AcceptedRequest>>> finished;
    std::vector<std::pair<std::string, log::Record>> appends;  // by proposal id
    std::set<std::string> changed;                             // corps
  };

  // Where ended appends find the store, or that it is gone: a log that closes fails what it still
  // holds.
  struct Return {
    std::mutex mu;
    DefinitionStore* store;
  };

  void Run();
  struct Waiting {
    uint64_t end;
    int64_t give_up_raw_ns;
    std::function<void(absl::Status)> done;
  };

  void ProposeNow(Request request, Build build, Done done);
  void WaitFor(uint64_t end, std::function<void(absl::Status)> done);
  void AnswerWaiting();
  void Start(std::unique_ptr<Pending> pending, Work* work);
  void FoldRecord(const log::StoredRecord& record, Work* work);
  void CarryOut(Work work);
  void OnAppendFailed(const std::string& id, absl::Status status);
  void FailPending(Work* work);

  log::Log* const log_;
  const Clock* const clock_;
  const std::shared_ptr<Return> return_;
  // Proposals that wait for the log's end; those after it are in pending_. Outlives the store while
  // some do.
  const std::shared_ptr<std::atomic<size_t>> waiting_for_end_ =
      std::make_shared<std::atomic<size_t>>(0);
  // Whoever waits in WhenCurrent. Outlives the store likewise.
  const std::shared_ptr<std::atomic<size_t>> readers_ = std::make_shared<std::atomic<size_t>>(0);
  uint64_t watch_id_ = 0;

  mutable std::mutex mu_;
  std::condition_variable wake_;
  // Guarded by mu_.
  DefinitionsFold fold_;
  std::map<std::string, std::shared_ptr<const CorpDefinitions>> snapshots_;
  std::map<std::string, std::unique_ptr<Pending>> pending_;  // by proposal id
  std::deque<std::pair<std::string, absl::Status>> append_failures_;
  std::function<void(const std::string&)> on_change_;
  std::vector<Waiting> waiting_;
  uint64_t position_ = 0;
  bool log_moved_ = true;
  bool stopping_ = false;
  absl::Status failure_;

  std::jthread thread_;
};

// The proposal of an RPC request: its body without the request id is what a repeat is compared
// with.
template <typename RpcRequest>
DefinitionStore::Request ProposalOf(const RpcRequest& request, const std::string& caller,
                                    const std::string& reason) {
  RpcRequest body = request;
  body.clear_request_id();
  return {.corp = request.corp(),
          .caller = caller,
          .request_id = request.request_id(),
          .body_hash = Sha256(body.GetTypeName() + body.SerializeAsString()),
          .reason = reason};
}

}  // namespace tidegate::definitions
