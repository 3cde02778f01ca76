#include "common/core/header_codec.h"

#include <gtest/gtest.h>

namespace tidegate::core {
namespace {

using ::tidegate::log::v1::RECORD_KIND_DECISION;
using ::tidegate::log::v1::RecordHeader;

TEST(HeaderCodecTest, GivesBackWhatWasEncoded) {
  RecordHeader header;
  header.set_kind(RECORD_KIND_DECISION);
  header.set_epoch(3);
  header.set_seq(7);
  const auto decoded = DecodeHeader(EncodeHeader(header));
  ASSERT_TRUE(decoded.ok());
  EXPECT_EQ(decoded->kind(), RECORD_KIND_DECISION);
  EXPECT_EQ(decoded->epoch(), 3u);
  EXPECT_EQ(decoded->seq(), 7u);
}

TEST(HeaderCodecTest, NoBytesAreAnEmptyHeader) {
  const auto decoded = DecodeHeader("");
  ASSERT_TRUE(decoded.ok());
  EXPECT_EQ(decoded->epoch(), 0u);
}

TEST(HeaderCodecTest, OtherBytesAreDataLoss) {
  EXPECT_EQ(DecodeHeader("\xff\xff").status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace tidegate::core
