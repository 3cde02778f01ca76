// The door for internal services: takes messages in, and tells what became of them.
//
// A message is acknowledged when its record is durable in tidegate.commands of its lane; what is
// done about it is decided there.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "common/log/log.h"
#include "services/dispatch/lane.h"
#include "services/dispatch/message_checks.h"
#include "services/dispatch/touch_watch.h"
#include "tidegate/dispatch/v1/dispatch_service.grpc.pb.h"

namespace tidegate::dispatch {

// Thread-safe. Nothing is owned; all outlives it.
class MessageDoor {
 public:
  MessageDoor(const Clock* clock, log::Log* log, const Lanes* lanes)
      : clock_(clock), log_(log), lanes_(lanes) {}

  // NOT_FOUND, as callers hear it.
  static absl::Status NoTouch();

  // What became of one request. Not OK: of none of its messages is known whether it was taken.
  struct Taken {
    grpc::Status status;
    uint32_t acknowledged = 0;
    std::vector<uint32_t> repeats;
    std::vector<::tidegate::dispatch::v1::MessageFault> faults;
  };
  using Done = std::function<void(Taken)>;
  // Requires lanes->Owns(corp). Reads the arguments before it returns.
  void Take(
      const std::string& corp,
      const google::protobuf::RepeatedPtrField<::tidegate::dispatch::v1::MessageContent>& contents,
      const google::protobuf::RepeatedPtrField<::tidegate::dispatch::v1::Message>& messages,
      absl::Time deadline, const Done& done);

  // Answers on the lane's thread when all that was acknowledged before the call has been folded.
  using Ask = std::function<absl::Status(DispatchCore&, const Now&)>;
  void WhenFolded(const std::string& corp, absl::Time deadline, Ask ask,
                  std::function<void(absl::Status)> done);
  // OK: it was cancelled.
  void Cancel(const std::string& corp, const std::string& key, absl::Time deadline,
              std::function<void(absl::Status)> done);
  void Watch(const ::tidegate::dispatch::v1::WatchTouchesRequest& request,
             const std::shared_ptr<TouchWatch>& reactor);

 private:
  struct Sending;
  void Append(const std::shared_ptr<Sending>& sending, uint32_t lane);

  const Clock* const clock_;
  log::Log* const log_;
  const Lanes* const lanes_;
};

}  // namespace tidegate::dispatch
