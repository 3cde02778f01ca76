#include "services/tidegate/generate/board_json.h"

#include <algorithm>
#include <utility>

namespace tidegate::generate {
namespace {

namespace json = boost::json;

constexpr int kSchemaVersion = 41;
constexpr int kColumns = 24;

json::object Datasource() { return {{"type", "prometheus"}, {"uid", "${datasource}"}}; }

json::object PanelHead(const char* type, int id, const std::string& title) {
  return {{"id", id}, {"type", type}, {"title", title}};
}

json::object Position(int x, int y, int width, int height) {
  return {{"h", height}, {"w", width}, {"x", x}, {"y", y}};
}

// "A", "B", ...
std::string RefId(size_t index) { return std::string(1, static_cast<char>('A' + index)); }

json::array Targets(const Panel& panel) {
  json::array targets;
  for (size_t i = 0; i < panel.queries.size(); ++i) {
    const Query& query = panel.queries[i];
    targets.push_back(json::object{{"refId", RefId(i)},
                                   {"datasource", Datasource()},
                                   {"editorMode", "code"},
                                   {"expr", query.expression},
                                   {"legendFormat", query.legend},
                                   {"range", true}});
  }
  return targets;
}

json::object Thresholds(const Panel& panel) {
  json::array steps;
  for (const Threshold& threshold : panel.thresholds) {
    // The first step has no value: it reaches down to minus infinity.
    const json::value at = steps.empty() ? json::value() : json::value(threshold.at);
    steps.push_back(json::object{{"color", threshold.color}, {"value", at}});
  }
  if (steps.empty()) steps.push_back(json::object{{"color", "green"}, {"value", nullptr}});
  return {{"mode", "absolute"}, {"steps", std::move(steps)}};
}

json::object GraphStyle(const Panel& panel) {
  return {{"drawStyle", "line"},
          {"fillOpacity", panel.stacked ? 30 : 10},
          {"lineWidth", 1},
          {"showPoints", "never"},
          {"spanNulls", false},
          {"stacking", json::object{{"group", "A"}, {"mode", panel.stacked ? "normal" : "none"}}},
          {"thresholdsStyle", json::object{{"mode", panel.thresholds.empty() ? "off" : "dashed"}}}};
}

json::object FieldConfig(const Panel& panel) {
  const bool graph = panel.kind == PanelKind::kGraph;
  json::object defaults{{"unit", panel.unit},
                        {"min", 0},
                        {"color", json::object{{"mode", graph ? "palette-classic" : "thresholds"}}},
                        {"custom", graph ? GraphStyle(panel) : json::object()},
                        {"mappings", json::array()},
                        {"thresholds", Thresholds(panel)}};
  if (panel.unit == "percentunit") defaults["max"] = 1;
  return {{"defaults", std::move(defaults)}, {"overrides", json::array()}};
}

json::object Options(const Panel& panel) {
  if (panel.kind == PanelKind::kGraph) {
    return {{"legend", json::object{{"calcs", json::array{"lastNotNull", "max"}},
                                    {"displayMode", "table"},
                                    {"placement", "bottom"},
                                    {"showLegend", true}}},
            {"tooltip", json::object{{"mode", "multi"}, {"sort", "desc"}}}};
  }
  return {{"colorMode", "value"},
          {"graphMode", panel.show_legend_text ? "none" : "area"},
          {"justifyMode", "auto"},
          {"orientation", panel.show_legend_text ? "horizontal" : "auto"},
          {"percentChangeColorMode", "standard"},
          {"reduceOptions",
           json::object{{"calcs", json::array{"lastNotNull"}}, {"fields", ""}, {"values", false}}},
          {"showPercentChange", false},
          {"textMode", panel.show_legend_text ? "name" : "auto"},
          {"wideLayout", true}};
}

json::object PanelJson(const Panel& panel, int id, json::object position) {
  json::object object =
      PanelHead(panel.kind == PanelKind::kGraph ? "timeseries" : "stat", id, panel.title);
  object["description"] = panel.description;
  object["datasource"] = Datasource();
  object["gridPos"] = std::move(position);
  object["fieldConfig"] = FieldConfig(panel);
  object["options"] = Options(panel);
  object["targets"] = Targets(panel);
  return object;
}

// Fills one line after the other; a panel that does not fit begins the next line.
json::array PanelsJson(const Board& board) {
  json::array panels;
  int id = 1;
  int y = 0;
  for (const Section& section : board.sections) {
    json::object row = PanelHead("row", id++, section.title);
    row["collapsed"] = false;
    row["gridPos"] = Position(0, y, kColumns, 1);
    row["panels"] = json::array();
    panels.push_back(std::move(row));
    ++y;
    int x = 0;
    int line_height = 0;
    for (const Panel& panel : section.panels) {
      if (x + panel.width > kColumns) {
        y += std::exchange(line_height, 0);
        x = 0;
      }
      panels.push_back(PanelJson(panel, id++, Position(x, y, panel.width, panel.height)));
      x += panel.width;
      line_height = std::max(line_height, panel.height);
    }
    y += line_height;
  }
  return panels;
}

json::array VariablesJson(const Board& board) {
  json::array variables;
  variables.push_back(
      json::object{{"type", "datasource"},
                   {"name", "datasource"},
                   {"label", "Data source"},
                   {"query", "prometheus"},
                   {"regex", ""},
                   {"refresh", 1},
                   {"hide", 0},
                   {"includeAll", false},
                   {"multi", false},
                   {"options", json::array()},
                   {"current", json::object{{"text", "default"}, {"value", "default"}}}});
  for (const Variable& variable : board.variables) {
    variables.push_back(json::object{
        {"type", "query"},
        {"name", variable.name},
        {"label", variable.label},
        {"datasource", Datasource()},
        {"definition", variable.values},
        {"query", json::object{{"query", variable.values}, {"refId", variable.name}}},
        {"regex", ""},
        {"refresh", 2},  // when the time range changes
        {"sort", 1},
        {"hide", 0},
        {"includeAll", true},
        {"allValue", ".*"},
        {"multi", true},
        {"options", json::array()},
        {"current",
         json::object{
             {"selected", true}, {"text", json::array{"All"}}, {"value", json::array{"$__all"}}}}});
  }
  return variables;
}

// To the other boards, which all carry the tag.
json::array Links() {
  return {json::object{{"type", "dashboards"},
                       {"title", "Tidegate"},
                       {"tags", json::array{"tidegate"}},
                       {"asDropdown", true},
                       {"icon", "external link"},
                       {"includeVars", false},
                       {"keepTime", true},
                       {"targetBlank", false},
                       {"tooltip", ""},
                       {"url", ""}}};
}

void Write(const json::value& value, size_t level, std::string* out) {
  const auto line = [out](size_t at) { out->append("\n").append(2 * at, ' '); };
  if (const json::object* object = value.if_object(); object != nullptr && !object->empty()) {
    const char* separator = "{";
    for (const auto& [key, member] : *object) {
      out->append(separator);
      line(level + 1);
      out->append(json::serialize(json::value(key))).append(": ");
      Write(member, level + 1, out);
      separator = ",";
    }
    line(level);
    out->append("}");
  } else if (const json::array* array = value.if_array(); array != nullptr && !array->empty()) {
    const char* separator = "[";
    for (const json::value& member : *array) {
      out->append(separator);
      line(level + 1);
      Write(member, level + 1, out);
      separator = ",";
    }
    line(level);
    out->append("]");
  } else if (const double* number = value.if_double();
             number != nullptr && *number == static_cast<double>(static_cast<int64_t>(*number))) {
    out->append(std::to_string(static_cast<int64_t>(*number)));  // 60, not 6E1
  } else if (number != nullptr) {
    std::string text = std::to_string(*number);
    text.erase(text.find_last_not_of('0') + 1);
    out->append(text);
  } else {
    out->append(json::serialize(value));
  }
}

}  // namespace

json::object BoardJson(const Board& board) {
  return {{"uid", board.uid},
          {"title", board.title},
          {"description", board.description},
          {"tags", json::array{"tidegate"}},
          {"schemaVersion", kSchemaVersion},
          {"version", 1},
          {"editable", true},
          {"graphTooltip", 1},  // the cross hair is shared by all panels
          {"refresh", "30s"},
          {"time", json::object{{"from", "now-1h"}, {"to", "now"}}},
          {"timepicker", json::object()},
          {"timezone", "browser"},
          {"annotations", json::object{{"list", json::array()}}},
          {"links", Links()},
          {"templating", json::object{{"list", VariablesJson(board)}}},
          {"panels", PanelsJson(board)}};
}

std::string PrettyJson(const json::value& value) {
  std::string out;
  Write(value, 0, &out);
  out.append("\n");
  return out;
}

}  // namespace tidegate::generate
