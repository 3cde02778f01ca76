#include "common/grpc/replicas.h"

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/grpc/errors.h"

namespace tidegate::rpc {
namespace {

constexpr char kHop[] = "tidegate-hop";
constexpr char kCaller[] = "tidegate-caller";

std::string Metadata(const grpc::CallbackServerContext& context, const char* name) {
  const auto found = context.client_metadata().find(name);
  if (found == context.client_metadata().end()) return "";
  return std::string(found->second.data(), found->second.size());
}

}  // namespace

grpc::Status Replicas::OwnershipDiffers() const {
  return ToGrpcStatus(
      absl::FailedPreconditionError(absl::StrCat(
          service_, " ", own_.Name(), " does not own this partition, but another replica says so: ",
          "give all replicas the same --replica r/R count and the same peers.", service_)),
      "REPLICAS_DIFFER");
}

grpc::Status Replicas::CheckHop(const grpc::CallbackServerContext& context, bool* hopped) const {
  const std::string meant = Metadata(context, kHop);
  *hopped = !meant.empty();
  // Only a process of the deployment may speak for another caller.
  if (*hopped && callers_ != nullptr && !callers_->MayUse(context, "*")) return UnknownCorp();
  if (*hopped && meant != own_.Name()) return OwnershipDiffers();
  return grpc::Status::OK;
}

grpc::Status Replicas::MayPassOn(const grpc::CallbackServerContext& context) const {
  bool hopped = false;
  grpc::Status status = CheckHop(context, &hopped);
  return status.ok() && hopped ? OwnershipDiffers() : status;
}

std::string Replicas::CallerOf(const grpc::CallbackServerContext& context) const {
  bool hopped = false;
  if (CheckHop(context, &hopped).ok() && hopped) return Metadata(context, kCaller);
  return Identity(context);
}

std::unique_ptr<grpc::ClientContext> Replicas::HopContext(
    const grpc::CallbackServerContext& context, uint32_t ordinal) const {
  auto hop = grpc::ClientContext::FromCallbackServerContext(context);
  hop->AddMetadata(kHop, Replica{ordinal, own_.count}.Name());
  hop->AddMetadata(kCaller, Identity(context));
  return hop;
}

grpc::Status Replicas::Explain(const grpc::Status& status, uint32_t ordinal) const {
  return rpc::Explain(status, absl::StrCat(service_, " ", Replica{ordinal, own_.count}.Name()),
                      "REPLICA_UNAVAILABLE");
}

std::string Replicas::MethodOf(const google::protobuf::Descriptor& request) {
  const google::protobuf::FileDescriptor& file = *request.file();
  for (int s = 0; s < file.service_count(); ++s) {
    const google::protobuf::ServiceDescriptor& service = *file.service(s);
    for (int m = 0; m < service.method_count(); ++m) {
      if (service.method(m)->input_type() == &request) {
        return absl::StrCat("/", service.full_name(), "/", service.method(m)->name());
      }
    }
  }
  CHECK(false);  // a request that no method takes
  return "";
}

}  // namespace tidegate::rpc
