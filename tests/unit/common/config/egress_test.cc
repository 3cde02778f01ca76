#include "common/config/egress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace tidegate::config {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(EgressTest, ReadsEveryKindOfEntry) {
  const struct {
    std::string entry, source, proxy, credentials;
    int64_t share;
    std::string name;
  } kCases[] = {
      {"any", "", "", "", 0, "any"},
      {"any*0.25", "", "", "", 250'000, "any"},
      {"10.0.0.5", "10.0.0.5", "", "", 0, "10.0.0.5"},
      {"10.0.0.5*1", "10.0.0.5", "", "", 1'000'000, "10.0.0.5"},
      {"FE80::1*0.000001", "fe80::1", "", "", 1, "fe80::1"},
      {"0:0:0:0:0:0:0:1", "::1", "", "", 0, "::1"},
      {"2001:0DB8::00ff", "2001:db8::ff", "", "", 0, "2001:db8::ff"},
      {"::ffff:10.0.0.5", "10.0.0.5", "", "", 0, "10.0.0.5"},
      {"::FFFF:a00:5*0.5", "10.0.0.5", "", "", 500'000, "10.0.0.5"},
      {"http://proxy:3128", "", "proxy:3128", "", 0, "http://proxy:3128"},
      {"http://proxy:03128", "", "proxy:3128", "", 0, "http://proxy:3128"},
      {"http://[0::0001]:3128", "", "[::1]:3128", "", 0, "http://[::1]:3128"},
      {"http://[::ffff:127.0.0.1]:3128", "", "127.0.0.1:3128", "", 0, "http://127.0.0.1:3128"},
      {"http://Proxy:3128/", "", "proxy:3128", "", 0, "http://proxy:3128"},
      {"http://[::1]:3128*0.5", "", "[::1]:3128", "", 500'000, "http://[::1]:3128"},
      {"http://li:a%40b%2Cc@proxy:3128", "", "proxy:3128", "li:a@b,c", 0, "http://proxy:3128"},
      // No share: the star is of the password.
      {"http://li:a*0.5@proxy:3128", "", "proxy:3128", "li:a*0.5", 0, "http://proxy:3128"},
      {"http://li:@proxy:3128*0.5", "", "proxy:3128", "li:", 500'000, "http://proxy:3128"},
  };
  for (const auto& c : kCases) {
    const auto egress = ParseEgress(c.entry);
    ASSERT_TRUE(egress.has_value()) << c.entry;
    EXPECT_EQ(egress->source, c.source) << c.entry;
    EXPECT_EQ(egress->proxy, c.proxy) << c.entry;
    EXPECT_EQ(egress->credentials, c.credentials) << c.entry;
    EXPECT_EQ(egress->share, c.share) << c.entry;
    EXPECT_EQ(egress->Name(), c.name) << c.entry;
  }
}

TEST(EgressTest, RefusesWhatItCannotKeepTo) {
  for (const char* entry : {"",
                            "*0.5",
                            "10.0.0.5:1",
                            "10.0.0.5*0",
                            "10.0.0.5*0.0",
                            "10.0.0.5*1.5",
                            "10.0.0.5*.5",
                            "10.0.0.5*0.0000001",
                            "any*",
                            "any*50%",
                            "https://proxy:3128",
                            "proxy:3128",
                            "http://proxy",
                            "http://proxy:0",
                            "http://proxy:3128/path",
                            "http://li@proxy:3128",
                            "http://***@proxy:3128",
                            "http://:p@proxy:3128",
                            "http://li:a%4@proxy:3128",
                            "http://li:a%0a@proxy:3128",
                            "http://l%3Ai:a@proxy:3128",
                            "http://li:a/b@proxy:3128"}) {
    EXPECT_FALSE(ParseEgress(entry).has_value()) << entry;
  }
}

TEST(EgressTest, ShowsNoPassword) {
  EXPECT_EQ(ShownEgress("http://li:secret@proxy:3128*0.5"), "http://***@proxy:3128*0.5");
  EXPECT_EQ(ShownEgress("http://li:sec@ret@proxy"), "http://***@proxy");
  EXPECT_EQ(ShownEgress("li:secret@proxy"), "***@proxy");
  EXPECT_EQ(ShownEgress("10.0.0.5*0.5"), "10.0.0.5*0.5");
}

TEST(EgressTest, LanesOfOneAddressHaveAtMostAllOfIt) {
  using List = std::vector<std::string>;
  EXPECT_THAT(*SharesOf({}, 1), ElementsAre(1'000'000));
  EXPECT_THAT(*SharesOf({}, 4), ElementsAre(250'000, 250'000, 250'000, 250'000));
  EXPECT_THAT(*SharesOf({}, 3), ElementsAre(333'333, 333'333, 333'333));
  EXPECT_THAT(*SharesOf(List{"any", "10.0.0.5", "any"}, 3),
              ElementsAre(500'000, 1'000'000, 500'000));
  EXPECT_THAT(*SharesOf(List{"any*0.7", "any", "any"}, 3), ElementsAre(700'000, 150'000, 150'000));
  EXPECT_THAT(*SharesOf(List{"10.0.0.5*0.9", "10.0.0.6*0.2", "10.0.0.5*0.1"}, 3),
              ElementsAre(900'000, 200'000, 100'000));
  for (const auto& [egress, named] :
       {std::pair{List{"10.0.0.5", "any", "10.0.0.5"}, "10.0.0.5 to the lanes 0, 2"},
        {List{"any*0.5", "any*0.500001"}, "any to the lanes 0, 1"},
        {List{"any*1", "any"}, "any to the lanes 0, 1"},
        {List{"10.0.0.5*0.5", "10.0.0.5"}, "10.0.0.5 to the lanes 0, 1"},
        {List{"FE80::1", "fe80::1"}, "fe80::1 to the lanes 0, 1"},
        {List{"fe80::1", "fe80:0::0001"}, "fe80::1 to the lanes 0, 1"},
        {List{"::ffff:10.0.0.5", "10.0.0.5"}, "10.0.0.5 to the lanes 0, 1"},
        {List{"http://proxy:3128", "http://proxy:03128"}, "http://proxy:3128 to the lanes 0, 1"},
        // Other users of one proxy have one address.
        {List{"http://li:a@proxy:3128", "http://wu:b@PROXY:3128"},
         "http://proxy:3128 to the lanes 0, 1"}}) {
    const auto shares = SharesOf(egress, static_cast<uint32_t>(egress.size()));
    ASSERT_FALSE(shares.ok()) << named;
    EXPECT_EQ(shares.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(shares.status().message(), AllOf(HasSubstr(named), HasSubstr("write shares")));
  }
}

}  // namespace
}  // namespace tidegate::config
