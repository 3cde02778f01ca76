// A board as the JSON that Grafana imports (schema version 41, Grafana 12; later ones migrate it).
// Deterministic: the same board gives the same bytes. Panel ids count up from 1, and no two panels
// overlap. The data source is a variable of the board, so nothing names an installation. Pure.
#pragma once

#include <boost/json.hpp>
#include <string>

#include "services/tidegate/generate/board.h"

namespace tidegate::generate {

boost::json::object BoardJson(const Board& board);

// Two blanks per level, a line per member, a line break at the end.
std::string PrettyJson(const boost::json::value& value);

}  // namespace tidegate::generate
