// What an operator's word about a doubt must have.
//
// Pure.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/grpc/errors.h"
#include "services/dispatch/core/campaign_book.h"
#include "tidegate/dispatch/v1/dispatch_service.pb.h"

namespace tidegate::dispatch {

// What is wrong with the request, whatever call it is about; empty = nothing.
std::vector<rpc::FieldViolation> DoubtFaults(
    const ::tidegate::dispatch::v1::ResolveDoubtRequest& request);

// Whether this call can be spoken of so by this actor. FAILED_PRECONDITION: it is not parked at
// this attempt, or the actor has said so before. INVALID_ARGUMENT: a task of customers without its
// msgid.
absl::Status MayResolve(const CampaignCallState& call,
                        const ::tidegate::dispatch::v1::ResolveDoubtRequest& request,
                        const std::string& actor);

}  // namespace tidegate::dispatch
