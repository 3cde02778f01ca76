#include "common/metrics/process_metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <system_error>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "common/metrics/names.h"

namespace tidegate::metrics {
namespace {

std::string ReadAll(const char* path) {
  std::ifstream in(path);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

// Fields of /proc/self/stat from the state (field 3) on: the name before it may hold anything.
std::vector<std::string> StatFields() {
  const std::string stat = ReadAll("/proc/self/stat");
  const size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos || name_end + 2 > stat.size()) return {};
  return absl::StrSplit(stat.substr(name_end + 2), ' ');
}

// In seconds since the epoch; 0 if it cannot be read.
double BootTime() {
  for (const absl::string_view line : absl::StrSplit(ReadAll("/proc/stat"), '\n')) {
    const std::vector<std::string> words = absl::StrSplit(line, ' ');
    double seconds = 0;
    if (words.size() == 2 && words[0] == "btime" && absl::SimpleAtod(words[1], &seconds)) {
      return seconds;
    }
  }
  return 0;
}

double OpenFiles() {
  std::error_code error;
  double count = 0;
  for (std::filesystem::directory_iterator at("/proc/self/fd", error), end; !error && at != end;
       at.increment(error)) {
    ++count;
  }
  return count;
}

class Families {
 public:
  void Add(const MetricDescription& metric, double value) {
    prometheus::ClientMetric series;
    const bool counter = metric.type == MetricType::kCounter;
    (counter ? series.counter.value : series.gauge.value) = value;
    families.push_back({std::string(metric.name),
                        std::string(metric.help),
                        counter ? prometheus::MetricType::Counter : prometheus::MetricType::Gauge,
                        {series}});
  }
  std::vector<prometheus::MetricFamily> families;
};

}  // namespace

std::vector<prometheus::MetricFamily> CollectProcess() {
  Families all;
  const std::vector<std::string> stat = StatFields();
  const auto ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
  const auto field = [&](size_t number) {
    double value = 0;
    if (number - 3 < stat.size()) (void)absl::SimpleAtod(stat[number - 3], &value);
    return value;
  };
  if (!stat.empty()) {
    all.Add(Described("process_cpu_seconds_total"), (field(14) + field(15)) / ticks);
    all.Add(Described("process_threads"), field(20));
    all.Add(Described("process_start_time_seconds"), BootTime() + field(22) / ticks);
    all.Add(Described("process_resident_memory_bytes"),
            field(24) * static_cast<double>(sysconf(_SC_PAGESIZE)));
  }
  all.Add(Described("process_open_fds"), OpenFiles());
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    all.Add(Described("process_max_fds"), static_cast<double>(limit.rlim_cur));
  }
  return std::move(all.families);
}

}  // namespace tidegate::metrics
