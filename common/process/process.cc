#include "common/process/process.h"

#include <semaphore.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <boost/json.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/build_info.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/definitions/definition_store.h"
#include "common/grpc/channels.h"
#include "common/grpc/credentials.h"
#include "common/grpc/server_runner.h"
#include "common/log/data_directory.h"
#include "common/log/embedded_log.h"
#include "common/log/kafka_log.h"
#include "common/process/admin.h"
#include "common/process/former_owner.h"
#include "common/process/measured_log.h"
#include "common/process/replica_watch.h"

namespace tidegate::process {
namespace {

constexpr absl::Duration kDrainPatience = absl::Seconds(10);
constexpr absl::Duration kCallPatience = absl::Seconds(2);
constexpr absl::Duration kNamePatience = absl::Seconds(60);
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

log::KafkaOptions ToKafkaOptions(const config::Settings& settings) {
  const auto& kafka = settings.log.kafka;
  log::KafkaOptions options;
  options.bootstrap_servers = kafka.bootstrap_servers;
  options.topic_prefix = kafka.topic_prefix;
  options.partitions = static_cast<uint32_t>(settings.partitions);
  options.lanes = static_cast<uint32_t>(settings.lanes);
  options.replication = kafka.replication;
  options.min_insync_replicas = kafka.min_insync_replicas;
  options.append_timeout_ms = kafka.append_timeout_ms;
  options.ca_file = kafka.tls.ca_file;
  options.cert_file = kafka.tls.cert_file;
  options.key_file = kafka.tls.key_file;
  return options;
}

const std::vector<std::string>& PeersOf(const config::Settings& settings,
                                        const std::string& service) {
  const auto& peers = settings.peers;
  if (service == "ingestion") return peers.ingestion;
  if (service == "tagging") return peers.tagging;
  if (service == "segmentation") return peers.segmentation;
  return peers.dispatch;
}

// SIGTERM and SIGINT. During a start, and again during a drain, a signal ends the process at once,
// which is survived like a kill: what is in flight becomes doubt.
std::atomic<bool> started{false};
std::atomic<bool> told{false};
sem_t told_to_end;

void OnSignal(int) {
  if (!started.load() || told.exchange(true)) _exit(0);
  sem_post(&told_to_end);
}

// An end in order that the process itself wants; also before it has started.
void TellToEnd() {
  if (!told.exchange(true)) sem_post(&told_to_end);
}

void CatchSignals() {
  sem_init(&told_to_end, 0, 0);
  struct sigaction action {};
  action.sa_handler = OnSignal;
  action.sa_flags = SA_RESTART;
  for (const int signal : {SIGTERM, SIGINT}) sigaction(signal, &action, nullptr);
}

// All that runs, in the order of its start; destroyed in reverse.
class Process {
 public:
  explicit Process(const config::Settings& settings)
      : settings_(settings),
        callers_(settings.callers, /*enforced=*/!settings.listen.tls.ca_file.empty()) {}

  // Until all of it works.
  absl::Status Start(const std::vector<ServiceSpec>& specs);
  // Tells everyone that it does.
  absl::Status Announce(const std::string& name);
  void Drain();

 private:
  absl::Status OpenLog();
  absl::Status MakeService(const ServiceSpec& spec);
  absl::StatusOr<rpc::Replicas::Channels> ChannelsOf(const std::string& service);
  absl::Status StartGrpc();
  absl::Status WaitUntilReady();
  void OnPartitionEnd(runtime::PartitionRunner::State state);
  std::string Description(const std::string& name) const;
  std::string callback_address() const;

  struct Running {
    std::string name;
    rpc::Replicas replicas;
    std::unique_ptr<Service> service;
  };

