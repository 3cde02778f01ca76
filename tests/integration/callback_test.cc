// WeCom's deliveries to the callback address, written here as WeCom writes them. Each refusal has
// one thing wrong and all else right.
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "common/wecom/callback_crypto.h"
#include "tests/integration/product.h"

namespace tidegate {
namespace {

// All that a delivery is made of.
struct Delivery {
  std::string text;
  std::string token = kToken;
  std::string receive_id = kCorp;
  std::string path = absl::StrCat("/callback/", kCorp, "/", kAgent);
  int64_t timestamp = absl::ToUnixSeconds(absl::Now());
  std::string nonce = "9081726354";
  std::string random = "0123456789abcdef";
};

std::string AddText(const std::string& customer, const std::string& member) {
  return absl::StrCat("<xml><ToUserName><![CDATA[", kCorp,
                      "]]></ToUserName><FromUserName><![CDATA[sys]]></FromUserName><CreateTime>",
                      absl::ToUnixSeconds(absl::Now()),
                      "</CreateTime><MsgType><![CDATA[event]]></MsgType>"
                      "<Event><![CDATA[change_external_contact]]></Event>"
                      "<ChangeType><![CDATA[add_external_contact]]></ChangeType>"
                      "<UserID><![CDATA[",
                      member, "]]></UserID><ExternalUserID><![CDATA[", customer,
                      "]]></ExternalUserID><State><![CDATA[expo]]></State>"
                      "<WelcomeCode><![CDATA[code-",
                      customer, "-", member, "]]></WelcomeCode></xml>");
}

class CallbackTest : public ProductTest {
 protected:
  // Status and body; `spoil` may change target and body just before they are sent.
  std::pair<int, std::string> Deliver(
      const Delivery& delivery,
      const std::function<void(std::string* target, std::string* body)>& spoil = nullptr) {
    const auto crypto = wecom::CallbackCrypto::Create(delivery.token, kAesKey, delivery.receive_id);
    EXPECT_TRUE(crypto.ok()) << crypto.status();
    const std::string cipher = crypto->Encrypt(delivery.text, delivery.random);
    const std::string timestamp = absl::StrCat(delivery.timestamp);
    std::string target = absl::StrCat(
        delivery.path, "?msg_signature=", crypto->Sign(timestamp, delivery.nonce, cipher),
        "&timestamp=", timestamp, "&nonce=", delivery.nonce);
    std::string body =
        absl::StrCat("<xml><ToUserName><![CDATA[", kCorp, "]]></ToUserName><AgentID>", kAgent,
                     "</AgentID><Encrypt><![CDATA[", cipher, "]]></Encrypt></xml>");
    if (spoil) spoil(&target, &body);
    const http::HttpResult answer = Http(callback_address_, "POST", target, body);
    EXPECT_TRUE(answer.status.ok()) << answer.status;
    return {answer.http_status, answer.body};
  }
};

TEST_F(CallbackTest, AppliesATextOnceHoweverOftenItIsDelivered) {
  tagging::v1::PutChannelRequest put;
  put.set_corp(kCorp);
  put.set_request_id(NewRequestId());
  put.mutable_channel()->set_channel_id("expo");
  put.mutable_channel()->set_state("expo");
  put.mutable_channel()->add_tags("vip");
  put.mutable_channel()->set_welcome_text("Welcome!");
  tagging::v1::PutChannelResponse stored;
  ASSERT_TRUE(Call(*tagging_, &tagging::v1::TaggingService::Stub::PutChannel, put, &stored).ok());

  const std::pair<int, std::string> taken{200, ""};
  const std::string text = AddText("wm9", "m1");
  EXPECT_EQ(Deliver({.text = text}), taken);
  EXPECT_EQ(Count("all"), 1);
  EXPECT_EQ(Count("tag(\"vip\")"), 1);
  EXPECT_EQ(Deliver({.text = text, .nonce = "77", .random = "fedcba9876543210"}), taken);
  EXPECT_EQ(Deliver({.text = text, .nonce = "78", .random = "abcdefabcdefabcd"}), taken);
  // The same customer's events stay in order: once this one's welcome is asked for, a second one
  // for the repeats would have been asked for too.
  EXPECT_EQ(Deliver({.text = AddText("wm9", "m2")}), taken);
  dispatch::v1::GetWriteBackResponse progress;
  Eventually("the second member's welcome and tag", [&] {
    dispatch::v1::GetWriteBackRequest ask;
    ask.set_corp(kCorp);
    progress.Clear();
    EXPECT_TRUE(
        Call(*dispatch_, &dispatch::v1::DispatchService::Stub::GetWriteBack, ask, &progress).ok());
    return progress.welcomes_requested() >= 2 && progress.tags_wanted() >= 2;
  });
  EXPECT_EQ(progress.welcomes_requested(), 2);
  EXPECT_EQ(progress.tags_wanted(), 2);
  EXPECT_EQ(Count("all"), 1);
}

TEST_F(CallbackTest, RefusesADeliveryWithOneThingWrongAndAllElseRight) {
  const int64_t now = absl::ToUnixSeconds(absl::Now());
  const std::string text = AddText("wm9", "m1");
  using Spoil = std::function<void(std::string*, std::string*)>;
  const Spoil nothing = [](std::string*, std::string*) {};
  const struct {
    const char* what;
    Delivery delivery;
    Spoil spoil;
    int status;
  } rows[] = {
      {"a day old, signed as such", {.text = text, .timestamp = now - 86'400}, nothing, 403},
      {"a day ahead, signed as such", {.text = text, .timestamp = now + 86'400}, nothing, 403},
      {"another token", {.text = text, .token = "another"}, nothing, 403},
      {"another receiver", {.text = text, .receive_id = "wwother"}, nothing, 403},
      {"an unknown app",
       {.text = text, .path = absl::StrCat("/callback/", kCorp, "/1000003")},
       nothing,
       403},
      {"an unknown corp",
       {.text = text, .path = absl::StrCat("/callback/wwother/", kAgent)},
       nothing,
       403},
      {"another nonce than signed",
       {.text = text},
       [](std::string* target, std::string*) { target->append("1"); },
       403},
      {"no parameters",
       {.text = text},
       [](std::string* target, std::string*) { target->resize(target->find('?')); },
       403},
      {"XML that ends early",
       {.text = text},
       [](std::string*, std::string* body) { body->resize(body->size() - 6); },
       403},
      {"another root element",
       {.text = text},
       [](std::string*, std::string* body) {
         absl::StrReplaceAll({{"<xml>", "<html>"}, {"</xml>", "</html>"}}, body);
       },
       403},
      {"nothing encrypted",
       {.text = text},
       [](std::string*, std::string* body) {
         absl::StrReplaceAll({{"Encrypt>", "Plain>"}}, body);
       },
       403},
      {"no body", {.text = text}, [](std::string*, std::string* body) { body->clear(); }, 403},
      {"300 KiB",
       {.text = text},
       [](std::string*, std::string* body) { body->append(300 << 10, ' '); },
       413},
  };
  for (const auto& row : rows) {
    const auto [status, body] = Deliver(row.delivery, row.spoil);
    EXPECT_EQ(status, row.status) << row.what;
    if (row.status == 403) {
      EXPECT_EQ(body, "refused") << row.what;
    }
  }
  EXPECT_EQ(Count("all"), 0);
  EXPECT_EQ(Deliver({.text = text}).first, 200);
  EXPECT_EQ(Count("all"), 1);
}

TEST_F(CallbackTest, TakesWhatItDoesNotInterpretSoThatWecomDoesNotRepeatIt) {
  for (const char* text : {"<xml><Event>something_new</Event></xml>", "not XML at all"}) {
    EXPECT_EQ(Deliver({.text = text}).first, 200) << text;
  }
  EXPECT_EQ(Count("all"), 0);
}

}  // namespace
}  // namespace tidegate
