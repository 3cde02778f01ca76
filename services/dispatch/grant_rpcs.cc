// Acquire and Release: tokens for calls that other programs make.
#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/grpc/checks.h"
#include "common/grpc/errors.h"
#include "common/grpc/retry.h"
#include "services/dispatch/quota_handler.h"
#include "services/dispatch/request_checks.h"

namespace tidegate::dispatch {

using rpc::FieldViolation;
using ::tidegate::log::v1::TokensAcquired;
using ::tidegate::log::v1::TokensReleased;
namespace v1 = ::tidegate::dispatch::v1;

namespace {

constexpr uint32_t kCallsMax = 10'000;
constexpr double kLeaseSeconds = 60;
constexpr double kLeaseSecondsMax = 3600;
// Where nothing tells when: an answer or a release may come at any moment.
constexpr int64_t kAskAgainNs = 1000 * kNanosPerMilli;

std::vector<FieldViolation> AcquireFaults(const v1::AcquireRequest& request) {
  std::vector<FieldViolation> wrong;
  CheckApi(request.api(), &wrong);
  if (request.api() == wecom_table::kCountsPeople) {
    wrong.push_back({"api", "has limits of people, which a grant does not count"});
  }
  CheckKey("grant", request.grant(), &wrong);
  if (request.calls() < 1 || request.calls() > kCallsMax) {
    wrong.push_back({"calls", absl::StrCat("write 1 to ", kCallsMax)});
  }
  rpc::CheckText("actor", request.actor(), 64, &wrong);
  const double lease = request.lease_seconds();
  if (lease != 0 && !(lease >= 1 && lease <= kLeaseSecondsMax)) {
    wrong.push_back(
        {"lease_seconds", absl::StrCat("write 1 to ", kLeaseSecondsMax, "; 0 = ", kLeaseSeconds)});
  }
  return wrong;
}

grpc::Status TooManyCalls(const std::string& api, int64_t most) {
  return rpc::InvalidArgument(
      {{"calls", absl::StrCat(api, " takes at most ", most, " at once; write fewer")}});
}

grpc::Status NotNow(const DispatchCore::Refusal& refusal, const TokensAcquired& wanted,
                    const Now& now) {
  const int64_t wait_ns = refusal.until_raw_ns == kNever
                              ? kAskAgainNs
                              : std::max(kNanosPerMilli, refusal.until_raw_ns - now.raw_ns);
  return rpc::NotNow(
      absl::StrCat("no tokens for ", wanted.calls(), " calls now: ", refusal.why,
                   absl::StrFormat("; repeat in %.3f s", static_cast<double>(wait_ns) * 1e-9)),
      "NO_TOKENS", absl::Nanoseconds(wait_ns));
}

}  // namespace

grpc::ServerUnaryReactor* QuotaHandler::Acquire(grpc::CallbackServerContext* context,
                                                const v1::AcquireRequest* request,
                                                v1::AcquireResponse* response) {
  const std::string& corp = request->corp();
  if (edge_.Find(*context, corp) == nullptr) return rpc::Finish(context, rpc::UnknownCorp());
  if (const auto wrong = AcquireFaults(*request); !wrong.empty()) {
    return rpc::Finish(context, rpc::InvalidArgument(wrong));
  }
  if (!lanes_.Owns(corp)) {
    return edge_.replicas->Forward(context, lanes_.NumberOf(corp), request, response);
  }
  TokensAcquired wanted;
  wanted.set_corp(corp);
  wanted.set_api(request->api());
  wanted.set_grant(request->grant());
  wanted.set_calls(request->calls());
  wanted.set_actor(request->actor());
  const double lease = request->lease_seconds() > 0 ? request->lease_seconds() : kLeaseSeconds;
  wanted.set_lease_ns(std::llround(lease * kNanosPerSecond));

  auto* reactor = context->DefaultReactor();
  Lane& lane = lanes_.Of(corp);
  const auto given_up = std::make_shared<bool>(false);
  const auto refused = std::make_shared<grpc::Status>();
  const auto refuse = [given_up, refused](grpc::Status status) {
    *given_up = true;
    *refused = std::move(status);
    return true;
  };
  PostUntil(
      &lane, clock_, rpc::DeadlineOf(*context),
      [wanted, given_up] {
        auto wish = std::make_unique<AcquireTokens>();
        wish->wanted = wanted;
        wish->given_up = given_up;
        return wish;
      },
      [core = lane.core.get(), clock = clock_, wanted, refuse, response] {
        const Now now = clock->Read();
        const TokenGrants::Key key(wanted.corp(), wanted.grant());
        if (const auto* grant = core->grants().Find(key, now.wall_ns)) {
          if (grant->api != wanted.api() || grant->calls != wanted.calls()) {
            return refuse(rpc::ToGrpcStatus(absl::AlreadyExistsError(absl::StrCat(
                                                "grant was used for ", grant->calls, " calls of ",
                                                grant->api, " within 24 h; choose another name")),
                                            "GRANT_USED"));
          }
          SetTime(grant->acquired_wall_ns + grant->lease_ns, response->mutable_until());
          return true;
        }
        // What is decided about it now, shows soon.
        if (core->grants().deciding(key)) return false;
        BucketSet& buckets = core->buckets();
        const int64_t most = buckets.CallsMax(buckets.RouteOf(wanted.corp(), wanted.api()));
        if (wanted.calls() > most) return refuse(TooManyCalls(wanted.api(), most));
        const auto refusal = core->RefusalOf(wanted, now);
        return refusal.has_value() && refuse(NotNow(*refusal, wanted, now));
      },
      [reactor, given_up, refused](const absl::Status& status) {
        *given_up = true;
        reactor->Finish(status.ok() ? *refused : rpc::ToGrpcStatus(status, "LANE_NOT_READY"));
      });
  return reactor;
}

grpc::ServerUnaryReactor* QuotaHandler::Release(grpc::CallbackServerContext* context,
                                                const v1::ReleaseRequest* request,
                                                v1::ReleaseResponse* response) {
  const std::string& corp = request->corp();
  if (edge_.Find(*context, corp) == nullptr) return rpc::Finish(context, rpc::UnknownCorp());
  std::vector<FieldViolation> wrong;
  CheckKey("grant", request->grant(), &wrong);
  if (request->rate_limited() && request->used() == 0) {
    wrong.push_back({"used", "write at least 1: a call was answered"});
  }
  if (!wrong.empty()) return rpc::Finish(context, rpc::InvalidArgument(wrong));
  if (!lanes_.Owns(corp)) {
    return edge_.replicas->Forward(context, lanes_.NumberOf(corp), request, response);
  }
  TokensReleased wanted;
  wanted.set_corp(corp);
  wanted.set_grant(request->grant());
  wanted.set_used(request->used());
  wanted.set_rate_limited(request->rate_limited());

  auto* reactor = context->DefaultReactor();
  Lane& lane = lanes_.Of(corp);
  const auto refused = std::make_shared<grpc::Status>();
  PostUntil(
      &lane, clock_, rpc::DeadlineOf(*context),
      [wanted] {
        auto wish = std::make_unique<ReleaseTokens>();
        wish->wanted = wanted;
        return wish;
      },
      [core = lane.core.get(), clock = clock_, wanted, refused] {
        const auto* grant =
            core->grants().Find({wanted.corp(), wanted.grant()}, clock->Read().wall_ns);
        if (grant == nullptr) {
          *refused = rpc::ToGrpcStatus(
              absl::NotFoundError("no grant of this name was acquired within 24 h"),
              "GRANT_NOT_FOUND");
        } else if (wanted.used() > grant->calls) {
          *refused = rpc::InvalidArgument({{"used", absl::StrCat("write at most ", grant->calls,
                                                                 ", as many as were acquired")}});
        }
        return !refused->ok() || !grant->open;
      },
      [reactor, refused](const absl::Status& status) {
        reactor->Finish(status.ok() ? *refused : rpc::ToGrpcStatus(status, "LANE_NOT_READY"));
      });
  return reactor;
}

}  // namespace tidegate::dispatch
