#include <gtest/gtest.h>

#include <string>

#include "common/http/server.h"

namespace tidegate::http {
namespace {

TEST(TargetTest, PathIsTheTargetWithoutItsQuery) {
  EXPECT_EQ(Path("/cgi-bin/gettoken?corpid=a?b"), "/cgi-bin/gettoken");
  EXPECT_EQ(Path("/a%20b"), "/a%20b");
  EXPECT_EQ(Path("?x=1"), "");
  EXPECT_EQ(Path(""), "");
}

TEST(TargetTest, QueryValueIsDecodedAndItsPlusStays) {
  const struct {
    std::string name, target, key, expected;
  } kCases[] = {
      {"first", "/p?a=1&b=2", "a", "1"},
      {"last", "/p?a=1&b=2", "b", "2"},
      {"absent", "/p?a=1", "c", ""},
      {"no query", "/p", "a", ""},
      {"empty value", "/p?a=&b=2", "a", ""},
      {"without equals", "/p?a&b=2", "a", ""},
      {"first of two", "/p?a=1&a=2", "a", "1"},
      {"part of a name", "/p?aa=1&a=2", "a", "2"},
      {"base64", "/p?e=lyg6%2FXQ%2ByN%3d%3D", "e", "lyg6/XQ+yN=="},
      {"plus", "/p?e=a+b", "e", "a+b"},
      {"equals in the value", "/p?e=ab==&f=1", "e", "ab=="},
      {"escaped ampersand", "/p?e=a%26b", "e", "a&b"},
      {"not hexadecimal", "/p?e=%zz", "e", "%zz"},
      {"cut escape", "/p?e=%4", "e", "%4"},
      {"lonely percent", "/p?e=%", "e", "%"},
      {"escape at the end", "/p?e=%41", "e", "A"},
      {"escaped name", "/p?%65=1", "e", "1"},
      {"fragment", "/p?e=1#f", "e", "1"},
      {"zero byte", "/p?e=a%00b", "e", std::string("a\0b", 3)},
  };
  for (const auto& c : kCases) EXPECT_EQ(QueryValue(c.target, c.key), c.expected) << c.name;
}

}  // namespace
}  // namespace tidegate::http
