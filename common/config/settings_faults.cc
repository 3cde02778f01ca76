#include "common/config/settings_faults.h"

#include <algorithm>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/config/settings_table.h"

namespace tidegate::config {

void Faults::Add(const Place& place, absl::string_view text) {
  faults_.push_back({place, std::string(text)});
}

std::string Faults::Text() const {
  constexpr size_t kMost = 100;
  std::vector<Fault> sorted = faults_;
  std::stable_sort(sorted.begin(), sorted.end(), [](const Fault& a, const Fault& b) {
    return std::tuple(a.place.layer, a.place.line, a.place.column) <
           std::tuple(b.place.layer, b.place.line, b.place.column);
  });
  std::vector<std::string> lines;
  for (const Fault& fault : sorted) {
    if (lines.size() == kMost) {
      lines.push_back(absl::StrCat("and ", sorted.size() - kMost, " more"));
      break;
    }
    const Place& place = fault.place;
    const std::string position =
        place.line == 0 ? "" : absl::StrCat(":", place.line, ":", place.column);
    lines.push_back(absl::StrCat(place.source, position, ": ", fault.text));
  }
  return absl::StrJoin(lines, "\n");
}

Place Sheet::PlaceOf(const std::vector<std::string>& keys) const {
  for (const std::string& key : keys) {
    if (const auto place = places.find(key); place != places.end()) return place->second;
  }
  std::string section = keys.front();
  while (!section.empty()) {
    section = std::string(SectionOf(section));
    if (const auto place = places.find(section); place != places.end()) return place->second;
  }
  return Place();
}

}  // namespace tidegate::config
