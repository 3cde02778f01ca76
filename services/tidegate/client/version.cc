// version: what to paste into a ticket.
#include <google/protobuf/stubs/common.h>
#include <grpcpp/grpcpp.h>

#include "common/base/build_info.h"
#include "services/tidegate/client/output.h"
#include "services/tidegate/client/verbs.h"

namespace tidegate::client {

absl::Status ShowVersion(const Client& client) {
  const std::vector<std::vector<std::string>> facts = {
      {"version", kVersion},
      {"git", kCommit},
      {"build_type", kBuildType},
      {"sanitizers", kSanitizers},
      {"compiler", __VERSION__},
      {"grpc", grpc::Version()},
      {"protobuf", google::protobuf::internal::VersionString(GOOGLE_PROTOBUF_VERSION)},
  };
  boost::json::object json;
  for (const std::vector<std::string>& fact : facts) json[fact[0]] = fact[1];
  Print(client, json, RenderPairs(facts));
  return absl::OkStatus();
}

}  // namespace tidegate::client
