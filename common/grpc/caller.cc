#include "common/grpc/caller.h"

#include <algorithm>
#include <memory>

namespace tidegate::rpc {
namespace {

constexpr char kAllCorps[] = "*";
constexpr size_t kIdentityBytesMax = 2048;  // as SPIFFE has it

// Empty: none, or more than one.
std::string UriOf(const grpc::ServerContextBase& context) {
  const std::shared_ptr<const grpc::AuthContext> peer = context.auth_context();
  // Properties of a certificate that nobody verified would prove nothing.
  if (peer == nullptr || !peer->IsPeerAuthenticated()) return "";
  const auto uris = peer->FindPropertyValues(GRPC_PEER_URI_PROPERTY_NAME);
  if (uris.size() != 1) return "";
  std::string uri(uris.front().data(), uris.front().size());
  const bool fits = uri.size() <= kIdentityBytesMax &&
                    std::all_of(uri.begin(), uri.end(), [](char c) { return c > ' ' && c < 127; });
  return fits ? uri : "";
}

// gRPC gives every call that came through a port, plaintext included, the kind of its transport;
// only a call over an in-process channel has none (gRPC 1.51: no property at all, and the peer
// "unknown" instead of "ipv4:..." or "unix:..."). Nothing that a peer sends goes into either. A
// release that changes this refuses such calls; caller_test.cc would tell.
bool IsInProcess(const grpc::ServerContextBase& context) {
  const std::shared_ptr<const grpc::AuthContext> peer = context.auth_context();
  return peer != nullptr &&
         peer->FindPropertyValues(GRPC_TRANSPORT_SECURITY_TYPE_PROPERTY_NAME).empty() &&
         peer->begin() == peer->end() && context.peer() == "unknown";
}

}  // namespace

CallerCorps::CallerCorps(const std::vector<config::CallerIdentity>& rows, bool enforced)
    : enforced_(enforced) {
  for (const config::CallerIdentity& row : rows) {
    if (row.identity.empty()) continue;
    corps_of_[row.identity].insert(row.corps.begin(), row.corps.end());
  }
}

bool CallerCorps::MayUse(const grpc::ServerContextBase& context, absl::string_view corp) const {
  if (!enforced_ || IsInProcess(context)) return true;
  const auto row = corps_of_.find(UriOf(context));
  if (row == corps_of_.end()) return false;
  return row->second.contains(kAllCorps) || row->second.contains(std::string(corp));
}

std::string Identity(const grpc::ServerContextBase& context) {
  const std::string uri = UriOf(context);
  return uri.empty() ? "grpc" : uri;
}

const config::Corp* FindCorp(const grpc::ServerContextBase& context, const config::Corps& corps,
                             const CallerCorps& callers, absl::string_view corp) {
  return callers.MayUse(context, corp) ? corps.Find(corp) : nullptr;
}

}  // namespace tidegate::rpc
