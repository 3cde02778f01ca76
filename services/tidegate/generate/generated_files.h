// What `tidegate generate` writes, as names and texts, and the writing. The same binary writes the
// same bytes, so what is committed under helm/files can be compared.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "services/tidegate/generate/prometheus_yaml.h"

namespace tidegate::generate {

struct GeneratedFile {
  std::string name;  // without folders
  std::string text;
};

// <uid without "tidegate-">.json each, for Grafana's provisioning or import.
std::vector<GeneratedFile> DashboardFiles();

// alerts.yaml.
std::vector<GeneratedFile> AlertFiles(const std::string& runbooks_url);

// prometheus.yml, and the alerts.yaml that it reads.
std::vector<GeneratedFile> PrometheusFiles(const std::vector<ScrapeTarget>& targets,
                                           const std::string& runbooks_url);

// Makes the folder if it is missing and replaces each file as a whole. INVALID_ARGUMENT with the
// path if one cannot be written; those before it stay. Not to be run by two at once on one folder.
absl::Status WriteFiles(const std::vector<GeneratedFile>& files, const std::string& folder);

}  // namespace tidegate::generate
