// Sends events to IngestionService in batches, several of them in flight, and repeats what was not
// taken yet under the same event ids, so that a repeat can never count twice.
//
// Not for: reading files, or deciding what an event is.
//
//   Publisher publisher(&connection, log, {.corp = "ww1", .source = "cdnow"}, on_row_error);
//   while (...) if (!publisher.Add(row, std::move(event))) break;
//   RETURN_IF_ERROR(publisher.Finish());
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "services/tidegate/client/client_log.h"
#include "services/tidegate/client/connection.h"
#include "tidegate/ingestion/v1/ingestion_service.grpc.pb.h"

namespace tidegate::client {

struct PublisherOptions {
  std::string corp;
  std::string source;
  // Events per call, 1 to 1,000.
  size_t batch_events = 500;
  // Calls at a time; as many full batches wait behind them. Policy when full: block.
  size_t batches_in_flight = 8;
};

// Add and Finish from one thread; published() from any.
//
// How long it repeats: RESOURCE_EXHAUSTED (the server is full) for the longer of timeout and wait
// of the connection. UNAVAILABLE for the same time once the server has answered, before that only
// for the wait: a wrong address should be told at once, a restart in the middle should not end an
// import.
class Publisher {
 public:
  // Told of each row that the server refuses, and of each row that was given up. One call at a
  // time.
  using OnRowError =
      std::function<void(int64_t row, const std::string& field, const std::string& message)>;

  // `connection` and `log` outlive it.
  Publisher(const Connection* connection, ClientLog* log, PublisherOptions options,
            OnRowError on_row_error);
  // Waits for what is in flight.
  ~Publisher();
  Publisher(const Publisher&) = delete;
  Publisher& operator=(const Publisher&) = delete;

  // Blocks while the window is full. False once a whole call has failed for good: call Finish.
  bool Add(int64_t row, tidegate::ingestion::v1::PublishedEvent event);
  // Sends the rest and waits. The first error that ended a whole call; refused rows are no such
  // error. May be called twice.
  absl::Status Finish();

  // Events that are durable.
  int64_t published() const;

 private:
  struct Batch {
    std::vector<int64_t> rows;
    tidegate::ingestion::v1::BatchPublishEventsRequest request;
  };

  Batch NewBatch() const;
  void Enqueue();
  void Work();
  void Send(Batch batch);
  // Takes the answer apart; leaves in *batch what has to be sent again. Returns why it has to.
  absl::Status Settle(const tidegate::ingestion::v1::BatchPublishEventsResponse& response,
                      Batch* batch);
  void GiveUp(const Batch& batch, const absl::Status& status);
  void LogEvents(const tidegate::ingestion::v1::BatchPublishEventsRequest& request,
                 const char* result);

  const Connection* const connection_;
  ClientLog* const log_;
  const PublisherOptions options_;
  const OnRowError on_row_error_;
  const std::unique_ptr<tidegate::ingestion::v1::IngestionService::Stub> stub_;

  Batch filling_;  // the adding thread's

  mutable std::mutex mu_;  // guards the rest
  std::condition_variable changed_;
  std::deque<Batch> waiting_;
  bool closed_ = false;
  bool answered_ = false;
  int64_t published_ = 0;
  absl::Status status_;
  std::mutex row_error_mu_;  // held while on_row_error_ runs

  std::vector<std::thread> workers_;
};

}  // namespace tidegate::client
