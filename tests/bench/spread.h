// A figure over the rounds of a measurement.
#pragma once

#include <algorithm>
#include <vector>

#include "boost/json.hpp"

namespace tidegate::bench {

// min, median and max; `values` is not empty.
inline boost::json::object Spread(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return {{"min", values.front()}, {"median", values[values.size() / 2]}, {"max", values.back()}};
}

}  // namespace tidegate::bench
