#include "services/tidegate/serve.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <boost/json.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <sstream>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/config/corps.h"
#include "common/definitions/definition_store.h"
#include "common/grpc/server_runner.h"
#include "common/http/server.h"
#include "common/log/data_directory.h"
#include "common/log/embedded_log.h"
#include "common/metrics/metrics.h"
#include "common/wecom_table/limits.h"
#include "services/dispatch/service.h"
#include "services/ingestion/service.h"
#include "services/segmentation/service.h"
#include "services/tagging/service.h"

namespace tidegate {
namespace {

// A partition taken over by another process: whoever started it must see that this one is over.
constexpr int kExitFenced = 75;
constexpr int kExitFailed = 1;
constexpr absl::Duration kDrainPatience = absl::Seconds(10);
constexpr absl::Duration kCallPatience = absl::Seconds(2);
constexpr auto kReadyPoll = std::chrono::milliseconds(2);
constexpr auto kReadyPatience = std::chrono::minutes(10);

absl::StatusOr<wecom_table::Limits> LoadLimits(const std::string& path) {
  if (path.empty()) return wecom_table::DefaultLimits();
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  if (!in) return absl::NotFoundError(absl::StrCat("cannot read the limits file ", path));
  auto limits = wecom_table::ParseLimits(text.str());
  if (!limits.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", limits.status().message()));
  }
  return limits;
}

std::string Owner() {
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  return absl::StrCat(host, "/", getpid());
}

// Written aside and renamed, so that who waits for the file reads a whole one.
absl::Status WritePortsFile(const std::string& path, const std::string& grpc,
                            const std::string& callback, const std::string& admin) {
  if (path.empty()) return absl::OkStatus();
  const std::string aside = absl::StrCat(path, ".", getpid());
  {
    std::ofstream out(aside, std::ios::trunc);
    out << boost::json::serialize(boost::json::object{
               {"grpc", grpc}, {"callback", callback}, {"admin", admin}, {"pid", getpid()}})
        << "\n";
    if (!out.flush()) return absl::UnavailableError(absl::StrCat("cannot write ", aside));
  }
  if (std::rename(aside.c_str(), path.c_str()) != 0) {
    return absl::UnavailableError(absl::StrCat("cannot rename ", aside, " to ", path));
  }
  return absl::OkStatus();
}

// All that runs, in the order of its start; destroyed in reverse.
class Process {
 public:
  static absl::StatusOr<std::unique_ptr<Process>> Start(const ServeOptions& options);
  // False until the process is told to drain.
  bool Ready() const { return serving_.load(); }
  void Drain();

 private:
  absl::Status Build(const ServeOptions& options);
  absl::Status WaitUntilReady();
  http::Response Admin(const http::Request& request);
  std::string RenderMetrics();
  void OnPartitionEnd(runtime::PartitionRunner::State state);

