#include "services/tidegate/client/publisher.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace tidegate::client {

namespace ingestion = tidegate::ingestion::v1;

namespace {

// "events[3].order_paid.amount" -> "order_paid.amount": the row says which event it is.
std::string FieldOfRow(const std::string& field) {
  const size_t dot = field.rfind("events[", 0) == 0 ? field.find('.') : std::string::npos;
  const std::string inner = dot == std::string::npos ? field : field.substr(dot + 1);
  return inner.empty() ? "row" : inner;
}

}  // namespace

Publisher::Publisher(const Connection* connection, ClientLog* log, PublisherOptions options,
                     OnRowError on_row_error)
    : connection_(connection),
      log_(log),
      options_(std::move(options)),
      on_row_error_(std::move(on_row_error)),
      stub_(ingestion::IngestionService::NewStub(connection->To("ingestion"))),
      filling_(NewBatch()) {
  for (size_t i = 0; i < options_.batches_in_flight; ++i) {
    workers_.emplace_back([this] { Work(); });
  }
}

Publisher::~Publisher() { (void)Finish(); }

bool Publisher::Add(int64_t row, ingestion::PublishedEvent event) {
  filling_.rows.push_back(row);
  *filling_.request.add_events() = std::move(event);
  if (filling_.rows.size() >= options_.batch_events) Enqueue();
  std::lock_guard lock(mu_);
  return status_.ok();
}

absl::Status Publisher::Finish() {
  if (!filling_.rows.empty()) Enqueue();
  {
    std::lock_guard lock(mu_);
    closed_ = true;
  }
  changed_.notify_all();
  for (std::thread& worker : workers_) worker.join();
  workers_.clear();
  std::lock_guard lock(mu_);
  return status_;
}

int64_t Publisher::published() const {
  std::lock_guard lock(mu_);
  return published_;
}

Publisher::Batch Publisher::NewBatch() const {
  Batch batch;
  batch.request.set_corp(options_.corp);
  batch.request.set_source(options_.source);
  return batch;
}

void Publisher::Enqueue() {
  Batch full = std::exchange(filling_, NewBatch());
  {
    std::unique_lock lock(mu_);
    changed_.wait(lock, [&] { return waiting_.size() < options_.batches_in_flight; });
    waiting_.push_back(std::move(full));
  }
  changed_.notify_all();
}

void Publisher::Work() {
  while (true) {
    Batch batch;
    absl::Status status;
    {
      std::unique_lock lock(mu_);
      changed_.wait(lock, [&] { return closed_ || !waiting_.empty(); });
      if (waiting_.empty()) return;
      batch = std::move(waiting_.front());
      waiting_.pop_front();
      status = status_;
    }
    changed_.notify_all();
    if (status.ok()) {
      Send(std::move(batch));
    } else {
      GiveUp(batch, absl::Status(status.code(), "not sent, because another call failed"));
    }
  }
}

void Publisher::Send(Batch batch) {
  const ConnectionOptions& patience = connection_->options();
  ClientClock* const clock = connection_->clock();
  Backoff first_contact(clock, patience.wait_s);
  Backoff in_the_middle(clock, std::max(patience.wait_s, patience.timeout_s));
  while (true) {
    grpc::ClientContext context;
    SetTimeout(&context, patience.timeout_s);
    ingestion::BatchPublishEventsResponse response;
    const grpc::Status answer = stub_->BatchPublishEvents(&context, batch.request, &response);
    absl::Status status = ToAbslStatus(answer);
    if (status.ok() && response.results_size() != batch.request.events_size()) {
      status = absl::InternalError(absl::StrCat("the server answered ", response.results_size(),
                                                " results for ", batch.request.events_size(),
                                                " events"));
    }
    const bool whole_call_failed = !status.ok();
    if (whole_call_failed) {
      LogEvents(batch.request, ResultWord(status.code()));
    } else {
      status = Settle(response, &batch);
      if (batch.rows.empty()) return;
    }
    bool answered;
    {
      std::lock_guard lock(mu_);
      answered_ = answered_ || !absl::IsUnavailable(status) || !whole_call_failed;
      answered = answered_;
    }
    const bool again = absl::IsResourceExhausted(status) || absl::IsUnavailable(status);
    if (!again || !(answered ? in_the_middle : first_contact).Wait()) {
      GiveUp(batch, status);
      return;
    }
  }
}

absl::Status Publisher::Settle(const ingestion::BatchPublishEventsResponse& response,
                               Batch* batch) {
  Batch again = NewBatch();
  absl::Status why_again;
  std::vector<std::string> taken;
  std::vector<std::string> refused;
  std::vector<std::string> unknown;
  for (int i = 0; i < response.results_size(); ++i) {
    const tidegate::common::v1::ItemStatus& result = response.results(i);
    ingestion::PublishedEvent* const event = batch->request.mutable_events(i);
    const int64_t row = batch->rows[static_cast<size_t>(i)];
    const auto code = static_cast<absl::StatusCode>(result.code());
    if (code == absl::StatusCode::kOk) {
      taken.push_back(event->event_id());
    } else if (code == absl::StatusCode::kUnavailable ||
               code == absl::StatusCode::kResourceExhausted) {
      (code == absl::StatusCode::kUnavailable ? unknown : refused).push_back(event->event_id());
      why_again = absl::Status(code, result.message());
      again.rows.push_back(row);
      again.request.add_events()->Swap(event);
    } else {
      refused.push_back(event->event_id());
      std::lock_guard lock(row_error_mu_);
      on_row_error_(row, FieldOfRow(result.field()), result.message());
    }
  }
  if (!taken.empty()) log_->Add("publish_events", "", taken, "ok");
  if (!refused.empty()) log_->Add("publish_events", "", refused, "fail");
  if (!unknown.empty()) log_->Add("publish_events", "", unknown, "info");
  {
    std::lock_guard lock(mu_);
    published_ += static_cast<int64_t>(taken.size());
    answered_ = true;
  }
  *batch = std::move(again);
  return why_again;
}

void Publisher::GiveUp(const Batch& batch, const absl::Status& status) {
  {
    std::lock_guard lock(mu_);
    if (status_.ok()) status_ = status;
  }
  std::lock_guard lock(row_error_mu_);
  for (const int64_t row : batch.rows) {
    on_row_error_(row, "row", std::string(status.message()));
  }
}

void Publisher::LogEvents(const ingestion::BatchPublishEventsRequest& request, const char* result) {
  std::vector<std::string> ids;
  ids.reserve(static_cast<size_t>(request.events_size()));
  for (const ingestion::PublishedEvent& event : request.events()) ids.push_back(event.event_id());
  log_->Add("publish_events", "", ids, result);
}

}  // namespace tidegate::client
