#include "common/process/admin.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace tidegate::process {
namespace {

const char* StateName(runtime::PartitionRunner::State state) {
  switch (state) {
    case runtime::PartitionRunner::State::kRecovering:
      return "replaying";
    case runtime::PartitionRunner::State::kLive:
      return "live";
    case runtime::PartitionRunner::State::kFenced:
      return "owned by another process";
    case runtime::PartitionRunner::State::kFailed:
      return "failed";
    case runtime::PartitionRunner::State::kStopped:
      return "stopped";
  }
  return "";
}

}  // namespace

absl::StatusOr<std::unique_ptr<Admin>> Admin::Start(const std::string& address,
                                                    metrics::Metrics* metrics) {
  std::unique_ptr<Admin> admin(new Admin(metrics));
  auto server = http::Server::Start(
      {.address = address}, [a = admin.get()](http::Request request, http::Responder respond) {
        respond(a->Answer(request));
      });
  if (!server.ok()) return server.status();
  admin->server_ = *std::move(server);
  return admin;
}

void Admin::AddDependency(std::string name, Dependency dependency) {
  dependencies_.emplace_back(std::move(name), std::move(dependency));
}

void Admin::AddRunner(const runtime::PartitionRunner* runner) {
  const std::string journal = log::Name(runner->options().journal);
  runners_.emplace_back(runner, metrics_->MakeJournal(journal));
  AddDependency(journal, [runner] {
    const runtime::PartitionRunner::Progress progress = runner->progress();
    return std::pair(runner->state() == runtime::PartitionRunner::State::kLive,
                     absl::StrCat(StateName(runner->state()), ", journal read ",
                                  progress.journal_position, " of ", progress.journal_end));
  });
}

http::Response Admin::Answer(const http::Request& request) {
  const std::string path = http::Path(request.target);
  if (request.method != "GET") return {.status = 405, .body = "only GET\n"};
  if (path == "/livez") return {.body = "ok\n"};
  if (path == "/readyz") return Readiness(absl::EndsWith(request.target, "?verbose"));
  if (path == "/metrics") {
    return {.content_type = "text/plain; version=0.0.4; charset=utf-8", .body = RenderMetrics()};
  }
  return {.status = 404, .body = "there is /livez, /readyz, /readyz?verbose and /metrics\n"};
}

http::Response Admin::Readiness(bool verbose) {
  const Phase phase = phase_.load();
  std::string body = phase == Phase::kServing    ? "ok\n"
                     : phase == Phase::kDraining ? "draining\n"
                                                 : "replaying journals\n";
  if (verbose && watching_.load()) {
    for (const auto& [name, dependency] : dependencies_) {
      const auto [good, text] = dependency();
      absl::StrAppend(&body, good ? "[+] " : "[-] ", name, ": ", text, "\n");
    }
  }
  return {.status = phase == Phase::kServing ? 200 : 503, .body = std::move(body)};
}

std::string Admin::RenderMetrics() {
  if (!watching_.load()) return metrics_->Render();
  for (auto& [runner, journal] : runners_) {
    journal.records.Set(runner->records_applied());
    journal.void_records.Set(runner->void_records());
    journal.fences.Set(runner->fences());
  }
  for (const auto& publish : publishers_) publish();
  return metrics_->Render();
}

}  // namespace tidegate::process
