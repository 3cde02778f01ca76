// TLS of gRPC listeners and channels, from files that are read again when they are rotated.
//
//   ASSIGN_OR_RETURN(auto credentials, rpc::ServerCredentials({.cert_file = "/tls/tls.crt",
//       .key_file = "/tls/tls.key", .ca_file = "/tls/ca.crt"}));
//   auto runner = rpc::ServerRunner::Start("0.0.0.0:7701", services, std::move(credentials));
//
// A rotation is noticed within about 2 s (two readings by us, one by gRPC). New connections then
// use the new files; open ones, and the streams on them, go on as they are. A file that is missing,
// half written or otherwise broken changes nothing and is logged: what was valid stays in use.
//
// How: the FileWatcherCertificateProvider of gRPC 1.51 takes whatever it finds. A key that does not
// match its certificate, as between two writes of a rotation, leaves the listener without any
// certificate until the files are right again. So gRPC watches copies of ours, in memory
// (memfd_create), that are exchanged as a whole and only for a checked pair; see
// common/tls/certificate_files.h. The copies and one thread live as long as the process.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/config/settings.h"

namespace tidegate::rpc {

// cert_file: own certificate, then its chain; key_file: its key, not encrypted; ca_file:
// authorities that the peer's certificate must come from.
using config::TlsFiles;

// All empty: no TLS. cert_file and key_file: TLS 1.2 or newer. With ca_file too, a client must show
// a certificate of those authorities (mutual TLS); who it is, common/grpc/caller.h tells.
// Errors: INVALID_ARGUMENT when a needed file is not named; else those of tls::ReadKeyPair and
// tls::ReadAuthorities; INTERNAL or FAILED_PRECONDITION when memory files do not work here.
// Thread-safe.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> ServerCredentials(const TlsFiles& files);

// All empty: no TLS. ca_file: the server must show a certificate of those authorities for the host
// name in the channel's target. With cert_file and key_file the channel shows its own.
// Errors and threads as above.
absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> ChannelCredentials(const TlsFiles& files);

}  // namespace tidegate::rpc
