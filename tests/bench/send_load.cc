// Sends messages as an internal service does, as fast as they are acknowledged: by batches over one
// SendMessages call, or one by one by SendMessage with many calls at a time. Every message has a
// key and a customer of its own; senders and contents are few. Prints one JSON object. `check`
// lists all touches of the corp and tells which of those keys are there. Used by send_bench.py.
//
//   send_load stream --grpc 127.0.0.1:7701 --corp ww1 --run a --messages 400000 --batch 1000
//   send_load unary --grpc 127.0.0.1:7701 --corp ww1 --run b --messages 20000 --in-flight 256
//   send_load check --grpc 127.0.0.1:7701 --corp ww1 --run a --messages 400000

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <iostream>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "boost/json.hpp"
#include "common/base/hash.h"
#include "tidegate/dispatch/v1/dispatch_service.grpc.pb.h"

namespace tidegate::bench {
namespace {

using Clock = std::chrono::steady_clock;
namespace v1 = ::tidegate::dispatch::v1;

struct Options {
  std::string grpc, corp, run;
  int64_t messages = 100'000;
  int64_t batch = 1000;
  int64_t under_way = 8;    // batches without an answer
  int64_t in_flight = 256;  // calls of one message
  uint64_t seed = 1;
};

constexpr int kContents = 4;
constexpr int kSenders = 50;
constexpr int kPageSize = 1000;
constexpr int kAnswerBytesMax = 64 << 20;
constexpr auto kPatience = std::chrono::minutes(5);

double SecondsSince(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

std::string KeyPrefix(const Options& options) { return absl::StrCat(options.run, ":"); }

v1::MessageContent Content(int number) {
  v1::MessageContent content;
  content.mutable_content()->set_text(absl::StrCat(
      "Dear customer, your order has left our warehouse and will reach you soon. ", number));
  content.mutable_content()->set_link_url(
      absl::StrCat("https://shop.example/orders/status?from=message&kind=", number));
  content.mutable_content()->set_link_title("Where it is");
  return content;
}

v1::Message MakeMessage(const Options& options, int64_t number) {
  v1::Message message;
  message.set_key(absl::StrCat(KeyPrefix(options), number));
  message.set_customer(
      absl::StrFormat("wm%014d%016x", number, Mix64(options.seed ^ static_cast<uint64_t>(number))));
  message.set_sender(absl::StrFormat("m%03d", number % kSenders));
  message.set_content(static_cast<uint32_t>(number % kContents));
  return message;
}

// What came of a run, from its first message to its last acknowledgement.
struct Outcome {
  int64_t acknowledged = 0;
  int64_t repeats = 0;
  int64_t faults = 0;
  double seconds = 0;
  std::string error;  // first thing that went wrong

  int Print() const {
    std::cout << boost::json::object{{"acknowledged", acknowledged},
                                     {"repeats", repeats},
                                     {"faults", faults},
                                     {"seconds", seconds},
                                     {"error", error}}
              << std::endl;
    return error.empty() ? 0 : 1;
  }
};

// One SendMessages call. Batches are made before the clock starts, as a service has its messages.
class Stream final
    : public grpc::ClientBidiReactor<v1::SendMessagesRequest, v1::SendMessagesResponse> {
 public:
  Stream(const Options& options, v1::DispatchService::Stub* stub) : options_(options) {
    for (int64_t first = 0; first < options.messages; first += options.batch) {
      v1::SendMessagesRequest& request = batches_.emplace_back();
      request.set_corp(options.corp);
      request.set_batch(batches_.size());
      for (int i = 0; i < kContents; ++i) *request.add_contents() = Content(i);
      for (int64_t i = first; i < std::min(options.messages, first + options.batch); ++i) {
        *request.add_messages() = MakeMessage(options, i);
      }
    }
    context_.set_deadline(std::chrono::system_clock::now() + kPatience);
    stub->async()->SendMessages(&context_, this);
  }

  Outcome Run() {
    begin_ = Clock::now();
    {
      std::lock_guard lock(mu_);
      Pump();
    }
    StartRead(&response_);
    StartCall();
    std::unique_lock lock(mu_);
    changed_.wait(lock, [this] { return over_; });
    return outcome_;
  }

  void OnWriteDone(bool ok) override {
    std::lock_guard lock(mu_);
    writing_ = false;
    if (ok) Pump();
  }

  void OnReadDone(bool ok) override {
    std::lock_guard lock(mu_);
    if (!ok) return;
    ++answered_;
    outcome_.acknowledged += response_.acknowledged();
    outcome_.repeats += response_.repeats_size();
    outcome_.faults += response_.faults_size();
    if (response_.faults_size() > 0 && outcome_.error.empty()) {
      outcome_.error = response_.faults(0).message();
    }
    outcome_.seconds = SecondsSince(begin_);
    StartRead(&response_);
    Pump();
  }

  void OnDone(const grpc::Status& status) override {
    std::lock_guard lock(mu_);
    if (!status.ok()) outcome_.error = status.error_message();
    over_ = true;
    changed_.notify_one();
  }

 private:
  void Pump() {
    if (writing_ || all_written_ || written_ - answered_ >= options_.under_way) return;
    if (written_ == static_cast<int64_t>(batches_.size())) {
      all_written_ = true;
      return StartWritesDone();
    }
    writing_ = true;
    StartWrite(&batches_[static_cast<size_t>(written_++)]);
  }

  const Options& options_;
  std::vector<v1::SendMessagesRequest> batches_;
  grpc::ClientContext context_;
  Clock::time_point begin_;
  v1::SendMessagesResponse response_;
  std::mutex mu_;
  std::condition_variable changed_;
  // Guarded by mu_.
  int64_t written_ = 0;
  int64_t answered_ = 0;
  bool writing_ = false;
  bool all_written_ = false;
  bool over_ = false;
  Outcome outcome_;
};

// One SendMessage call per message: each answer sends the next.
class Unary {
 public:
  Unary(const Options& options, v1::DispatchService::Stub* stub) : options_(options), stub_(stub) {
    for (int64_t i = 0; i < options.messages; ++i) {
      v1::SendMessageRequest& request = requests_.emplace_back();
      request.set_corp(options.corp);
      *request.mutable_message() = MakeMessage(options, i);
      request.mutable_message()->set_content(0);
      *request.mutable_content() = Content(static_cast<int>(i % kContents));
    }
  }

  Outcome Run() {
    begin_ = Clock::now();
    for (int64_t i = 0; i < options_.in_flight; ++i) SendNext();
    std::unique_lock lock(mu_);
    changed_.wait(lock, [this] { return over_ == options_.messages; });
    return outcome_;
  }

 private:
  struct Call {
    grpc::ClientContext context;
    v1::SendMessageResponse response;
  };

  void SendNext() {
    const int64_t number = next_.fetch_add(1);
    if (number >= options_.messages) return;
    auto call = std::make_shared<Call>();
    call->context.set_deadline(std::chrono::system_clock::now() + kPatience);
    stub_->async()->SendMessage(&call->context, &requests_[static_cast<size_t>(number)],
                                &call->response, [this, call](const grpc::Status& status) {
                                  SendNext();
                                  Take(*call, status);
                                });
  }

  void Take(const Call& call, const grpc::Status& status) {
    std::lock_guard lock(mu_);
    if (status.ok()) {
      ++outcome_.acknowledged;
      outcome_.repeats += call.response.repeat() ? 1 : 0;
    } else {
      ++outcome_.faults;
      if (outcome_.error.empty()) outcome_.error = status.error_message();
    }
    outcome_.seconds = SecondsSince(begin_);
    if (++over_ == options_.messages) changed_.notify_one();
  }

  const Options& options_;
  v1::DispatchService::Stub* const stub_;
  std::vector<v1::SendMessageRequest> requests_;
  Clock::time_point begin_;
  std::atomic<int64_t> next_{0};
  std::mutex mu_;
  std::condition_variable changed_;
  // Guarded by mu_.
  int64_t over_ = 0;
  Outcome outcome_;
};

// How many of the run's messages are there, once and more often.
int Check(const Options& options, v1::DispatchService::Stub* stub) {
  std::vector<int> times(static_cast<size_t>(options.messages));
  int64_t unknown = 0;
  v1::ListTouchesRequest request;
  request.set_corp(options.corp);
  request.set_page_size(kPageSize);
  do {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kPatience);
    v1::ListTouchesResponse response;
    const grpc::Status status = stub->ListTouches(&context, request, &response);
    if (!status.ok()) {
      std::fprintf(stderr, "send_load: %s\n", status.error_message().c_str());
      return 1;
    }
    for (const v1::Touch& touch : response.touches()) {
      absl::string_view key = touch.key();
      int64_t number = -1;
      if (!absl::ConsumePrefix(&key, KeyPrefix(options))) continue;
      if (!absl::SimpleAtoi(key, &number) || number < 0 || number >= options.messages) {
        ++unknown;
      } else {
        ++times[static_cast<size_t>(number)];
      }
    }
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());
  std::cout << boost::json::object{{"there", std::count_if(times.begin(), times.end(),
                                                           [](int n) { return n > 0; })},
                                   {"twice", std::count_if(times.begin(), times.end(),
                                                           [](int n) { return n > 1; })},
                                   {"unknown", unknown}}
            << std::endl;
  return 0;
}

}  // namespace
}  // namespace tidegate::bench