  const config::Settings settings_;
  SystemClock clock_;
  metrics::Metrics metrics_;
  config::Corps corps_;
  wecom_table::Limits limits_;
  const rpc::CallerCorps callers_;
  Replica replica_;
  bool predecessor_dead_ = false;
  std::string state_;  // where it is kept, for people
  std::unique_ptr<Admin> admin_;
  std::unique_ptr<log::DataDirectory> directory_;
  std::unique_ptr<log::Log> log_;
  std::unique_ptr<definitions::DefinitionStore> definitions_;
  std::shared_ptr<grpc::ChannelCredentials> peer_credentials_;
  std::vector<std::unique_ptr<Running>> running_;
  std::unique_ptr<rpc::ServerRunner> grpc_;
  std::unique_ptr<ReplicaWatch> replica_watch_;  // null if their number is fixed
};

absl::Status Process::Start(const std::vector<ServiceSpec>& specs) {
  metrics_.SetBuildInfo(kVersion, kCommit, kBuildType);
  ASSIGN_OR_RETURN(corps_,
                   config::LoadCorps(settings_.corps_file, static_cast<uint32_t>(settings_.lanes)));
  ASSIGN_OR_RETURN(limits_, LoadLimits(settings_.limits_file));
  ASSIGN_OR_RETURN(peer_credentials_, rpc::ChannelCredentials(settings_.peers.tls));
  // The addresses are taken before the long replay, so that a taken port is told at once.
  ASSIGN_OR_RETURN(admin_, Admin::Start(settings_.listen.admin, &metrics_));
  const ReplicaRange range = ParseReplica(settings_.replica);
  const std::vector<std::string>& peers = PeersOf(settings_, specs.front().name);
  ASSIGN_OR_RETURN(replica_, FindReplica(range, peers, AskResolver, kNamePatience));
  RETURN_IF_ERROR(OpenLog());
  definitions_ = std::make_unique<definitions::DefinitionStore>(log_.get(), &clock_);
  for (const ServiceSpec& spec : specs) RETURN_IF_ERROR(MakeService(spec));
  RETURN_IF_ERROR(StartGrpc());
  for (const auto& running : running_) RETURN_IF_ERROR(running->service->Open());
  for (const auto& running : running_) running->service->Start();
  if (!range.fixed()) {
    replica_watch_ =
        std::make_unique<ReplicaWatch>(range, peers, AskResolver, replica_,
                                       absl::Milliseconds(settings_.peers.settle_ms), TellToEnd);
  }
  admin_->Watch(true);
  RETURN_IF_ERROR(definitions_->WaitUntilRead());
  return WaitUntilReady();
}

absl::Status Process::Announce(const std::string& name) {
  RETURN_IF_ERROR(WritePortsFile(settings_.listen.ports_file, grpc_->address(), callback_address(),
                                 admin_->address()));
  admin_->SetPhase(Admin::Phase::kServing);
  grpc_->SetServing(true);
  std::fputs(Description(name).c_str(), stderr);
  return absl::OkStatus();
}

absl::Status Process::OpenLog() {
  if (settings_.log.kind == "kafka") {
    ASSIGN_OR_RETURN(auto kafka, log::KafkaLog::Open(ToKafkaOptions(settings_)));
    state_ = absl::StrCat("Kafka ", settings_.log.kafka.bootstrap_servers, ", cluster ",
                          kafka->cluster_id());
    admin_->AddDependency("kafka", [log = kafka.get()] { return log->Health(); });
    admin_->OnMetrics([this, log = kafka.get()] {
      metrics_.SetKafkaAnswerAge(static_cast<double>(log->AnswerAgeMs()) * 1e-3);
    });
    log_ = std::make_unique<MeasuredLog>(std::move(kafka), &metrics_);
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(directory_, log::DataDirectory::Open(settings_.log.data_dir,
                                                        settings_.partitions, settings_.lanes));
  ASSIGN_OR_RETURN(auto embedded, log::EmbeddedLog::Open(directory_->path()));
  log_ = std::make_unique<MeasuredLog>(std::move(embedded), &metrics_);
  state_ = directory_->path();
  // The directory's lock was free, so whoever had it before is dead.
  predecessor_dead_ = true;
  return absl::OkStatus();
}

absl::StatusOr<rpc::Replicas::Channels> Process::ChannelsOf(const std::string& service) {
  rpc::Replicas::Channels channels;
  for (const std::string& address : PeersOf(settings_, service)) {
    channels.push_back(rpc::MakeChannel(address, peer_credentials_));
  }
  return channels;
}

absl::Status Process::MakeService(const ServiceSpec& spec) {
  auto running = std::make_unique<Running>();
  running->name = spec.name;
  ASSIGN_OR_RETURN(auto channels, ChannelsOf(spec.name));
  running->replicas = rpc::Replicas(spec.name, replica_, std::move(channels), &callers_);
  const Environment environment{
      .settings = &settings_,
      .corps = &corps_,
      .limits = &limits_,
      .log = log_.get(),
      .clock = &clock_,
      .definitions = definitions_.get(),
      .metrics = &metrics_,
      .callers = &callers_,
      .replicas = &running->replicas,
      .owner = OwnerName(),
      .predecessor_dead = predecessor_dead_,
      .on_end = [this](runtime::PartitionRunner::State state) { OnPartitionEnd(state); }};
  ASSIGN_OR_RETURN(running->service, spec.create(environment));
  Service* service = running->service.get();
  for (const runtime::PartitionRunner* runner : service->runners())
    admin_->AddRunner(spec.name, runner);
  admin_->OnMetrics([service] { service->PublishMetrics(); });
  running_.push_back(std::move(running));
  return absl::OkStatus();
}

absl::Status Process::StartGrpc() {
  std::vector<grpc::Service*> handlers;
  std::vector<std::string> names;
  for (const auto& running : running_) {
    for (const Service::RpcHandler& handler : running->service->rpc_handlers()) {
      handlers.push_back(handler.service);
      names.push_back(handler.name);
    }
  }
  ASSIGN_OR_RETURN(auto credentials, rpc::ServerCredentials(settings_.listen.tls));
  ASSIGN_OR_RETURN(grpc_, rpc::ServerRunner::Start(settings_.listen.grpc, handlers, credentials,
                                                   &metrics_, names));
  const ChannelsTo channels_to = [this](const std::string& service) -> rpc::Replicas::Channels {
    for (const auto& running : running_) {
      if (running->name == service) return {grpc_->InProcessChannel()};
    }
    return *ChannelsOf(service);
  };
  for (const auto& running : running_) running->service->Connect(channels_to);
  return absl::OkStatus();
}

absl::Status Process::WaitUntilReady() {
  const auto deadline = std::chrono::steady_clock::now() + kReadyPatience;
  for (const auto& running : running_) {
    while (!running->service->Ready()) {
      if (std::chrono::steady_clock::now() > deadline) {
        return absl::DeadlineExceededError("the journals were not replayed within 10 minutes");
      }
      std::this_thread::sleep_for(kReadyPoll);
    }
  }
  return absl::OkStatus();
}

std::string Process::callback_address() const {
  for (const auto& running : running_) {
    if (std::string address = running->service->address(); !address.empty()) return address;
  }
  return "";
}

std::string Process::Description(const std::string& name) const {
  std::string text = absl::StrCat(name, " is ready, replica ", replica_.Name(), "\n  gRPC      ",
                                  grpc_->address(), "\n");
  if (const std::string callback = callback_address(); !callback.empty()) {
    absl::StrAppend(&text, "  callbacks ",
                    settings_.listen.callback_tls.cert_file.empty() ? "http" : "https", "://",
                    callback, "/callback/CORP/APP\n");
  }
  absl::StrAppend(&text, "  admin     http://", admin_->address(),
                  "  (/livez /readyz?verbose /metrics)\n  state     ", state_, "\n  WeCom     ",
                  settings_.send ? settings_.wecom.url : "nothing is sent (send: false)", "\n");
  return text;
}

// Whatever this process still does for a partition that is not its own is wrong: it ends at once.
void Process::OnPartitionEnd(runtime::PartitionRunner::State state) {
  const bool fenced = state == runtime::PartitionRunner::State::kFenced;
  LogEvent(LogLevel::kError, fenced ? "exit_fenced" : "exit_failed");
  std::_Exit(fenced ? kExitFenced : EXIT_FAILURE);
}

void Process::Drain() {
  admin_->SetPhase(Admin::Phase::kDraining);
  LogEvent(LogLevel::kInfo, "drain_begins");
  grpc_->SetServing(false);
  for (const auto& running : running_) running->service->Close();
  // Calls in flight end while the partitions still answer.
  std::thread calls([this] { grpc_->Stop(kCallPatience); });
  for (const auto& running : running_) running->service->Drain(kDrainPatience);
  for (auto running = running_.rbegin(); running != running_.rend(); ++running) {
    (*running)->service->Stop();
  }
  calls.join();
  admin_->Watch(false);
  definitions_.reset();
  log_.reset();
  LogEvent(LogLevel::kInfo, "drain_ended");
}

}  // namespace

absl::Status CheckPeers(const config::Settings& settings,
                        const std::vector<ServiceSpec>& services) {
  const ReplicaRange range = ParseReplica(settings.replica);
  if (!range.fixed() && services.size() > 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("replica is ", settings.replica,
                     ", and services in one process have no names of their own; write r/R"));
  }
  for (const ServiceSpec& service : services) {
    const size_t peers = PeersOf(settings, service.name).size();
    if (range.most == 1 || peers == range.most) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("peers.", service.name, " has ", peers, " addresses, but there are ",
                     range.most, " replicas (replica ", settings.replica,
                     "); list the gRPC address of each, in the order of ordinals"));
  }
  return absl::OkStatus();
}

absl::Status Run(const std::string& name, const config::Settings& settings,
                 const std::vector<ServiceSpec>& services) {
  RETURN_IF_ERROR(CheckPeers(settings, services));
  CatchSignals();
  Process process(settings);
  RETURN_IF_ERROR(process.Start(services));
  started.store(true);
  RETURN_IF_ERROR(process.Announce(name));
  while (sem_wait(&told_to_end) != 0) {
  }
  process.Drain();
  return absl::OkStatus();
}

}  // namespace tidegate::process
