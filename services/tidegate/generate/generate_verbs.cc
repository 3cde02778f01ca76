// generate dashboards, alerts, prometheus-config: files out, their names told.
#include <filesystem>

#include "common/base/status_macros.h"
#include "services/tidegate/client/output.h"
#include "services/tidegate/client/verbs.h"
#include "services/tidegate/generate/generated_files.h"

namespace tidegate::client {
namespace {

absl::Status WriteAndTell(const Client& client, const std::vector<generate::GeneratedFile>& files,
                          const std::string& folder) {
  RETURN_IF_ERROR(generate::WriteFiles(files, folder));
  boost::json::array json;
  std::vector<std::vector<std::string>> rows;
  for (const generate::GeneratedFile& file : files) {
    const std::string path = (std::filesystem::path(folder) / file.name).string();
    json.push_back(boost::json::object{{"file", path}, {"bytes", file.text.size()}});
    rows.push_back({path, std::to_string(file.text.size())});
  }
  Print(client, boost::json::object{{"files", std::move(json)}},
        RenderTable({"FILE", "BYTES"}, rows));
  return absl::OkStatus();
}

}  // namespace

absl::Status GenerateDashboards(const Client& client, const GenerateOptions& options) {
  return WriteAndTell(client, generate::DashboardFiles(), options.out_dir);
}

absl::Status GenerateAlerts(const Client& client, const GenerateOptions& options) {
  return WriteAndTell(client, generate::AlertFiles(options.runbooks_url), options.out_dir);
}

absl::Status GeneratePrometheusConfig(const Client& client, const GenerateOptions& options) {
  std::vector<generate::ScrapeTarget> targets;
  for (const std::string& text : options.targets) {
    ASSIGN_OR_RETURN(generate::ScrapeTarget target, generate::ParseScrapeTarget(text));
    targets.push_back(std::move(target));
  }
  return WriteAndTell(client, generate::PrometheusFiles(targets, options.runbooks_url),
                      options.out_dir);
}

}  // namespace tidegate::client
