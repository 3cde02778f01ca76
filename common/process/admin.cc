#include "common/process/admin.h"

#include <map>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/clock.h"

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
        if (http::Path(request.target) == "/statehash") {
          return a->TellStateHashes(request, std::move(respond));
        }
        respond(a->Answer(request));
      });
  if (!server.ok()) return server.status();
  admin->server_ = *std::move(server);
  return admin;
}

void Admin::AddDependency(std::string name, Dependency dependency) {
  dependencies_.emplace_back(std::move(name), std::move(dependency));
}

void Admin::AddRunner(const std::string& stage, const runtime::PartitionRunner* runner) {
  const log::TopicPartition at = runner->options().journal;
  const std::string journal = log::Name(at);
  Watched watched{runner, metrics_->MakeJournal(journal), {}};
  for (const auto& input : runner->input_progress()) {
    watched.lags.push_back(metrics_->MakeLag(stage, at.partition, log::TopicName(input.at.topic)));
  }
  runners_.push_back(std::move(watched));
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
  return {.status = 404,
          .body = "there is /livez, /readyz, /readyz?verbose, /metrics and /statehash\n"};
}

http::Response Admin::Readiness(bool verbose) {
  const Phase phase = phase_.load();
  bool ready = phase == Phase::kServing;
  std::string lines;
  std::lock_guard lock(watching_mu_);
  if (watching_) {
    for (const auto& [name, dependency] : dependencies_) {
      const auto [good, text] = dependency();
      ready = ready && good;
      absl::StrAppend(&lines, good ? "[+] " : "[-] ", name, ": ", text, "\n");
    }
  }
  std::string body = ready                       ? "ok\n"
                     : phase == Phase::kDraining ? "draining\n"
                     : phase == Phase::kStarting ? "replaying journals\n"
                                                 : "not ready; see /readyz?verbose\n";
  if (verbose) absl::StrAppend(&body, lines);
  return {.status = ready ? 200 : 503, .body = std::move(body)};
}

void Admin::TellStateHashes(const http::Request& request, http::Responder respond) {
  struct Gathered {
    std::mutex mu;
    std::map<std::string, std::string> hashes;  // by journal; empty = not live
    http::Responder respond;
  };
  auto gathered = std::make_shared<Gathered>();
  gathered->respond = std::move(respond);
  int64_t at_raw_ns = 0;
  if (!absl::SimpleAtoi(http::QueryValue(request.target, "at_raw_ns"), &at_raw_ns)) {
    at_raw_ns = SystemClock().Read().raw_ns;
  }
  std::lock_guard lock(watching_mu_);
  const size_t count = watching_ ? runners_.size() : 0;
  const auto tell = [gathered, count](const std::string& journal, std::string hash) {
    std::lock_guard held(gathered->mu);
    gathered->hashes[journal] = std::move(hash);
    if (gathered->hashes.size() < count) return;
    http::Response response;
    for (const auto& [name, each] : gathered->hashes) {
      if (each.empty()) response.status = 503;
      absl::StrAppend(&response.body, name, " ", each.empty() ? "not live" : each, "\n");
    }
    gathered->respond(std::move(response));
  };
  if (count == 0) return gathered->respond({.status = watching_ ? 200 : 503});
  for (const Watched& watched : runners_) {
    const runtime::PartitionRunner* runner = watched.runner;
    const std::string name = log::Name(runner->options().journal);
    const absl::Status posted =
        runner->PostQuery([tell, name, at_raw_ns, runner](const absl::Status& status, const Now&) {
          core::StateHash hash;
          if (status.ok()) runner->core().AddStateTo(&hash, at_raw_ns);
          tell(name, status.ok() ? hash.Hex() : "");
        });
    if (!posted.ok()) tell(name, "");
  }
}

void Admin::Watch(bool on) {
  std::lock_guard lock(watching_mu_);
  watching_ = on;
}

void Admin::Publish(Watched& watched, int64_t raw_now_ns) {
  const runtime::PartitionRunner& runner = *watched.runner;
  const bool live = runner.state() == runtime::PartitionRunner::State::kLive;
  watched.journal.records.Set(runner.records_applied());
  watched.journal.void_records.Set(runner.void_records());
  watched.journal.fences.Set(runner.fences());
  watched.journal.live->Set(live);
  watched.journal.outbox->Set(static_cast<double>(runner.outbox_records()));
  if (!live) return;  // how far it is with its inputs is not known yet
  const auto inputs = runner.input_progress();
  for (size_t i = 0; i < inputs.size(); ++i) {
    const int64_t since_ns = inputs[i].left > 0 ? raw_now_ns - inputs[i].caught_up_raw_ns : 0;
    watched.lags[i].records->Set(static_cast<double>(inputs[i].left));
    watched.lags[i].seconds->Set(static_cast<double>(since_ns) * 1e-9);
  }
}

std::string Admin::RenderMetrics() {
  std::lock_guard lock(watching_mu_);
  if (!watching_) return metrics_->Render();
  const int64_t raw_now_ns = SystemClock().Read().raw_ns;
  for (Watched& watched : runners_) Publish(watched, raw_now_ns);
  for (const auto& publish : publishers_) publish();
  return metrics_->Render();
}

}  // namespace tidegate::process
