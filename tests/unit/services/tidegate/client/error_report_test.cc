#include "services/tidegate/client/error_report.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/cord.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace tidegate::client {
namespace {

// The status as Connection hands it on.
absl::Status WithDetails(absl::Status status, const google::rpc::Status& details) {
  status.SetPayload(kErrorDetailsPayload, absl::Cord(details.SerializeAsString()));
  return status;
}

google::rpc::Status BadRequest(const std::vector<std::pair<std::string, std::string>>& violations) {
  google::rpc::BadRequest bad_request;
  for (const auto& [field, description] : violations) {
    auto* const added = bad_request.add_field_violations();
    added->set_field(field);
    added->set_description(description);
  }
  google::rpc::Status status;
  status.set_code(3);
  status.add_details()->PackFrom(bad_request);
  return status;
}

TEST(ExitCodeTest, FollowsTheTable) {
  const struct {
    absl::StatusCode code;
    int exit_code;
  } rows[] = {
      {absl::StatusCode::kOk, 0},
      {absl::StatusCode::kCancelled, 1},
      {absl::StatusCode::kUnknown, 1},
      {absl::StatusCode::kInvalidArgument, 2},
      {absl::StatusCode::kDeadlineExceeded, 8},
      {absl::StatusCode::kNotFound, 3},
      {absl::StatusCode::kAlreadyExists, 4},
      {absl::StatusCode::kPermissionDenied, 5},
      {absl::StatusCode::kResourceExhausted, 6},
      {absl::StatusCode::kFailedPrecondition, 4},
      {absl::StatusCode::kAborted, 4},
      {absl::StatusCode::kOutOfRange, 2},
      {absl::StatusCode::kUnimplemented, 1},
      {absl::StatusCode::kInternal, 1},
      {absl::StatusCode::kUnavailable, 7},
      {absl::StatusCode::kDataLoss, 1},
      {absl::StatusCode::kUnauthenticated, 5},
  };
  for (const auto& row : rows) {
    EXPECT_EQ(ExitCodeOf(absl::Status(row.code, "x")), row.exit_code)
        << absl::StatusCodeToString(row.code);
  }
}

TEST(DescribeErrorTest, OneLineForAPlainError) {
  EXPECT_EQ(DescribeError(absl::NotFoundError("no corp ww2")),
            "tidegate: not found: no corp ww2\n");
  EXPECT_EQ(DescribeError(absl::UnknownError("2 of 3 rows failed")),
            "tidegate: 2 of 3 rows failed\n");
}

TEST(DescribeErrorTest, ShowsViolationsLineByLineAndTheReason) {
  google::rpc::Status details =
      BadRequest({{"campaign.variants[0].link_url", "is empty"}, {"request_id", "is no UUID"}});
  google::rpc::ErrorInfo info;
  info.set_reason("BAD_SPEC");
  (*info.mutable_metadata())["corp"] = "ww1";
  details.add_details()->PackFrom(info);
  EXPECT_EQ(DescribeError(WithDetails(absl::InvalidArgumentError("2 fields are wrong"), details)),
            "tidegate: invalid argument: 2 fields are wrong\n"
            "  campaign.variants[0].link_url: is empty\n"
            "  request_id: is no UUID\n"
            "  reason: BAD_SPEC corp=ww1\n");
}

TEST(DescribeErrorTest, ADrawingKeepsItsCaretsUnderTheFault) {
  EXPECT_EQ(DescribeError(absl::InvalidArgumentError(
                "orders.cuont >= 3\n^^^^^^^^^^^^ 1:1 UNKNOWN_NAME: did you mean orders.count")),
            "tidegate: invalid argument:\n"
            "  orders.cuont >= 3\n"
            "  ^^^^^^^^^^^^ 1:1 UNKNOWN_NAME: did you mean orders.count\n");
}

TEST(DescribeErrorTest, DoesNotRepeatAMessageThatOnlySumsUp) {
  const absl::Status status =
      WithDetails(absl::InvalidArgumentError("corp: is empty; request_id: is no UUID"),
                  BadRequest({{"corp", "is empty"}, {"request_id", "is no UUID"}}));
  EXPECT_EQ(DescribeError(status),
            "tidegate: invalid argument\n"
            "  corp: is empty\n"
            "  request_id: is no UUID\n");
}

TEST(DecodeErrorDetailsTest, BrokenBytesGiveNoDetails) {
  const std::string whole = BadRequest({{"corp", "is empty"}}).SerializeAsString();
  EXPECT_EQ(DecodeErrorDetails(whole).violations.size(), 1u);
  for (size_t length = 0; length < whole.size(); ++length) {
    EXPECT_TRUE(DecodeErrorDetails(whole.substr(0, length)).violations.empty()) << length;
  }
  EXPECT_TRUE(DecodeErrorDetails("\xFF\xFF\xFF\xFF").violations.empty());
}

}  // namespace
}  // namespace tidegate::client
