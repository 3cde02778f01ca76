#include "services/tidegate/client/csv.h"

#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <vector>

#include "services/tidegate/client/csv_header.h"

namespace tidegate::client {
namespace {

// Every record as "a|b"; a bad one as "!message".
std::vector<std::string> ReadAll(const std::string& text) {
  std::istringstream in(text);
  CsvReader reader(&in);
  std::vector<std::string> records;
  std::vector<std::string> fields;
  while (true) {
    const absl::StatusOr<bool> more = reader.Next(&fields);
    if (!more.ok()) {
      records.push_back("!" + std::string(more.status().message()));
      continue;
    }
    if (!*more) return records;
    std::string joined;
    for (const std::string& field : fields) joined += (joined.empty() ? "" : "|") + field;
    records.push_back(joined);
  }
}

TEST(CsvReaderTest, ReadsPlainQuotedAndDoubledQuotes) {
  EXPECT_EQ(ReadAll("a,b\r\n\"x,y\",\"say \"\"hi\"\"\"\nlast,row"),
            (std::vector<std::string>{"a|b", "x,y|say \"hi\"", "last|row"}));
}

TEST(CsvReaderTest, DropsByteOrderMarkOnlyAtTheStart) {
  EXPECT_EQ(ReadAll("\xEF\xBB\xBF"
                    "a,b\nc,d\n"),
            (std::vector<std::string>{"a|b", "c|d"}));
  EXPECT_EQ(ReadAll("a\n\xEF\xBB\xBF"
                    "b\n"),
            (std::vector<std::string>{"a",
                                      "\xEF\xBB\xBF"
                                      "b"}));
}

TEST(CsvReaderTest, KeepsLineBreaksInsideQuotes) {
  EXPECT_EQ(ReadAll("\"one\r\ntwo\",x\n"), (std::vector<std::string>{"one\ntwo|x"}));
}

TEST(CsvReaderTest, PassesOverEmptyLines) {
  EXPECT_EQ(ReadAll("a\n\n\r\nb\n\n"), (std::vector<std::string>{"a", "b"}));
}

TEST(CsvReaderTest, UnclosedQuoteCostsOnlyItsOwnRow) {
  EXPECT_EQ(ReadAll("a,\"open\nb,1\nc,2\n"),
            (std::vector<std::string>{"!a quote is not closed before the end of the file", "b|1",
                                      "c|2"}));
}

TEST(CsvReaderTest, OverlongLineCostsOnlyItself) {
  const std::string at_limit(kLineBytesMax, 'x');
  EXPECT_EQ(ReadAll(at_limit + "\r\nb\n"), (std::vector<std::string>{at_limit, "b"}));
  EXPECT_EQ(ReadAll(at_limit + "x\nb\n"),
            (std::vector<std::string>{"!the line is longer than 65536 bytes", "b"}));
}

TEST(CsvReaderTest, OverlongQuotedRowGivesItsLinesBack) {
  const std::string half(kLineBytesMax / 2, 'x');
  const std::vector<std::string> records = ReadAll("\"" + half + "\n" + half + "\nb,1\n");
  ASSERT_EQ(records.size(), 3u);
  EXPECT_EQ(records[0], "!the row (a quote may not be closed) is longer than 65536 bytes");
  EXPECT_EQ(records[1], half);
  EXPECT_EQ(records[2], "b|1");
}

TEST(CsvReaderTest, RefusesMisplacedQuotesAndBrokenUtf8) {
  EXPECT_EQ(
      ReadAll("a\"b,c\n\"a\"b\n\xFF,x\nok\n"),
      (std::vector<std::string>{"!column 1: a quote inside a field that does not begin with one",
                                "!column 1: text after a closing quote", "!not UTF-8 text", "ok"}));
}

TEST(IsUtf8Test, FollowsTheStandard) {
  EXPECT_TRUE(IsUtf8("a\xC3\xA9\xE4\xBD\xA0\xF0\x9F\x98\x80"));
  EXPECT_FALSE(IsUtf8("\xC0\x80"));          // overlong
  EXPECT_FALSE(IsUtf8("\xED\xA0\x80"));      // surrogate
  EXPECT_FALSE(IsUtf8("\xF4\x90\x80\x80"));  // above U+10FFFF
  EXPECT_FALSE(IsUtf8("\xE4\xBD"));          // cut
}

absl::StatusOr<CsvHeader> ReadHeader(const std::string& text) {
  std::istringstream in(text);
  CsvReader reader(&in);
  return CsvHeader::Read(&reader, {"external_userid", "owner"});
}

TEST(CsvHeaderTest, FindsColumnsInAnyOrder) {
  const absl::StatusOr<CsvHeader> header = ReadHeader("owner,external_userid\n");
  ASSERT_TRUE(header.ok());
  EXPECT_EQ(header->Field({"m1", "wm1"}, 0), "wm1");
  EXPECT_EQ(header->CheckWidth({"m1"}), "1 column, expected 2");
}

TEST(CsvHeaderTest, NamesMissingUnknownAndRepeatedColumns) {
  EXPECT_EQ(ReadHeader("").status().message(), "the file is empty");
  EXPECT_EQ(ReadHeader("external_userid\n").status().message(),
            "missing column owner; the header must be external_userid,owner");
  EXPECT_EQ(ReadHeader("external_userid,owner,name,owner\n").status().message(),
            "unknown column \"name\", \"owner\"; the header must be external_userid,owner");
}

TEST(OpenTextFileTest, RefusesWhatIsNoFile) {
  EXPECT_EQ(OpenTextFile("/no/such/file").status().message(),
            "/no/such/file: No such file or directory");
  EXPECT_EQ(OpenTextFile("/").status().message(), "/ is a directory; name a file");
  EXPECT_EQ(OpenTextFile("/dev/null").status().message(), "/dev/null is not a regular file");
}

}  // namespace
}  // namespace tidegate::client