  SystemClock clock_;
  metrics::Metrics metrics_;
  config::Corps corps_;
  std::unique_ptr<log::DataDirectory> directory_;
  std::unique_ptr<log::EmbeddedLog> log_;
  std::unique_ptr<definitions::DefinitionStore> definitions_;
  std::unique_ptr<tagging::Service> tagging_;
  std::unique_ptr<segmentation::Service> segmentation_;
  std::unique_ptr<dispatch::Service> dispatch_;
  std::unique_ptr<ingestion::Service> ingestion_;
  std::unique_ptr<rpc::ServerRunner> grpc_;
  std::unique_ptr<http::Server> admin_;
  // Of the admin server's thread.
  std::vector<std::pair<const runtime::PartitionRunner*, metrics::Metrics::Journal>> journals_;
  std::optional<metrics::Stage> ingestion_stage_;
  std::atomic<bool> serving_{false};
  std::atomic<bool> draining_{false};
};

absl::StatusOr<std::unique_ptr<Process>> Process::Start(const ServeOptions& options) {
  auto process = std::make_unique<Process>();
  RETURN_IF_ERROR(process->Build(options));
  return process;
}

absl::Status Process::Build(const ServeOptions& options) {
  ASSIGN_OR_RETURN(corps_, config::LoadCorps(options.corps_file));
  ASSIGN_OR_RETURN(wecom_table::Limits limits, LoadLimits(options.limits_file));
  ASSIGN_OR_RETURN(directory_,
                   log::DataDirectory::Open(options.data_dir, options.partitions, options.lanes));
  // The addresses are taken before the long replay, so that a taken port is told at once.
  ASSIGN_OR_RETURN(admin_,
                   http::Server::Start({.address = options.admin_address},
                                       [this](http::Request request, http::Responder respond) {
                                         respond(Admin(request));
                                       }));
  ASSIGN_OR_RETURN(log_, log::EmbeddedLog::Open(directory_->path()));
  definitions_ = std::make_unique<definitions::DefinitionStore>(log_.get(), &clock_);

  const auto partitions = static_cast<uint32_t>(options.partitions);
  const auto lanes = static_cast<uint32_t>(options.lanes);
  const runtime::Environment environment{
      .log = log_.get(),
      .clock = &clock_,
      .corps = &corps_,
      .definitions = definitions_.get(),
      .metrics = &metrics_,
      .owner = Owner(),
      // The directory's lock was free, so whoever had it before is dead.
      .predecessor_dead = true,
      .on_end = [this](runtime::PartitionRunner::State state) { OnPartitionEnd(state); }};
  tagging_ = std::make_unique<tagging::Service>(
      tagging::Config{.partitions = partitions, .lanes = lanes}, environment);
  segmentation_ = std::make_unique<segmentation::Service>(
      segmentation::Config{.partitions = partitions, .lanes = lanes}, environment);
  dispatch::Config dispatch_config{
      .partitions = partitions, .lanes = lanes, .limits = std::move(limits)};
  if (!options.wecom_url.empty()) dispatch_config.wecom_url = options.wecom_url;
  ASSIGN_OR_RETURN(dispatch_, dispatch::Service::Create(dispatch_config, environment));
  ASSIGN_OR_RETURN(ingestion_, ingestion::Service::Create(
                                   ingestion::Config{.partitions = partitions,
                                                     .callback_address = options.callback_address},
                                   ingestion::Service::Environment{log_.get(), &clock_, &corps_,
                                                                   definitions_.get(), &metrics_}));
  ASSIGN_OR_RETURN(grpc_,
                   rpc::ServerRunner::Start(options.grpc_address,
                                            {ingestion_->handler(), tagging_->handler(),
                                             segmentation_->handler(), dispatch_->handler()}));
  dispatch_->ConnectSegmentation(grpc_->InProcessChannel());
  tagging_->Start();
  segmentation_->Start();
  dispatch_->Start();
  RETURN_IF_ERROR(definitions_->WaitUntilRead());
  RETURN_IF_ERROR(WaitUntilReady());
  RETURN_IF_ERROR(ingestion_->Start());
  RETURN_IF_ERROR(WritePortsFile(options.ports_file, grpc_->address(),
                                 ingestion_->callback_address(), admin_->address()));
  serving_.store(true);
  grpc_->SetServing(true);
  std::fprintf(stderr,
               "tidegate is ready\n  gRPC      %s\n  callbacks http://%s/callback/CORP/APP\n"
               "  admin     http://%s  (/livez /readyz /metrics)\n  state     %s\n  WeCom     %s\n",
               grpc_->address().c_str(), ingestion_->callback_address().c_str(),
               admin_->address().c_str(), directory_->path().c_str(),
               dispatch_config.wecom_url.c_str());
  return absl::OkStatus();
}

absl::Status Process::WaitUntilReady() {
  const auto deadline = std::chrono::steady_clock::now() + kReadyPatience;
  while (!(tagging_->Ready() && segmentation_->Ready() && dispatch_->Ready())) {
    if (std::chrono::steady_clock::now() > deadline) {
      return absl::DeadlineExceededError("the journals were not replayed within 10 minutes");
    }
    std::this_thread::sleep_for(kReadyPoll);
  }
  return absl::OkStatus();
}

http::Response Process::Admin(const http::Request& request) {
  const std::string path = http::Path(request.target);
  if (request.method != "GET") return {.status = 405, .body = "only GET\n"};
  if (path == "/livez") return {.body = "ok\n"};
  if (path == "/readyz") {
    if (draining_.load()) return {.status = 503, .body = "draining\n"};
    return serving_.load() ? http::Response{.body = "ok\n"}
                           : http::Response{.status = 503, .body = "replaying journals\n"};
  }
  if (path == "/metrics") {
    return {.content_type = "text/plain; version=0.0.4; charset=utf-8", .body = RenderMetrics()};
  }
  return {.status = 404, .body = "there is /livez, /readyz and /metrics\n"};
}

// On the admin server's thread only.
std::string Process::RenderMetrics() {
  if (!serving_.load()) return metrics_.Render();
  if (journals_.empty()) {
    for (const auto& runners :
         {tagging_->runners(), segmentation_->runners(), dispatch_->runners()}) {
      for (const runtime::PartitionRunner* runner : runners) {
        journals_.emplace_back(runner, metrics_.MakeJournal(log::Name(runner->options().journal)));
      }
    }
    ingestion_stage_.emplace(metrics_.MakeStage("ingestion", 0));
  }
  for (auto& [runner, journal] : journals_) {
    journal.records.Set(runner->records_applied());
    journal.void_records.Set(runner->void_records());
    journal.fences.Set(runner->fences());
  }
  const uint64_t refused = ingestion_->events_refused();
  ingestion_stage_->Set(ingestion_->events_in(), ingestion_->events_in() - refused, refused, 0);
  return metrics_.Render();
}

// Whatever this process still does for a partition that is not its own is wrong: it ends at once.
void Process::OnPartitionEnd(runtime::PartitionRunner::State state) {
  const bool fenced = state == runtime::PartitionRunner::State::kFenced;
  LogEvent(LogLevel::kError, fenced ? "exit_fenced" : "exit_failed");
  std::_Exit(fenced ? kExitFenced : kExitFailed);
}

void Process::Drain() {
  draining_.store(true);
  serving_.store(false);
  LogEvent(LogLevel::kInfo, "drain_begins");
  grpc_->SetServing(false);
  ingestion_->Stop();
  // Calls in flight end while the partitions still answer.
  std::thread calls([this] { grpc_->Stop(kCallPatience); });
  dispatch_->Drain(kDrainPatience);
  dispatch_->Stop();
  segmentation_->Stop();
  tagging_->Stop();
  calls.join();
  definitions_.reset();
  log_.reset();
  LogEvent(LogLevel::kInfo, "drain_ended");
}

}  // namespace

absl::Status RunServe(const ServeOptions& options) {
  // Blocked before any thread starts, so that all inherit it and only sigwait sees them.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ASSIGN_OR_RETURN(std::unique_ptr<Process> process, Process::Start(options));
  int signal = 0;
  sigwait(&signals, &signal);
  // A second signal ends the process at once; what is in flight becomes doubt.
  std::thread([signals] {
    int second = 0;
    sigwait(&signals, &second);
    std::_Exit(0);
  }).detach();
  process->Drain();
  return absl::OkStatus();
}

}  // namespace tidegate
