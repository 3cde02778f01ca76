// A hash over folded state, to show that two folds of the same records agree: a replay and the run
// before it, or two versions of a core. Every core adds what it has folded, in an order of its own
// that does not depend on how it got there.
//
// Not for identity: its value may change with every version of the product.
#pragma once

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/message_lite.h>

#include <concepts>
#include <cstdint>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/string_view.h"
#include "common/base/hash.h"

namespace tidegate::core {

class StateHash {
 public:
  // Every part goes in with its length, so that neighbours cannot be taken for one another.
  StateHash& Add(absl::string_view bytes) {
    Add(bytes.size());
    buffer_.append(bytes.data(), bytes.size());
    if (buffer_.size() >= kChunkBytes) Flush();
    return *this;
  }
  template <std::integral T>
  StateHash& Add(T number) {
    auto bits = static_cast<uint64_t>(static_cast<int64_t>(number));
    for (int i = 0; i < 8; ++i, bits >>= 8) buffer_.push_back(static_cast<char>(bits & 0xFF));
    return *this;
  }
  StateHash& Add(const google::protobuf::MessageLite& message) {
    std::string bytes;
    {
      google::protobuf::io::StringOutputStream stream(&bytes);
      google::protobuf::io::CodedOutputStream out(&stream);
      out.SetSerializationDeterministic(true);
      message.SerializeToCodedStream(&out);
    }
    return Add(absl::string_view(bytes));
  }

  // Of all that was added; 64 hex digits.
  std::string Hex() {
    Flush();
    return absl::BytesToHexString(digest_);
  }

 private:
  static constexpr size_t kChunkBytes = 64 << 10;

  // The digest so far is the beginning of what is hashed next: state can be large.
  void Flush() {
    digest_ = Sha256(digest_ + buffer_);
    buffer_.clear();
  }

  std::string digest_;
  std::string buffer_;
};

}  // namespace tidegate::core
