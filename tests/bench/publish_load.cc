// Calls BatchPublishEvents with order_paid events, at a steady pace or as fast as they are taken.
// Every event is an order of its own; customers take turns, so each has the same number of orders.
// Prints one JSON object at the end. Used by log_bench.py.
//
//   publish_load --grpc ingestion=127.0.0.1:7701 --corp ww1 --per-second 1000 --seconds 30
//   publish_load --grpc 127.0.0.1:7701 --corp ww1 --per-second 0 --events 100000

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "boost/json.hpp"
#include "common/base/clock.h"
#include "services/tidegate/client/connection.h"
#include "tidegate/ingestion/v1/ingestion_service.grpc.pb.h"

namespace tidegate::bench {
namespace {

using Clock = std::chrono::steady_clock;
namespace v1 = ::tidegate::ingestion::v1;

struct Options {
  std::string grpc;
  std::string corp;
  std::string source = "bench";
  double per_second = 1000;  // 0 = as fast as they are taken
  double seconds = 0;        // with a pace
  int64_t events = 0;        // without one
  int64_t batch = 100;
  int64_t customers = 20'000;
  int calls_at_a_time = 8;
};

constexpr double kPatienceMs = 60'000;

double MsSince(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

class Load {
 public:
  explicit Load(const Options& options)
      : options_(options),
        events_(options.per_second > 0 ? static_cast<int64_t>(options.per_second * options.seconds)
                                       : options.events),
        batches_((events_ + options.batch - 1) / options.batch) {}

  int Run(const client::Channels& channels) {
    const auto channel =
        channels.contains("ingestion") ? channels.at("ingestion") : channels.at("");
    channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(10));
    begin_raw_ns_ = SystemClock().Read().raw_ns;
    begin_ = Clock::now();
    std::vector<std::thread> threads;
    for (int i = 0; i < options_.calls_at_a_time; ++i) {
      threads.emplace_back([this, &channel] { Work(channel); });
    }
    for (std::thread& thread : threads) thread.join();
    std::sort(calls_ms_.begin(), calls_ms_.end());
    const auto share = [&](double of) {
      return calls_ms_.empty() ? 0 : calls_ms_[static_cast<size_t>((calls_ms_.size() - 1) * of)];
    };
    std::cout << boost::json::object{{"events", events_},
                                     {"published", published_},
                                     {"refused", refused_},
                                     {"repeats", repeats_.load()},
                                     {"begin_raw_ns", begin_raw_ns_},
                                     {"seconds", MsSince(begin_) / 1e3},
                                     {"call_p50_ms", share(0.5)},
                                     {"call_p99_ms", share(0.99)},
                                     {"late_max_ms", late_max_ms_}}
              << std::endl;
    return refused_ == 0 ? 0 : 1;
  }

 private:
  void Work(const std::shared_ptr<grpc::Channel>& channel) {
    const auto stub = v1::IngestionService::NewStub(channel);
    while (true) {
      const int64_t number = next_.fetch_add(1);
      if (number >= batches_) return;
      const v1::BatchPublishEventsRequest request = Batch(number);
      double late_ms = 0;
      if (options_.per_second > 0) {
        const auto due =
            begin_ + std::chrono::nanoseconds(static_cast<int64_t>(
                         static_cast<double>(number * options_.batch) / options_.per_second * 1e9));
        std::this_thread::sleep_until(due);
        late_ms = MsSince(due);
      }
      const auto start = Clock::now();
      int64_t taken = Publish(stub.get(), request);
      // A full server takes it later; what it has taken already does not count twice.
      while (taken < request.events_size() && MsSince(start) < kPatienceMs) {
        ++repeats_;
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        taken = Publish(stub.get(), request);
      }
      const double took_ms = MsSince(start);
      std::lock_guard lock(mu_);
      calls_ms_.push_back(took_ms);
      published_ += taken;
      refused_ += request.events_size() - taken;
      late_max_ms_ = std::max(late_max_ms_, late_ms);
    }
  }

  // How many events were taken.
  static int64_t Publish(v1::IngestionService::Stub* stub,
                         const v1::BatchPublishEventsRequest& request) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    v1::BatchPublishEventsResponse response;
    const grpc::Status status = stub->BatchPublishEvents(&context, request, &response);
    if (!status.ok()) std::fprintf(stderr, "publish_load: %s\n", status.error_message().c_str());
    int64_t taken = 0;
    for (const auto& result : response.results()) taken += result.code() == 0 ? 1 : 0;
    return taken;
  }

  v1::BatchPublishEventsRequest Batch(int64_t number) const {
    v1::BatchPublishEventsRequest request;
    request.set_corp(options_.corp);
    request.set_source(options_.source);
    const int64_t end = std::min(events_, (number + 1) * options_.batch);
    const int64_t now_s = std::chrono::duration_cast<std::chrono::seconds>(
                              std::chrono::system_clock::now().time_since_epoch())
                              .count();
    for (int64_t i = number * options_.batch; i < end; ++i) {
      v1::PublishedEvent* event = request.add_events();
      event->set_event_id(absl::StrFormat("order:%d:%016x", i, Mixed(i)));
      // Neighbours in a batch belong to different partitions.
      event->set_customer(absl::StrFormat("wm%030d", i % options_.customers));
      event->mutable_event_time()->set_seconds(now_s);
      event->mutable_order_paid()->set_order_id(absl::StrCat(i));
      event->mutable_order_paid()->mutable_amount()->set_amount_fen(
          static_cast<int64_t>(Mixed(i) % 50'000));
    }
    return request;
  }

  static uint64_t Mixed(int64_t number) {
    uint64_t mixed = static_cast<uint64_t>(number) * 0x9e3779b97f4a7c15;
    mixed ^= mixed >> 31;
    return mixed * 0xbf58476d1ce4e5b9;
  }

  const Options& options_;
  const int64_t events_;
  const int64_t batches_;
  std::atomic<int64_t> next_{0};
  std::atomic<int64_t> repeats_{0};
  Clock::time_point begin_;
  int64_t begin_raw_ns_ = 0;
  std::mutex mu_;  // guards the rest
  std::vector<double> calls_ms_;
  int64_t published_ = 0;
  int64_t refused_ = 0;
  double late_max_ms_ = 0;
};

}  // namespace
}  // namespace tidegate::bench

int main(int argc, char** argv) {
  tidegate::bench::Options options;
  CLI::App app("Publishes events; log_bench.py runs it");
  app.add_option("--grpc", options.grpc, "as the client's --grpc")->required();
  app.add_option("--corp", options.corp)->required();
  app.add_option("--source", options.source);
  app.add_option("--per-second", options.per_second, "events a second; 0 = as fast as possible");
  app.add_option("--seconds", options.seconds, "how long, with a pace");
  app.add_option("--events", options.events, "how many, without one");
  app.add_option("--batch", options.batch, "events in a call")->check(CLI::Range(1, 1000));
  app.add_option("--customers", options.customers)->check(CLI::PositiveNumber);
  app.add_option("--calls-at-a-time", options.calls_at_a_time)->check(CLI::Range(1, 256));
  CLI11_PARSE(app, argc, argv);
  const auto channels = tidegate::client::MakeChannels(options.grpc, [](const std::string& target) {
    return grpc::CreateChannel(target, grpc::InsecureChannelCredentials());
  });
  if (!channels.ok()) {
    std::fprintf(stderr, "publish_load: %s\n", channels.status().ToString().c_str());
    return 2;
  }
  return tidegate::bench::Load(options).Run(*channels);
}
