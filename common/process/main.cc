#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>

#include "common/process/process.h"

extern char** environ;

namespace tidegate::process {
namespace {

struct Flags {
  std::string config;
  std::vector<std::string> set;
  std::string replica;
  bool check_config = false;
  bool print_config = false;
};

void AddFlags(const std::string& name, CLI::App* app, Flags* flags) {
  app->name(name);
  app->description("One service of Tidegate in a process of its own.");
  app->add_option("--config", flags->config, "Settings, YAML; see docs/configuration.md");
  app->add_option(
      "--replica", flags->replica,
      "r/R: this is replica r of R; r/LEAST-MOST: of as many as the names of peers tell");
  app->add_option("--set", flags->set,
                  "One setting, KEY=VALUE; stronger than file and environment");
  app->add_flag("--check-config", flags->check_config, "Check the settings and end");
  app->add_flag("--print-config", flags->print_config, "Print the settings as they are and end");
  app->footer(
      "Settings: built-in default < file < environment TIDEGATE_SECTION__KEY < flags.\n"
      "Exit codes: 0 ok, 1 failure, 2 wrong flags or settings, 75 another process owns the\n"
      "partitions.\n\n"
      "Examples:\n"
      "  " +
      name +
      " --config tidegate.yaml --replica 0/2\n"
      "  " +
      name +
      " --config tidegate.yaml --check-config\n"
      "  " +
      name + " --config tidegate.yaml --set listen.grpc=127.0.0.1:7610");
}

}  // namespace

absl::StatusOr<config::Settings> SettingsOf(
    const std::string& file, const std::vector<std::string>& set,
    std::vector<std::pair<std::string, std::string>> flags) {
  for (const std::string& text : set) {
    const size_t equals = text.find('=');
    if (equals == std::string::npos) {
      return absl::InvalidArgumentError("--set " + text + ": write --set KEY=VALUE");
    }
    flags.emplace_back(text.substr(0, equals), text.substr(equals + 1));
  }
  return config::LoadSettings({.file = file,
                               .environment = config::EnvironmentSettings(environ),
                               .flags = std::move(flags)});
}

int Main(const std::string& name, const std::vector<ServiceSpec>& services, int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  Flags flags;
  CLI::App app;
  AddFlags(name, &app, &flags);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  std::vector<std::pair<std::string, std::string>> named;
  if (!flags.replica.empty()) named.emplace_back("replica", flags.replica);
  const auto settings = SettingsOf(flags.config, flags.set, std::move(named));
  const absl::Status good = settings.ok() ? CheckPeers(*settings, services) : settings.status();
  if (!good.ok()) {
    std::fprintf(stderr, "%s\n", std::string(good.message()).c_str());
    return kExitUsage;
  }
  if (flags.print_config) std::fputs(config::PrintSettings(*settings).c_str(), stdout);
  if (flags.check_config) std::fputs("the settings are good\n", stderr);
  if (flags.print_config || flags.check_config) return 0;
  const absl::Status status = Run(name, *settings, services);
  if (!status.ok()) {
    std::fprintf(stderr, "%s: %s\n", name.c_str(), std::string(status.message()).c_str());
    return 1;
  }
  return 0;
}

}  // namespace tidegate::process
