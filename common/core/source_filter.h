// Takes what other journals' outboxes send exactly once: per source journal only the next out_seq.
// A repeat is dropped; a gap stops the reader loudly, since it means loss.
//
// Pure; one per reader and input; not thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "tidegate/log/v1/header.pb.h"

namespace tidegate::core {

class SourceFilter {
 public:
  enum class Verdict { kTake, kRepeat, kGap };
  // Records without a source (an edge wrote them) are always taken. Changes nothing.
  Verdict Judge(const ::tidegate::log::v1::RecordHeader& header) const;
  // The record was taken; its verdict was kTake.
  void Take(const ::tidegate::log::v1::RecordHeader& header);

  // Continues where a cover says.
  void Restore(const ::tidegate::log::v1::Cover& cover);
  void WriteTo(::tidegate::log::v1::Cover* cover) const;

 private:
  std::map<std::string, uint64_t> last_out_seq_;
};

}  // namespace tidegate::core
