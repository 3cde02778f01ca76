// The simulator as a server: the core behind HTTP, the witness log in front of every answer, and
// the callbacks going out. Decides nothing itself.
//
//   ASSIGN_OR_RETURN(auto service, Service::Start(config, clock));
//   ... service->address() ...
//   service->Stop();
#pragma once

#include <condition_variable>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/clock.h"
#include "common/http/server.h"
#include "services/wecom_simulator/callback_sender.h"
#include "services/wecom_simulator/config.h"
#include "services/wecom_simulator/core/wecom_core.h"
#include "services/wecom_simulator/witness_file.h"

namespace tidegate::wecom_simulator {

// Thread-safe.
class Service {
 public:
  // `config` must be complete (Config::Complete). Writes the ports file last. `clock` must outlive
  // the service. Errors: those of the witness file, the address and the ports file.
  static absl::StatusOr<std::unique_ptr<Service>> Start(const Config& config, const Clock& clock);
  ~Service();

  // Takes no more calls, makes the witness log durable, ends all threads. May be called twice.
  void Stop();
  std::string address() const { return address_; }
  // Not OK once the witness log cannot be written: from then on no call is answered.
  absl::Status health() const;

 private:
  struct Answer {
    uint64_t seq = 0;  // of the witness line that must be durable first
    int64_t due_raw_ns = 0;
    int64_t arrived_raw_ns = 0;
    bool is_create = false;  // an executed create that will be answered
    std::string marker;
    http::Response response;
    http::Responder send;
  };
  // One request of /control/wait_create.
  struct Waiter {
    int64_t deadline_raw_ns = 0;
    int64_t extend_ns = 0;
    http::Responder send;
  };
  using Outbox = std::vector<std::pair<http::Responder, http::Response>>;

  Service(const Config& config, const Clock& clock);
  void OnHttp(http::Request request, http::Responder send);
  void OnApi(http::Request request, http::Responder send);
  void OnControl(const http::Request& request, const http::Responder& send);
  void OnWaitCreate(const http::Request& request, const http::Responder& send);
  void OnSynced(uint64_t seq, const absl::Status& status);
  void Run();

  // With mu_ held.
  void TellWaiter(uint64_t request_id, const Now& now, Outbox* outbox);
  void CollectAnswers(const Now& now, Outbox* outbox);
  void CollectWaiters(const Now& now, Outbox* outbox);
  int64_t NextWakeNs(int64_t raw_ns) const;

  const Config config_;
  const Clock& clock_;
  std::string address_;

  mutable std::mutex mu_;
  std::condition_variable changed_;
  // Guarded by mu_.
  WecomCore core_;
  uint64_t last_seq_ = 0;
  uint64_t synced_seq_ = 0;
  absl::Status health_;
  std::map<uint64_t, Answer> answers_;             // by request id
  std::set<std::pair<int64_t, uint64_t>> by_due_;  // (due, request id)
  std::list<Waiter> waiters_;
  bool woken_ = false;
  bool stopping_ = false;

  std::unique_ptr<WitnessFile> witness_;
  std::thread thread_;  // releases answers, sends callbacks
  // Intake: the last to start, the first to stop.
  std::unique_ptr<http::Server> server_;
};

}  // namespace tidegate::wecom_simulator
