// The admin pages of a process: /livez, /readyz, /readyz?verbose, /metrics, /statehash. Alive is
// who answers; ready is who serves, with every dependency and every partition of its own as it
// should be.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "common/http/server.h"
#include "common/metrics/metrics.h"
#include "common/runtime/partition_runner.h"

namespace tidegate::process {

class Admin {
 public:
  enum class Phase { kStarting, kServing, kDraining };
  // A dependency of the process and how it is, in a line for people; the flag: whether it is ready.
  using Dependency = std::function<std::pair<bool, std::string>()>;

  // Listens at once, so that a taken address is told before the long replay. Error: the address.
  static absl::StatusOr<std::unique_ptr<Admin>> Start(const std::string& address,
                                                      metrics::Metrics* metrics);

  std::string address() const { return server_->address(); }
  void SetPhase(Phase phase) { phase_.store(phase); }
  // Before any of them is asked for, that is before Watch(true); they outlive the pages.
  void AddDependency(std::string name, Dependency dependency);
  // `stage`: the service's name.
  void AddRunner(const std::string& stage, const runtime::PartitionRunner* runner);
  void OnMetrics(std::function<void()> publish) { publishers_.push_back(std::move(publish)); }
  // False: pages show none of what was added, from when it returns.
  void Watch(bool on);

 private:
  explicit Admin(metrics::Metrics* metrics) : metrics_(metrics) {}
  http::Response Answer(const http::Request& request);
  http::Response Readiness(bool verbose);
  // Each partition tells its own on its own thread; answered when all have.
  void TellStateHashes(const http::Request& request, http::Responder respond);
  std::string RenderMetrics();

  metrics::Metrics* const metrics_;
  std::atomic<Phase> phase_{Phase::kStarting};
  std::mutex watching_mu_;  // held while what was added is asked
  bool watching_ = false;   // guarded by watching_mu_
  std::vector<std::pair<std::string, Dependency>> dependencies_;
  struct Watched {
    const runtime::PartitionRunner* runner;
    metrics::Metrics::Journal journal;
    std::vector<metrics::Metrics::Lag> lags;  // of its inputs
  };
  static void Publish(Watched& watched, int64_t raw_now_ns);
  std::vector<Watched> runners_;
  std::vector<std::function<void()>> publishers_;
  std::unique_ptr<http::Server> server_;  // destroyed first
};

}  // namespace tidegate::process
