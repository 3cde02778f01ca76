#include "common/process/replica_count.h"

#include <netdb.h>

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "common/config/settings_address.h"

namespace tidegate::process {

ReplicaRange ParseReplica(const std::string& text) {
  const std::pair<std::string, std::string> parts = absl::StrSplit(text, '/');
  const std::vector<std::string> counts = absl::StrSplit(parts.second, '-');
  ReplicaRange range;
  (void)absl::SimpleAtoi(parts.first, &range.ordinal);
  (void)absl::SimpleAtoi(counts.front(), &range.least);
  (void)absl::SimpleAtoi(counts.back(), &range.most);
  return range;
}

Known AskResolver(const std::string& host) {
  addrinfo* found = nullptr;
  const addrinfo hints{.ai_socktype = SOCK_STREAM};
  switch (getaddrinfo(host.c_str(), nullptr, &hints, &found)) {
    case 0:
      freeaddrinfo(found);
      return Known::kYes;
    case EAI_NONAME:
    case EAI_NODATA:
      return Known::kNo;
    default:
      return Known::kUnsure;
  }
}

std::optional<uint32_t> CountReplicas(const ReplicaRange& range,
                                      const std::vector<std::string>& peers, const AskName& ask) {
  const uint32_t least = std::max(range.least, range.ordinal + 1);
  for (uint32_t count = range.most; count > least; --count) {
    const auto address = config::ParseAddress(peers[count - 1]);
    switch (ask(address ? address->host : "")) {
      case Known::kYes:
        return count;
      case Known::kNo:
        break;
      case Known::kUnsure:
        return std::nullopt;
    }
  }
  return least;
}

bool ReplicaCountWatch::Look(std::optional<uint32_t> found, absl::Time now) {
  if (!found) return false;
  if (*found != other_) {
    other_ = *found;
    since_ = now;
  }
  return other_ != count_ && now - since_ >= settle_;
}

}  // namespace tidegate::process
