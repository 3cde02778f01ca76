// A Grafana board as data: what is shown, not how Grafana writes it (board_json.h) and not where a
// panel stands: panels flow from left to right, 24 columns wide, in the order given.
//
//   {.title = "Callbacks", .description = "By result.", .unit = "reqps",
//    .queries = {{"sum by (result) (rate(tidegate_callbacks_total[$__rate_interval]))",
//                 "{{result}}"}}}
//
// Plain values; any thread may read them.
#pragma once

#include <string>
#include <vector>

namespace tidegate::generate {

struct Query {
  std::string expression;
  std::string legend;  // with {{label}}
};

enum class PanelKind {
  kGraph,  // lines over time
  kStat,   // one number, or one per series
};

// A value from `at` on is shown in this colour.
struct Threshold {
  double at = 0;
  std::string color;
};

struct Panel {
  std::string title;
  std::string description;  // what it means and when to worry
  std::string unit;         // a unit id of Grafana, as in "s"
  PanelKind kind = PanelKind::kGraph;
  int width = 8;   // of 24
  int height = 8;  // in Grafana's rows, about 38 pixels each
  std::vector<Query> queries;
  // The lowest applies from minus infinity on. Empty = no colours.
  std::vector<Threshold> thresholds;
  bool stacked = false;
  bool show_legend_text = false;  // kStat: the legend instead of the number
};

struct Section {
  std::string title;
  std::vector<Panel> panels;
};

// A drop-down above the board, filled from the values of a label; any number may be chosen. Used
// as label=~"$name".
struct Variable {
  std::string name;
  std::string label;   // what people read
  std::string values;  // as in label_values(tidegate_build_info, service)
};

struct Board {
  std::string uid;  // stays the same for ever: links and updates go by it
  std::string title;
  std::string description;
  std::vector<Variable> variables;
  std::vector<Section> sections;
};

}  // namespace tidegate::generate
