// The checks of request fields that every handler makes alike. Each adds what is wrong to a list,
// so that a caller hears of all faults at once.
#pragma once

#include <grpcpp/grpcpp.h>

#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/grpc/errors.h"

namespace tidegate::rpc {

// Ids of rules, channels, campaigns, audiences: a-z 0-9 - _, 1 to 63 characters.
void CheckId(absl::string_view field, absl::string_view value, std::vector<FieldViolation>* wrong);
// Non-empty UTF-8 without control characters, at most `bytes_max` bytes.
void CheckText(absl::string_view field, absl::string_view value, size_t bytes_max,
               std::vector<FieldViolation>* wrong);
// A UUID.
void CheckRequestId(absl::string_view value, std::vector<FieldViolation>* wrong);
bool IsUtf8(absl::string_view text);

// When the caller stops waiting; 30 s from now where it set no deadline.
absl::Time DeadlineOf(const grpc::ServerContextBase& context);

// One page of a map in key order. `page_size` is coerced into 1..1000 (0 = 100); the token is the
// key after which the page begins. Sets *next_page_token, empty on the last page.
template <typename Value>
std::vector<std::pair<std::string, Value>> Page(const std::map<std::string, Value>& all,
                                                int page_size, const std::string& page_token,
                                                std::string* next_page_token) {
  const size_t size = page_size <= 0 ? 100 : page_size > 1000 ? 1000 : page_size;
  std::vector<std::pair<std::string, Value>> page;
  auto it = page_token.empty() ? all.begin() : all.upper_bound(page_token);
  for (; it != all.end() && page.size() < size; ++it) page.push_back(*it);
  if (it != all.end()) *next_page_token = page.back().first;
  return page;
}

}  // namespace tidegate::rpc
