// Certificates, keys and authorities from PEM files: read, checked, and followed while they are
// rotated. What a listener does with them is its own matter (common/grpc/credentials.h,
// common/http/server.h).
//
//   ASSIGN_OR_RETURN(std::string pem, tls::ReadKeyPair("tls.crt", "tls.key"));
//   tls::Follower follower([] { return tls::ReadKeyPair("tls.crt", "tls.key"); }, pem, "tls.crt");
//   // every tls::kPollInterval:
//   if (auto newer = follower.Poll()) Use(*newer);
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace tidegate::tls {

// One PEM text: the private key (PKCS #8), its certificate, then the rest of the chain, which
// starts with the certificate in `cert_file` too. The text holds a secret.
// Each error names the file, what is wrong and what to do:
//   NOT_FOUND            a file is missing
//   PERMISSION_DENIED    a file cannot be read
//   INVALID_ARGUMENT     not PEM, an encrypted or weak key, or a key that is not the certificate's
//   FAILED_PRECONDITION  the certificate has expired or is not valid yet
absl::StatusOr<std::string> ReadKeyPair(const std::string& cert_file, const std::string& key_file);

// The certificates in `ca_file`, as one PEM text. Errors as above; FAILED_PRECONDITION only when
// every one of them has expired.
absl::StatusOr<std::string> ReadAuthorities(const std::string& ca_file);

// How often a Follower reads. A rotation is taken at the second reading after it.
inline constexpr absl::Duration kPollInterval = absl::Milliseconds(500);

// Follows a text that is read from files. Whoever rotates writes one file after the other, so a
// text counts only once two readings in a row gave the same one; until then, and as long as what
// stands there is broken, the old one stays. Not thread-safe.
class Follower {
 public:
  using Read = std::function<absl::StatusOr<std::string>()>;
  // `current` is what is in use. `name` stands in the log lines: a file name, no secret.
  Follower(Read read, std::string current, std::string name);

  // Reads once. The new text when it became the current one, else nothing. Logs a change, and a
  // lasting error once (event tls_files_rejected) however often it is read.
  std::optional<std::string> Poll();

 private:
  const Read read_;
  const std::string name_;
  std::string current_;
  std::string candidate_;  // of the last reading, if it differs from the current one
  std::string error_;      // of the last reading; empty = none
  std::string logged_error_;
};

}  // namespace tidegate::tls
