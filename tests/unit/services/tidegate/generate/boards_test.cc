// What holds for every board, and that the committed files are those of this code.
#include "services/tidegate/generate/boards.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <vector>

#include "common/metrics/names.h"
#include "services/tidegate/generate/board_json.h"
#include "services/tidegate/generate/generated_files.h"
#include "tests/unit/services/tidegate/generate/promql_scan.h"

namespace tidegate::generate {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

namespace json = boost::json;

// Every panel of every board, with the name of its place.
template <typename Check>
void ForEachPanel(const Check& check) {
  for (const Board& board : AllBoards()) {
    for (const Section& section : board.sections) {
      for (const Panel& panel : section.panels) {
        SCOPED_TRACE(board.uid + ": " + panel.title);
        check(board, panel);
      }
    }
  }
}

TEST(BoardsTest, UidsAreFixedAndDistinct) {
  std::vector<std::string> uids;
  for (const Board& board : AllBoards()) uids.push_back(board.uid);
  EXPECT_THAT(uids,
              ::testing::ElementsAre("tidegate-overview", "tidegate-wecom", "tidegate-campaigns",
                                     "tidegate-log", "tidegate-process"));
}

TEST(BoardsTest, EveryPanelSaysWhatItShows) {
  const std::set<std::string> units = {"s", "short", "percentunit", "cps", "reqps", "bytes"};
  ForEachPanel([&](const Board&, const Panel& panel) {
    EXPECT_THAT(panel.title, Not(IsEmpty()));
    EXPECT_THAT(panel.description, EndsWith("."));
    EXPECT_TRUE(units.contains(panel.unit)) << panel.unit;
    EXPECT_THAT(panel.queries, Not(IsEmpty()));
    for (const Query& query : panel.queries) EXPECT_THAT(query.legend, Not(IsEmpty()));
  });
}

TEST(BoardsTest, TitlesAreDistinctWithinABoard) {
  for (const Board& board : AllBoards()) {
    std::set<std::string> titles;
    for (const Section& section : board.sections) {
      for (const Panel& panel : section.panels) {
        EXPECT_TRUE(titles.insert(panel.title).second) << board.uid << ": " << panel.title;
      }
    }
  }
}

TEST(BoardsTest, ExpressionsUseKnownNamesOnly) {
  ForEachPanel([](const Board&, const Panel& panel) {
    for (const Query& query : panel.queries) {
      EXPECT_THAT(WrongNames(query.expression), IsEmpty()) << query.expression;
    }
  });
}

TEST(BoardsTest, ADeadMetricInAPanelIsFound) {
  Board board = OverviewBoard();
  board.sections[0].panels[0].queries[0].expression = "sum(tidegate_stages_in_total)";
  EXPECT_THAT(WrongNames(board.sections[0].panels[0].queries[0].expression), Not(IsEmpty()));
}

TEST(BoardsTest, EveryMetricOfTheProductIsOnABoard) {
  std::string all;
  ForEachPanel([&](const Board&, const Panel& panel) {
    for (const Query& query : panel.queries) all += query.expression + "\n";
  });
  for (const metrics::MetricDescription& metric : metrics::kMetrics) {
    EXPECT_THAT(all, HasSubstr(std::string(metric.name)));
  }
}

TEST(BoardsTest, RatesFollowTheScrapeInterval) {
  ForEachPanel([](const Board&, const Panel& panel) {
    for (const Query& query : panel.queries) {
      for (size_t at = query.expression.find("rate("); at != std::string::npos;
           at = query.expression.find("rate(", at + 1)) {
        const size_t range = query.expression.find('[', at);
        ASSERT_NE(range, std::string::npos);
        EXPECT_THAT(query.expression.substr(range), StartsWith("[$__rate_interval]"));
      }
    }
  });
}

TEST(BoardsTest, VariablesThatAreUsedExistAndThoseThatExistAreUsed) {
  for (const Board& board : AllBoards()) {
    std::string all;
    for (const Section& section : board.sections) {
      for (const Panel& panel : section.panels) {
        for (const Query& query : panel.queries) all += query.expression + "\n";
      }
    }
    std::string rest = all;
    for (const Variable& variable : board.variables) {
      EXPECT_THAT(all, HasSubstr("=~\"$" + variable.name + "\"")) << board.uid;
      for (size_t at; (at = rest.find("$" + variable.name)) != std::string::npos;) {
        rest.erase(at, variable.name.size() + 1);
      }
    }
    for (size_t at; (at = rest.find("$__rate_interval")) != std::string::npos;) rest.erase(at, 16);
    EXPECT_THAT(rest, Not(HasSubstr("$"))) << board.uid;
  }
}

TEST(BoardJsonTest, PanelIdsAreUniqueAndNoPanelsOverlap) {
  for (const Board& board : AllBoards()) {
    const json::object object = BoardJson(board);
    std::set<int64_t> ids;
    std::set<std::pair<int64_t, int64_t>> cells;
    for (const json::value& panel : object.at("panels").as_array()) {
      EXPECT_TRUE(ids.insert(panel.at("id").as_int64()).second) << board.uid;
      const json::value& at = panel.at("gridPos");
      const int64_t x = at.at("x").as_int64(), y = at.at("y").as_int64();
      const int64_t width = at.at("w").as_int64(), height = at.at("h").as_int64();
      ASSERT_GT(width, 0);
      ASSERT_GT(height, 0);
      ASSERT_GE(x, 0);
      ASSERT_LE(x + width, 24);
      for (int64_t column = x; column < x + width; ++column) {
        for (int64_t line = y; line < y + height; ++line) {
          EXPECT_TRUE(cells.emplace(column, line).second)
              << board.uid << ": " << panel.at("title") << " overlaps";
        }
      }
    }
  }
}

TEST(BoardJsonTest, APanelThatDoesNotFitBeginsANewLine) {
  const Board board{.uid = "u",
                    .sections = {{.title = "s",
                                  .panels = {{.title = "a", .width = 16, .height = 4},
                                             {.title = "b", .width = 12, .height = 6},
                                             {.title = "c", .width = 12, .height = 2}}},
                                 {.title = "t", .panels = {}}}};
  const json::object object = BoardJson(board);
  const json::array& panels = object.at("panels").as_array();
  const auto x = [&](size_t i) { return panels[i].at("gridPos").at("x").as_int64(); };
  const auto y = [&](size_t i) { return panels[i].at("gridPos").at("y").as_int64(); };
  ASSERT_EQ(panels.size(), 5u);
  EXPECT_EQ(x(1), 0);
  EXPECT_EQ(y(1), 1);
  EXPECT_EQ(x(2), 0);
  EXPECT_EQ(y(2), 5);
  EXPECT_EQ(x(3), 12);
  EXPECT_EQ(y(3), 5);
  EXPECT_EQ(y(4), 11);  // below the tallest of the line
}

TEST(BoardJsonTest, PrettyJsonIsTheSameValue) {
  for (const Board& board : AllBoards()) {
    const json::object object = BoardJson(board);
    const json::value again = json::parse(PrettyJson(object));
    EXPECT_EQ(again.at("panels").as_array().size(), object.at("panels").as_array().size());
    EXPECT_EQ(PrettyJson(again), PrettyJson(object));
  }
  EXPECT_EQ(PrettyJson(json::parse(R"({"a":[],"b":{},"c":[1,{"d":0.8}],"e":"x\"y"})")),
            "{\n  \"a\": [],\n  \"b\": {},\n  \"c\": [\n    1,\n    {\n      \"d\": 0.8\n    }\n"
            "  ],\n  \"e\": \"x\\\"y\"\n}\n");
}

TEST(GeneratedFilesTest, TheCommittedOnesAreThoseOfThisCode) {
  std::vector<GeneratedFile> files;
  for (GeneratedFile& file : DashboardFiles()) files.push_back({"boards/" + file.name, file.text});
  for (GeneratedFile& file : AlertFiles(kDefaultRunbooksUrl)) files.push_back(file);
  for (const GeneratedFile& generated : files) {
    std::ifstream file(std::string(TIDEGATE_SOURCE_DIR) + "/helm/files/" + generated.name,
                       std::ios::binary);
    ASSERT_TRUE(file.is_open()) << generated.name;
    const std::string committed((std::istreambuf_iterator<char>(file)),
                                std::istreambuf_iterator<char>());
    EXPECT_TRUE(committed == generated.text)
        << "helm/files/" << generated.name
        << " is old: run `tidegate generate dashboards --out helm/files/boards` and "
           "`tidegate generate alerts --out helm/files`";
  }
}

}  // namespace
}  // namespace tidegate::generate
