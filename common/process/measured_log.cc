#include "common/process/measured_log.h"

#include <chrono>
#include <string>

namespace tidegate::process {

using std::chrono::steady_clock;

MeasuredLog::MeasuredLog(std::unique_ptr<log::Log> log, metrics::Metrics* metrics)
    : log_(std::move(log)) {
  for (const log::Topic topic : log::AllTopics()) {
    appends_.emplace(topic, metrics->MakeAppend(std::string(log::TopicName(topic))));
  }
}

log::Log::AppendDone MeasuredLog::Timed(log::Topic topic, AppendDone done) const {
  return [begin = steady_clock::now(), &append = appends_.at(topic),
          done = std::move(done)](absl::Status status) {
    if (status.ok()) {
      append.seconds->Observe(std::chrono::duration<double>(steady_clock::now() - begin).count());
    } else {
      append.failures->Increment();
    }
    done(std::move(status));
  };
}

}  // namespace tidegate::process
