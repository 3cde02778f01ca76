#include "common/wecom/callback_xml.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace tidegate::wecom {
namespace {

// Vector B of the callback document.
constexpr char kEvent[] =
    "<xml><ToUserName><![CDATA[wwdemo0123456789ab]]></ToUserName>"
    "<FromUserName><![CDATA[sys]]></FromUserName><CreateTime>1767225600</CreateTime>"
    "<MsgType><![CDATA[event]]></MsgType><Event><![CDATA[change_external_contact]]></Event>"
    "<ChangeType><![CDATA[add_external_contact]]></ChangeType><UserID><![CDATA[amy]]></UserID>"
    "<ExternalUserID><![CDATA[wmDEMO0001]]></ExternalUserID><State><![CDATA[ch_01]]></State>"
    "<WelcomeCode><![CDATA[WC_DEMO_1]]></WelcomeCode></xml>";

std::string Repeated(const std::string& text, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += text;
  return out;
}

std::string WithCreateTime(const std::string& text) {
  return absl::StrCat("<xml>", text, "<Event>e</Event></xml>");
}

TEST(CallbackXmlTest, ReadsAnEventOfCdata) {
  const auto event = ParseEvent(kEvent);
  ASSERT_TRUE(event.ok()) << event.status();
  EXPECT_EQ(event->to_user, "wwdemo0123456789ab");
  EXPECT_EQ(event->from_user, "sys");
  EXPECT_EQ(event->create_time_s, 1767225600);
  EXPECT_EQ(event->msg_type, "event");
  EXPECT_EQ(event->event, "change_external_contact");
  EXPECT_EQ(event->change_type, "add_external_contact");
  EXPECT_EQ(event->user_id, "amy");
  EXPECT_EQ(event->external_user_id, "wmDEMO0001");
  EXPECT_EQ(event->state, "ch_01");
  EXPECT_EQ(event->welcome_code, "WC_DEMO_1");
}

TEST(CallbackXmlTest, ReadsPlainTextWithEntitiesLikeCdata) {
  const auto event = ParseEvent(
      "<xml>\n  <CreateTime>7</CreateTime>\n  <State>a&amp;b&lt;</State>"
      "<UserID>amy</UserID></xml>");
  ASSERT_TRUE(event.ok()) << event.status();
  EXPECT_EQ(event->state, "a&b<");
  EXPECT_EQ(event->user_id, "amy");
}

TEST(CallbackXmlTest, IgnoresUnknownElementsAndLeavesMissingOnesEmpty) {
  const auto event = ParseEvent(
      "<?xml version=\"1.0\"?><!-- c --><xml><Strange><UserID>inner</UserID></Strange>"
      "<CreateTime>7</CreateTime><Event>subscribe</Event></xml>");
  ASSERT_TRUE(event.ok()) << event.status();
  EXPECT_EQ(event->event, "subscribe");
  EXPECT_EQ(event->user_id, "") << "a nested element is not the event's";
  EXPECT_EQ(event->welcome_code, "");
}

TEST(CallbackXmlTest, ReadsAnEnvelope) {
  const auto envelope = ParseEnvelope(
      "<xml><ToUserName><![CDATA[ww1]]></ToUserName><AgentID><![CDATA[1000002]]></AgentID>"
      "<Encrypt><![CDATA[abc+/==]]></Encrypt></xml>");
  ASSERT_TRUE(envelope.ok()) << envelope.status();
  EXPECT_EQ(envelope->to_user, "ww1");
  EXPECT_EQ(envelope->agent_id, "1000002");
  EXPECT_EQ(envelope->encrypt, "abc+/==");
}

TEST(CallbackXmlTest, TakesAnEnvelopeWithoutAgentButNotWithoutCipherText) {
  EXPECT_TRUE(ParseEnvelope("<xml><Encrypt>abc</Encrypt></xml>").ok());
  for (const char* xml : {"<xml><ToUserName>ww1</ToUserName></xml>", "<xml><Encrypt/></xml>"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseEnvelope(xml).status())) << xml;
  }
}

