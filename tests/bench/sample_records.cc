#include "tests/bench/sample_records.h"

#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "tidegate/log/v1/events.pb.h"
#include "tidegate/log/v1/header.pb.h"

namespace tidegate::bench {
namespace {

constexpr size_t kRecords = 8'192;
constexpr size_t kValueBytes = 300;
constexpr char kCorp[] = "ww8d3f0c5a71be2946";

std::string RandomText(size_t size, std::mt19937_64* random) {
  static constexpr char kLetters[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
  std::string text;
  for (size_t i = 0; i < size; ++i) text.push_back(kLetters[(*random)() % 64]);
  return text;
}

log::Record MakeRecord(uint64_t number, std::mt19937_64* random) {
  const std::string customer = absl::StrCat("wm", RandomText(30, random));
  const auto now_ns = static_cast<int64_t>(1'764'000'000'000'000'000 + number * 731'113);

  log::v1::CustomerEvent event;
  event.set_corp(kCorp);
  event.set_customer(customer);
  event.set_source("wecom");
  event.set_event_id(RandomText(43, random));
  event.set_kind("follow_added");
  event.set_event_time_ns(now_ns);
  event.set_received_time_ns(now_ns + static_cast<int64_t>((*random)() % 1'000'000'000));
  event.set_corp_revision(7);
  event.mutable_follow()->set_member(absl::StrCat("member", (*random)() % 120));
  event.mutable_follow()->set_state("shop");
  event.mutable_follow()->set_welcome_code(RandomText(43, random));
  const std::string raw = absl::StrCat("<xml><ToUserName>", kCorp, "</ToUserName><CreateTime>",
                                       now_ns / 1'000'000'000, "</CreateTime><ExternalUserID>");
  // Two bytes of tag and length.
  const size_t left = kValueBytes - event.ByteSizeLong() - 2;
  event.mutable_follow()->set_raw(raw.substr(0, left));

  log::v1::RecordHeader header;
  header.set_kind(log::v1::RECORD_KIND_DECISION);
  header.set_epoch(3);
  header.set_seq(100'000 + number);
  header.set_decided_time_ns(now_ns);
  auto* cover = header.add_covers();
  cover->set_input("tidegate.events/3");
  cover->set_position(400'000 + number);
  cover->add_sources()->set_journal("tidegate.ledger/0");

  log::Record record{.key = absl::StrCat(kCorp, "/", customer),
                     .header = header.SerializeAsString(),
                     .value = event.SerializeAsString()};
  CHECK(record.value.size() <= kValueBytes + 2 && record.value.size() >= kValueBytes - 20);
  return record;
}

}  // namespace

SampleRecords::SampleRecords(uint64_t seed) {
  std::mt19937_64 random(seed);
  for (size_t i = 0; i < kRecords; ++i) records_.push_back(MakeRecord(i, &random));
}

std::vector<log::Record> SampleRecords::Take(size_t count) {
  std::vector<log::Record> taken;
  taken.reserve(count);
  for (size_t i = 0; i < count; ++i) taken.push_back(Next());
  return taken;
}

}  // namespace tidegate::bench
