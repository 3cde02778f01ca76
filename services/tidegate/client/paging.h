// Reads every page of a List method. Not for streams.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "common/base/status_macros.h"
#include "services/tidegate/client/connection.h"

namespace tidegate::client {

inline constexpr int kPageSize = 1'000;

// `list(context, request, &response)` is the stub's method; `take(response)` is told of each page.
template <typename Request, typename Response, typename List, typename Take>
absl::Status ForEachPage(const Connection& connection, const std::string& corp, const List& list,
                         const Take& take) {
  Request request;
  request.set_corp(corp);
  request.set_page_size(kPageSize);
  do {
    Response response;
    RETURN_IF_ERROR(connection.Call(
        [&](grpc::ClientContext* context) { return list(context, request, &response); }));
    take(response);
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());
  return absl::OkStatus();
}

}  // namespace tidegate::client
