#include "services/tidegate/generate/generated_files.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "services/tidegate/generate/board_json.h"
#include "services/tidegate/generate/boards.h"

namespace tidegate::generate {
namespace {

constexpr const char* kAlertsFile = "alerts.yaml";

absl::Status CannotWrite(const std::filesystem::path& path) {
  return absl::InvalidArgumentError(
      absl::StrCat("cannot write ", path.string(), ": ", std::strerror(errno)));
}

}  // namespace

std::vector<GeneratedFile> DashboardFiles() {
  std::vector<GeneratedFile> files;
  for (const Board& board : AllBoards()) {
    files.push_back({absl::StrCat(absl::StripPrefix(board.uid, "tidegate-"), ".json"),
                     PrettyJson(BoardJson(board))});
  }
  return files;
}

std::vector<GeneratedFile> AlertFiles(const std::string& runbooks_url) {
  return {{kAlertsFile, AlertsYaml(AllAlerts(), runbooks_url)}};
}

std::vector<GeneratedFile> PrometheusFiles(const std::vector<ScrapeTarget>& targets,
                                           const std::string& runbooks_url) {
  return {{kAlertsFile, AlertsYaml(AllAlerts(), runbooks_url)},
          {"prometheus.yml", PrometheusYaml(targets, kAlertsFile)}};
}

absl::Status WriteFiles(const std::vector<GeneratedFile>& files, const std::string& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) {
    return absl::InvalidArgumentError(absl::StrCat("cannot make ", folder, ": ", error.message()));
  }
  for (const GeneratedFile& generated : files) {
    const std::filesystem::path path = std::filesystem::path(folder) / generated.name;
    const std::filesystem::path unfinished = path.string() + ".tmp";
    std::ofstream file(unfinished, std::ios::binary | std::ios::trunc);
    if (!file.is_open()) return CannotWrite(unfinished);
    file << generated.text;
    file.close();
    if (file.fail() || std::rename(unfinished.c_str(), path.c_str()) != 0) return CannotWrite(path);
  }
  return absl::OkStatus();
}

}  // namespace tidegate::generate
