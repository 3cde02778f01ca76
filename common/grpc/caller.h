// Who calls, by the certificate, and which corps it may use.
//
//   const rpc::CallerCorps callers({{"spiffe://acme/shop", {"ww1234"}},
//                                   {"spiffe://acme/tidegate", {"*"}}}, /*enforced=*/true);
//   const config::Corp* corp = rpc::FindCorp(*context, corps, callers, request->corp());
//   if (corp == nullptr) return rpc::Finish(context, rpc::UnknownCorp());
//
// The identity is the one URI in the subject alternative names of the verified client certificate,
// as SPIFFE has it. A certificate without a URI, or with two, has no identity; its common name and
// its DNS names count for nothing.
#pragma once

#include <grpcpp/grpcpp.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/config/corps.h"
#include "common/config/settings.h"

namespace tidegate::rpc {

// Immutable, so thread-safe.
class CallerCorps {
 public:
  // Not enforced: every caller may use every corp.
  CallerCorps() = default;
  // `enforced`: the listener demands client certificates (TlsFiles.ca_file is set). Rows of the
  // same identity add up; a row without identity names nobody.
  CallerCorps(const std::vector<config::CallerIdentity>& rows, bool enforced);

  // Not enforced: true. Enforced: whether the caller's row names the corp. A call over
  // ServerRunner::InProcessChannel() is this process itself and may use every corp.
  bool MayUse(const grpc::ServerContextBase& context, absl::string_view corp) const;

 private:
  bool enforced_ = false;
  std::map<std::string, std::set<std::string, std::less<>>> corps_of_;
};

// For audit: the caller's identity; "grpc" when it has none.
std::string Identity(const grpc::ServerContextBase& context);

// nullptr both for a corp that is not there and for one that the caller may not use, so that
// rpc::UnknownCorp() answers both with the same bytes.
const config::Corp* FindCorp(const grpc::ServerContextBase& context, const config::Corps& corps,
                             const CallerCorps& callers, absl::string_view corp);

}  // namespace tidegate::rpc
