// What the operating system tells of this process, under the names that all Prometheus clients use.
#pragma once

#include <prometheus/metric_family.h>

#include <vector>

namespace tidegate::metrics {

// Read from /proc/self now (proc(5)); what cannot be read is left out. Any thread.
std::vector<prometheus::MetricFamily> CollectProcess();

}  // namespace tidegate::metrics
