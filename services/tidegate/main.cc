#include <unistd.h>

#include <csignal>
#include <iostream>
#include <string>
#include <vector>

#include "common/grpc/channels.h"
#include "services/tidegate/client/cli.h"
#include "services/tidegate/client/client_clock.h"
#include "services/tidegate/client/connection.h"
#include "services/tidegate/serve.h"

int main(int argc, char** argv) {
  // A reader of our output that goes away (`| head`) must not look like a crash.
  std::signal(SIGPIPE, SIG_IGN);
  tidegate::client::SystemClientClock clock;
  tidegate::client::CliEnvironment environment;
  environment.out = &std::cout;
  environment.err = &std::cerr;
  environment.err_is_terminal = isatty(STDERR_FILENO) == 1;
  environment.clock = &clock;
  environment.connect =
      [](const std::string& target,
         const tidegate::rpc::TlsFiles& tls) -> absl::StatusOr<std::shared_ptr<grpc::Channel>> {
    auto credentials = tidegate::rpc::ChannelCredentials(tls);
    if (!credentials.ok()) return credentials.status();
    return tidegate::rpc::MakeChannel(target, *credentials);
  };
  environment.serve = tidegate::RunServe;
  return tidegate::client::RunCli(std::vector<std::string>(argv + 1, argv + argc), environment);
}
