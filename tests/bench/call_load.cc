// Calls of mark_tag, of distinct pairs. `fill` writes the wishes into a new data directory, as
// tagging's outbox would, and `tidegate serve` sends them. `bare` makes the same calls with
// nothing but the HTTP client. Used by send_bench.py.
//
//   call_load fill --data-dir data --corp ww1 --calls 100000
//   call_load bare --url http://127.0.0.1:7700 --calls 100000 --in-flight 64

#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/core/header_codec.h"
#include "common/http/client.h"
#include "common/log/data_directory.h"
#include "common/log/embedded_log.h"
#include "tests/bench/mark_tags.h"
#include "tidegate/log/v1/commands.pb.h"

namespace tidegate::bench {
namespace {

struct Options {
  std::string data_dir, corp, url;
  uint64_t calls = 100'000;
  size_t in_flight = 64;
  size_t connections = 64;
  uint64_t seed = 1;
};

constexpr uint64_t kAppendRecords = 5000;
constexpr int kPartitions = 4;

// Waits for one event at a time.
class Latch {
 public:
  void Open() {
    std::lock_guard lock(mu_);
    open_ = true;
    changed_.notify_one();
  }
  void Wait() {
    std::unique_lock lock(mu_);
    changed_.wait(lock, [this] { return open_; });
    open_ = false;
  }

 private:
  std::mutex mu_;
  std::condition_variable changed_;
  bool open_ = false;
};

log::Record WishRecord(const Options& options, uint64_t number) {
  const MarkTag wish = MakeMarkTag(options.seed, number);
  ::tidegate::log::v1::Command command;
  command.set_corp(options.corp);
  command.set_member(wish.member);
  command.set_customer(wish.customer);
  command.set_profile_version(1);
  command.mutable_mark_tag()->add_add(wish.tag);
  ::tidegate::log::v1::RecordHeader header;
  header.mutable_source()->set_journal(log::Name({log::Topic::kProfiles, 0}));
  header.mutable_source()->set_out_seq(number + 1);
  return {.key = absl::StrCat(options.corp, "/", wish.member, "/", wish.customer),
          .header = core::EncodeHeader(header),
          .value = command.SerializeAsString()};
}

absl::Status Fill(const Options& options) {
  ASSIGN_OR_RETURN(auto directory, log::DataDirectory::Open(options.data_dir, kPartitions, 1));
  ASSIGN_OR_RETURN(auto log, log::EmbeddedLog::Open(directory->path()));
  for (uint64_t first = 0; first < options.calls; first += kAppendRecords) {
    std::vector<log::Record> records;
    for (uint64_t i = first; i < std::min(options.calls, first + kAppendRecords); ++i) {
      records.push_back(WishRecord(options, i));
    }
    absl::Status appended;
    Latch latch;
    log->Append({log::Topic::kCommands, 0}, std::move(records), [&](absl::Status status) {
      appended = std::move(status);
      latch.Open();
    });
    latch.Wait();
    RETURN_IF_ERROR(appended);
  }
  return absl::OkStatus();
}

// Sends on the client's thread: each answer sends the next call.
class Bare {
 public:
  Bare(const Options& options, http::Client* client, std::string token)
      : options_(options), client_(client), token_(std::move(token)) {}

  absl::Status Run() {
    // Bodies are made beforehand: what is measured is the client.
    for (uint64_t i = 0; i < options_.calls; ++i) {
      bodies_.push_back(MakeMarkTag(options_.seed, i).Body());
    }
    for (size_t i = 0; i < options_.in_flight; ++i) SendNext();
    all_over_.Wait();
    return failed_;
  }

 private:
  void SendNext() {
    const uint64_t number = next_.fetch_add(1);
    if (number >= options_.calls) return;
    http::HttpCall call;
    call.method = "POST";
    call.target = absl::StrCat("/cgi-bin/externalcontact/mark_tag?access_token=", token_);
    call.content_type = "application/json";
    call.body = std::move(bodies_[number]);
    call.deadline = absl::Seconds(60);
    client_->Send(std::move(call), [this](http::HttpResult result) {
      if (!result.status.ok()) failed_ = result.status;
      if (++over_ == options_.calls) return all_over_.Open();
      SendNext();
    });
  }

  const Options& options_;
  http::Client* const client_;
  const std::string token_;
  std::vector<std::string> bodies_;
  std::atomic<uint64_t> next_{0};
  // The client's thread only.
  uint64_t over_ = 0;
  absl::Status failed_;
  Latch all_over_;
};

absl::Status RunBare(const Options& options) {
  ASSIGN_OR_RETURN(auto client, http::Client::Create({.base_url = options.url,
                                                      .connections_max = options.connections,
                                                      .waiting_max = options.in_flight}));
  // As long as a token of WeCom.
  return Bare(options, client.get(), std::string(214, 't')).Run();
}

}  // namespace
}  // namespace tidegate::bench

int main(int argc, char** argv) {
  tidegate::bench::Options options;
  CLI::App app("Calls of mark_tag; send_bench.py runs it");
  app.require_subcommand(1);
  CLI::App* fill = app.add_subcommand("fill", "Write the wishes into a data directory");
  fill->add_option("--data-dir", options.data_dir)->required();
  fill->add_option("--corp", options.corp)->required();
  CLI::App* bare = app.add_subcommand("bare", "Make the calls with the HTTP client alone");
  bare->add_option("--url", options.url)->required();
  bare->add_option("--in-flight", options.in_flight)->check(CLI::PositiveNumber);
  bare->add_option("--connections", options.connections)->check(CLI::PositiveNumber);
  for (CLI::App* each : {fill, bare}) {
    each->add_option("--calls", options.calls)->check(CLI::PositiveNumber);
    each->add_option("--seed", options.seed);
  }
  CLI11_PARSE(app, argc, argv);
  const absl::Status status =
      fill->parsed() ? tidegate::bench::Fill(options) : tidegate::bench::RunBare(options);
  if (status.ok()) return 0;
  std::fprintf(stderr, "call_load: %s\n", status.ToString().c_str());
  return 1;
}
