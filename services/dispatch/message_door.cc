#include "services/dispatch/message_door.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/grpc/errors.h"
#include "services/dispatch/message_view.h"

namespace tidegate::dispatch {

namespace v1 = ::tidegate::dispatch::v1;

namespace {

// Touches without an end, of a lane; beyond that nothing is taken.
constexpr uint64_t kOpenTouchesMax = 10'000'000;
constexpr size_t kWatchersMax = 1000;

}  // namespace

absl::Status MessageDoor::NoTouch() {
  return absl::NotFoundError("the corp has no touch of this key, or it ended more than 24 h ago");
}

struct MessageDoor::Sending {
  std::string corp;
  PreparedMessages prepared;
  absl::Time deadline;
  Taken taken;
  Done done;

  void RefuseKey(uint32_t index) {
    v1::MessageFault& fault = taken.faults.emplace_back();
    fault.set_index(index);
    fault.set_code(grpc::StatusCode::ALREADY_EXISTS);
    fault.set_field(absl::StrCat("messages[", index, "].key"));
    fault.set_message("is used by another message; choose another key");
  }

  // Stamps the messages with the lane's time and drops what is known already. True: nothing is
  // left.
  bool Judge(const MessageBook& book, int64_t now_wall_ns) {
    const int64_t received_ns = std::max(now_wall_ns, book.keys_forgotten_until_ns());
    std::erase_if(prepared.parts, [&](PreparedMessages::Part& part) {
      auto* batch = part.command.mutable_message_batch();
      batch->set_received_ns(received_ns);
      int kept = 0;
      for (int i = 0; i < batch->messages_size(); ++i) {
        const auto& message = batch->messages(i);
        const uint32_t index = part.indices[static_cast<size_t>(i)];
        const auto known = book.Find(corp, message.key());
        if (known.has_value()) {
          const MessageBook::Batch& other = book.BatchOf(*known);
          if (other.messages.received_ns() + MessageBook::kKeyKeptNs > received_ns) {
            const auto& content = batch->contents(static_cast<int>(message.content()));
            if (MessageBook::SameMessage(other.messages, known->index, message, content)) {
              taken.repeats.push_back(index);
            } else {
              RefuseKey(index);
            }
            continue;
          }
        }
        batch->mutable_messages()->SwapElements(kept, i);
        part.indices[static_cast<size_t>(kept++)] = index;
      }
      batch->mutable_messages()->DeleteSubrange(kept, batch->messages_size() - kept);
      part.indices.resize(static_cast<size_t>(kept));
      return kept == 0;
    });
    return prepared.parts.empty();
  }

  // What the lane has made of them: another message may have come with one of their keys meanwhile.
  void TakeFolded(const MessageBook& book) {
    for (const PreparedMessages::Part& part : prepared.parts) {
      const auto& batch = part.command.message_batch();
      for (int i = 0; i < batch.messages_size(); ++i) {
        const auto& message = batch.messages(i);
        const auto known = book.Find(corp, message.key());
        const auto& content = batch.contents(static_cast<int>(message.content()));
        if (known.has_value() && MessageBook::SameMessage(book.BatchOf(*known).messages,
                                                          known->index, message, content)) {
          ++taken.acknowledged;
        } else {
          RefuseKey(part.indices[static_cast<size_t>(i)]);
        }
      }
    }
  }