int main(int argc, char** argv) {
  namespace bench = tidegate::bench;
  bench::Options options;
  CLI::App app("Sends messages and checks that they are there; send_bench.py runs it");
  app.require_subcommand(1);
  CLI::App* stream = app.add_subcommand("stream", "Batches over SendMessages");
  stream->add_option("--batch", options.batch, "messages of a batch")->check(CLI::Range(1, 10'000));
  stream->add_option("--under-way", options.under_way, "batches")->check(CLI::Range(1, 8));
  CLI::App* unary = app.add_subcommand("unary", "One SendMessage per message");
  unary->add_option("--in-flight", options.in_flight, "calls")->check(CLI::Range(1, 4096));
  CLI::App* check = app.add_subcommand("check", "Tell which messages are there");
  for (CLI::App* each : {stream, unary, check}) {
    each->add_option("--grpc", options.grpc, "HOST:PORT")->required();
    each->add_option("--corp", options.corp)->required();
    each->add_option("--run", options.run, "begins the keys")->required();
    each->add_option("--messages", options.messages)->check(CLI::PositiveNumber);
    each->add_option("--seed", options.seed);
  }
  CLI11_PARSE(app, argc, argv);
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(bench::kAnswerBytesMax);
  const auto channel =
      grpc::CreateCustomChannel(options.grpc, grpc::InsecureChannelCredentials(), arguments);
  channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(10));
  const auto stub = bench::v1::DispatchService::NewStub(channel);
  if (check->parsed()) return bench::Check(options, stub.get());
  if (unary->parsed()) return bench::Unary(options, stub.get()).Run().Print();
  return bench::Stream(options, stub.get()).Run().Print();
}
