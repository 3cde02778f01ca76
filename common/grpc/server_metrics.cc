#include "common/grpc/server_metrics.h"

#include <array>
#include <atomic>
#include <chrono>
#include <map>
#include <shared_mutex>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "google/protobuf/descriptor.h"

namespace tidegate::rpc {
namespace {

using grpc::experimental::InterceptionHookPoints;
using grpc::experimental::Interceptor;
using grpc::experimental::InterceptorBatchMethods;
using grpc::experimental::ServerRpcInfo;
using std::chrono::steady_clock;

// As other languages' servers name them in this metric.
constexpr std::array<const char*, 17> kCodes = {
    "OK",       "Canceled",       "Unknown",          "InvalidArgument",   "DeadlineExceeded",
    "NotFound", "AlreadyExists",  "PermissionDenied", "ResourceExhausted", "FailedPrecondition",
    "Aborted",  "OutOfRange",     "Unimplemented",    "Internal",          "Unavailable",
    "DataLoss", "Unauthenticated"};

constexpr size_t kMethodsMax = 200;

// Of one method; made at the start or at its first call.
class Method {
 public:
  Method(metrics::Metrics* metrics, std::string service, std::string name)
      : metrics_(metrics),
        service_(std::move(service)),
        name_(std::move(name)),
        rpc_(metrics->MakeRpc(service_, name_)) {}

  // With zeros.
  void Show() { (void)metrics_->RpcHandled(service_, name_, kCodes[0]); }
  void Started() { rpc_.started->Increment(); }
  void Handled(grpc::StatusCode code, double seconds) {
    rpc_.seconds->Observe(seconds);
    const auto index = static_cast<size_t>(code);
    const size_t known = index < kCodes.size() ? index : size_t{2};
    prometheus::Counter* counter = handled_[known].load(std::memory_order_acquire);
    if (counter == nullptr) {
      counter = &metrics_->RpcHandled(service_, name_, kCodes[known]);
      handled_[known].store(counter, std::memory_order_release);
    }
    counter->Increment();
  }

 private:
  metrics::Metrics* const metrics_;
  const std::string service_;
  const std::string name_;
  const metrics::Metrics::Rpc rpc_;
  std::array<std::atomic<prometheus::Counter*>, kCodes.size()> handled_{};
};

class Call final : public Interceptor {
 public:
  explicit Call(Method* method) : method_(method), begin_(steady_clock::now()) {
    method_->Started();
  }
  void Intercept(InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS)) {
      method_->Handled(methods->GetSendStatus().error_code(),
                       std::chrono::duration<double>(steady_clock::now() - begin_).count());
    }
    methods->Proceed();
  }

 private:
  Method* const method_;
  const steady_clock::time_point begin_;
};

class Factory final : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  Factory(metrics::Metrics* metrics, const std::vector<std::string>& services) : metrics_(metrics) {
    const auto* pool = google::protobuf::DescriptorPool::generated_pool();
    for (const std::string& name : services) {
      const auto* service = pool->FindServiceByName(name);
      for (int i = 0; service != nullptr && i < service->method_count(); ++i) {
        Find(absl::StrCat("/", name, "/", service->method(i)->name())).Show();
      }
    }
  }
  Interceptor* CreateServerInterceptor(ServerRpcInfo* info) override {
    return new Call(&Find(info->method()));
  }

 private:
  // Callers may make up names, so there is a bound.
  Method& Find(const std::string& path) {
    {
      std::shared_lock lock(mu_);
      if (const auto found = methods_.find(path); found != methods_.end()) return found->second;
    }
    std::unique_lock lock(mu_);
    if (methods_.size() >= kMethodsMax) {
      return methods_.try_emplace("", metrics_, "other", "other").first->second;
    }
    const std::pair<std::string, std::string> parts =
        absl::StrSplit(absl::StripPrefix(path, "/"), absl::MaxSplits('/', 1));
    return methods_.try_emplace(path, metrics_, parts.first, parts.second).first->second;
  }

  metrics::Metrics* const metrics_;
  std::shared_mutex mu_;
  std::map<std::string, Method> methods_;  // guarded by mu_; entries stay where they are
};

}  // namespace

std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeServerMetrics(
    metrics::Metrics* metrics, const std::vector<std::string>& services) {
  return std::make_unique<Factory>(metrics, services);
}

}  // namespace tidegate::rpc
