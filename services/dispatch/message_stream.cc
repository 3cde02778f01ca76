#include "services/dispatch/message_stream.h"

#include <utility>

namespace tidegate::dispatch {

MessageStream* MessageStream::Make(Take take) {
  std::shared_ptr<MessageStream> stream(new MessageStream(std::move(take)));
  stream->keep_ = stream;
  stream->StartRead(&stream->request_);
  return stream.get();
}

void MessageStream::OnReadDone(bool ok) {
  std::shared_ptr<MessageStream> self;
  uint64_t number;
  {
    std::lock_guard lock(mu_);
    if (!ok) {
      reading_ = false;
      all_read_ = true;
      return Pump();
    }
    number = read_++;
    self = keep_;
  }
  if (self == nullptr) return;
  grpc::Status taken = take_(
      request_, [self, number](Response response) { self->Answered(number, std::move(response)); });
  std::lock_guard lock(mu_);
  // Not before: an answer to another batch would read the next one into request_.
  reading_ = false;
  if (!taken.ok()) return FinishOnce(std::move(taken));
  Pump();
}

void MessageStream::Answered(uint64_t number, Response response) {
  std::lock_guard lock(mu_);
  answers_.emplace(number, std::move(response));
  Pump();
}

void MessageStream::OnWriteDone(bool ok) {
  std::lock_guard lock(mu_);
  writing_ = false;
  ++written_;
  if (!ok) return FinishOnce(grpc::Status(grpc::StatusCode::CANCELLED, "the caller went away"));
  Pump();
}

void MessageStream::OnCancel() {
  std::lock_guard lock(mu_);
  FinishOnce(grpc::Status(grpc::StatusCode::CANCELLED, "the caller went away"));
}

void MessageStream::OnDone() {
  std::shared_ptr<MessageStream> last;  // released after the lock
  std::lock_guard lock(mu_);
  last = std::move(keep_);
}

void MessageStream::Pump() {
  if (finished_) return;
  if (!writing_ && !answers_.empty() && answers_.begin()->first == written_) {
    response_ = std::move(answers_.extract(answers_.begin()).mapped());
    writing_ = true;
    StartWrite(&response_);
  }
  if (all_read_) {
    if (written_ == read_) FinishOnce(grpc::Status::OK);
  } else if (!reading_ && read_ - written_ < kUnderWayMax) {
    reading_ = true;
    request_.Clear();
    StartRead(&request_);
  }
}

void MessageStream::FinishOnce(grpc::Status status) {
  if (finished_) return;
  finished_ = true;
  Finish(std::move(status));
}

}  // namespace tidegate::dispatch