TEST(CallbackXmlTest, RefusesBadDocuments) {
  std::string laughs = "<?xml version=\"1.0\"?><!DOCTYPE lolz [<!ENTITY lol \"lol\">";
  for (int i = 1; i < 10; ++i) {
    absl::StrAppend(&laughs, "<!ENTITY lol", i, " \"",
                    Repeated(absl::StrCat("&lol", i == 1 ? "" : absl::StrCat(i - 1), ";"), 10),
                    "\">");
  }
  laughs += "]><xml><CreateTime>7</CreateTime><Encrypt>&lol9;</Encrypt></xml>";
  const std::string content = "<CreateTime>7</CreateTime><Encrypt>e</Encrypt>";

  struct Case {
    const char* name;
    std::string xml;
    const char* text;  // in the message
  };
  const std::vector<Case> cases = {
      {"empty", "", "XML"},
      {"no XML", "hello", "XML"},
      {"cut short", "<xml><CreateTime>7</CreateTime><Encrypt>e</Enc", "XML"},
      {"tags crossed", "<xml><CreateTime>7</xml></CreateTime>", "XML"},
      {"document type", "<!DOCTYPE xml><xml>" + content + "</xml>", "document type"},
      {"document type with an external entity",
       "<!DOCTYPE xml [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><xml>" + content + "</xml>",
       "document type"},
      {"billion laughs", laughs, "document type"},
      {"too many nodes", "<xml>" + content + Repeated("<a>b</a>", 600) + "</xml>",
       "too many nodes"},
      {"too deep by a little",
       "<xml>" + content + Repeated("<a>", 20) + Repeated("</a>", 20) + "</xml>",
       "nested too deep"},
      {"too deep by far",
       "<xml>" + content + Repeated("<a>", 30'000) + Repeated("</a>", 30'000) + "</xml>",
       "nested too deep"},
      {"100,000 levels", Repeated("<a>", 100'000) + Repeated("</a>", 100'000), "too large"},
      {"too deep behind a comment that seems to close it",
       "<xml><!--" + Repeated("</", 40'000) + "-->" + content + Repeated("<a>", 20'000) +
           Repeated("</a>", 20'000) + "</xml>",
       "XML"},
      {"too large", "<xml>" + content + "<a>" + std::string(300'000, 'x') + "</a></xml>",
       "too large"},
      {"another root", "<event>" + content + "</event>", "root"},
      {"root in other capitals", "<XML>" + content + "</XML>", "root"},
  };
  for (const Case& bad : cases) {
    const auto event = ParseEvent(bad.xml);
    EXPECT_TRUE(absl::IsInvalidArgument(event.status())) << bad.name << ": " << event.status();
    EXPECT_TRUE(absl::StrContains(event.status().message(), bad.text))
        << bad.name << ": " << event.status();
    const auto envelope = ParseEnvelope(bad.xml);
    EXPECT_EQ(envelope.status(), event.status()) << bad.name;
  }
}

TEST(CallbackXmlTest, TakesWhatIsJustWithinTheLimits) {
  EXPECT_TRUE(
      ParseEvent("<xml><CreateTime>7</CreateTime>" + Repeated("<a>b</a>", 250) + "</xml>").ok());
  EXPECT_TRUE(ParseEvent("<xml><CreateTime>7</CreateTime>" + Repeated("<a>", 14) +
                         Repeated("</a>", 14) + "</xml>")
                  .ok());
}

TEST(CallbackXmlTest, RefusesACreateTimeThatIsNoTime) {
  for (const char* text :
       {"", "<CreateTime/>", "<CreateTime></CreateTime>", "<CreateTime>soon</CreateTime>",
        "<CreateTime>7x</CreateTime>", "<CreateTime>7.5</CreateTime>",
        "<CreateTime>-1</CreateTime>", "<CreateTime>99999999999999999999</CreateTime>",
        // Beyond what nanoseconds hold.
        "<CreateTime>9223372036854775807</CreateTime>", "<CreateTime>9300000000</CreateTime>"}) {
    const auto event = ParseEvent(WithCreateTime(text));
    EXPECT_TRUE(absl::IsInvalidArgument(event.status())) << text << ": " << event.status();
    EXPECT_TRUE(absl::StrContains(event.status().message(), "CreateTime")) << event.status();
  }
  EXPECT_TRUE(ParseEvent(WithCreateTime("<CreateTime>9000000000</CreateTime>")).ok());
}

}  // namespace
}  // namespace tidegate::wecom