  void Finish(grpc::Status status) {
    taken.status = std::move(status);
    std::sort(taken.repeats.begin(), taken.repeats.end());
    std::sort(taken.faults.begin(), taken.faults.end(),
              [](const auto& a, const auto& b) { return a.index() < b.index(); });
    taken.acknowledged += static_cast<uint32_t>(taken.repeats.size());
    done(std::move(taken));
  }
  void FinishUnacknowledged(const absl::Status& why) {
    Finish(
        rpc::ToGrpcStatus(absl::UnavailableError(absl::StrCat("not acknowledged: ", why.message(),
                                                              "; send again with the same keys")),
                          "LOG_UNAVAILABLE"));
  }
};

void MessageDoor::Take(const std::string& corp,
                       const google::protobuf::RepeatedPtrField<v1::MessageContent>& contents,
                       const google::protobuf::RepeatedPtrField<v1::Message>& messages,
                       absl::Time deadline, const Done& done) {
  auto sending = std::make_shared<Sending>();
  sending->corp = corp;
  sending->prepared = PrepareMessages(corp, contents, messages, clock_->Read().wall_ns);
  sending->deadline = deadline;
  sending->done = done;
  sending->taken.faults = std::move(sending->prepared.faults);
  sending->taken.repeats = std::move(sending->prepared.repeats);
  if (sending->prepared.parts.empty()) return sending->Finish(grpc::Status::OK);
  Lane& lane = lanes_->Of(corp);
  const DispatchCore* core = lane.core.get();
  const uint32_t number = lane.number;
  const absl::Status posted = lane.thread->runner().PostQuery(
      [this, core, number, sending](const absl::Status& status, const Now& now) {
        if (!status.ok()) return sending->Finish(rpc::ToGrpcStatus(status, "LANE_NOT_READY"));
        if (core->messages().open() >= kOpenTouchesMax) {
          return sending->Finish(rpc::ToGrpcStatus(
              absl::ResourceExhaustedError(
                  absl::StrCat("the lane has ", core->messages().open(),
                               " touches without an end; send again when WeCom has taken some")),
              "TOO_MANY_TOUCHES"));
        }
        if (sending->Judge(core->messages(), now.wall_ns)) {
          return sending->Finish(grpc::Status::OK);
        }
        Append(sending, number);
      });
  if (!posted.ok()) sending->Finish(rpc::ToGrpcStatus(posted, "LANE_NOT_READY"));
}

void MessageDoor::Append(const std::shared_ptr<Sending>& sending, uint32_t lane) {
  std::vector<log::Record> records;
  for (const PreparedMessages::Part& part : sending->prepared.parts) {
    records.push_back(
        {.key = sending->corp, .header = "", .value = part.command.SerializeAsString()});
  }
  // A little before the caller gives up, so that it hears why.
  const int64_t patience_ms =
      std::max<int64_t>(absl::ToInt64Milliseconds(sending->deadline - absl::Now()) * 9 / 10, 1);
  log_->AppendWithin({log::Topic::kCommands, lane}, std::move(records), patience_ms,
                     [this, sending](absl::Status status) {
                       if (!status.ok()) return sending->FinishUnacknowledged(status);
                       WhenFolded(
                           sending->corp, sending->deadline,
                           [sending](DispatchCore& core, const Now&) {
                             sending->TakeFolded(core.messages());
                             return absl::OkStatus();
                           },
                           [sending](const absl::Status& folded) {
                             if (!folded.ok()) return sending->FinishUnacknowledged(folded);
                             sending->Finish(grpc::Status::OK);
                           });
                     });
}

void MessageDoor::WhenFolded(const std::string& corp, absl::Time deadline, Ask ask,
                             std::function<void(absl::Status)> done) {
  Lane& lane = lanes_->Of(corp);
  DispatchCore* core = lane.core.get();
  runtime::WaitList* waiting = lane.waiting.get();
  const runtime::PartitionRunner* runner = &lane.thread->runner();
  const log::TopicPartition commands{log::Topic::kCommands, lane.number};
  const uint64_t end = log_->End(commands);
  const int64_t deadline_raw_ns =
      clock_->Read().raw_ns + absl::ToInt64Nanoseconds(deadline - absl::Now());
  const absl::Status posted =
      lane.thread->runner().PostQuery([=](absl::Status status, const Now& now) {
        if (!status.ok()) return done(std::move(status));
        waiting->Add(
            now, deadline_raw_ns,
            [runner, commands, end] { return runner->FoldedPosition(commands) >= end; },
            [core, ask, done](absl::Status waited, const Now& then) {
              done(waited.ok() ? ask(*core, then) : std::move(waited));
            });
      });
  if (!posted.ok()) done(posted);
}

void MessageDoor::Cancel(const std::string& corp, const std::string& key, absl::Time deadline,
                         std::function<void(absl::Status)> done) {
  Lane* lane = &lanes_->Of(corp);
  const Clock* const clock = clock_;
  const auto cancel = [=](const DispatchCore& core, const MessageBook::Ref& ref) {
    const auto touch = [&core, ref]() -> const MessageBook::Touch& {
      return core.messages().BatchOf(ref).touches[ref.index];
    };
    PostUntil(
        lane, clock, deadline,
        [ref] {
          auto wish = std::make_unique<CancelMessage>();
          wish->position = ref.position;
          wish->index = ref.index;
          return wish;
        },
        [&core, touch, ref] {
          if (!core.messages().Knows(ref)) return true;
          return !touch().decided && !core.messages().MaySkip(ref, core.campaigns());
        },
        [&core, touch, ref, done](absl::Status waited) {
          if (waited.ok() && !core.messages().Knows(ref)) {
            waited = NoTouch();
          } else if (waited.ok() && touch().state != MessageState::kCancelled) {
            waited = absl::FailedPreconditionError(
                "the touch was attempted or has ended; GetTouch tells where it stands");
          }
          done(std::move(waited));
        });
  };
  WhenFolded(
      corp, deadline,
      [=](DispatchCore& core, const Now&) -> absl::Status {
        const auto ref = core.messages().Find(corp, key);
        if (!ref.has_value()) return NoTouch();
        cancel(core, *ref);
        return absl::OkStatus();
      },
      [done](absl::Status status) {
        if (!status.ok()) done(std::move(status));
      });
}

void MessageDoor::Watch(const v1::WatchTouchesRequest& request,
                        const std::shared_ptr<TouchWatch>& reactor) {
  Lane& lane = lanes_->Of(request.corp());
  DispatchCore* core = lane.core.get();
  auto* watchers = lane.watchers.get();
  // On the lane's thread, after each turn, when the reader has taken what it was told before.
  auto watch = [weak = std::weak_ptr<TouchWatch>(reactor), core, corp = request.corp(),
                prefix = request.key_prefix(), after = request.after(),
                first = true](const Now&) mutable {
    const auto strong = weak.lock();
    if (strong == nullptr || !strong->alive()) return false;
    if (!strong->wants() || (!first && after >= core->messages().last_change())) return true;
    auto changes = ChangesAfter(*core, corp, prefix, &after);
    if (!changes.ok()) {
      strong->End(rpc::ToGrpcStatus(changes.status(), "CHANGES_NOT_KEPT"));
      return false;
    }
    if (first || !changes->changes().empty()) strong->Push(*std::move(changes));
    first = false;
    return true;
  };
  const absl::Status posted =
      lane.thread->runner().PostQuery([reactor, watchers, watch = std::move(watch)](
                                          const absl::Status& status, const Now& now) mutable {
        if (!status.ok()) return reactor->End(rpc::ToGrpcStatus(status, "LANE_NOT_READY"));
        if (watchers->size() >= kWatchersMax) {
          return reactor->End(rpc::ToGrpcStatus(
              absl::ResourceExhaustedError("too many watchers; use GetTouch or ListTouches"),
              "TOO_MANY"));
        }
        if (watch(now)) watchers->push_back(std::move(watch));
      });
  if (!posted.ok()) reactor->End(rpc::ToGrpcStatus(posted, "LANE_NOT_READY"));
}

}  // namespace tidegate::dispatch
