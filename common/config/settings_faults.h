// What is wrong with a configuration, all of it, each with its place.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/config/settings.h"

namespace tidegate::config {

// Where a value comes from. Later layers win.
struct Place {
  enum class Layer { kFile, kEnvironment, kFlags, kDefault };
  Layer layer = Layer::kDefault;
  std::string source = "settings";  // the file, the variable, "--set KEY"
  int line = 0, column = 0;         // of a file, from 1; 0 = the file as a whole
};

class Faults {
 public:
  void Add(const Place& place, absl::string_view text);
  bool empty() const { return faults_.empty(); }
  // One line each, in the order of places; the first 100, and how many there are more.
  std::string Text() const;

 private:
  struct Fault {
    Place place;
    std::string text;
  };
  std::vector<Fault> faults_;
};

// Settings while they are read.
struct Sheet {
  Settings settings;
  // Of each setting that was set, and of each section of the file, "" being the file itself.
  std::map<std::string, Place> places;
  // Settings and sections with a fault of their own, or probably meant by an unknown key: what is
  // said of them with others would only repeat it.
  std::set<std::string> unsound;

  // The place of the first of `keys` that was set, else of the nearest section around the first.
  Place PlaceOf(const std::vector<std::string>& keys) const;
};

// Checks that look at more than one setting.
void CheckTogether(const Sheet& sheet, Faults* faults);

}  // namespace tidegate::config
