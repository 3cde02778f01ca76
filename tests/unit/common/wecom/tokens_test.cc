#include "common/wecom/tokens.h"

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace tidegate::wecom {
namespace {

class FakeClock : public Clock {
 public:
  Now Read() const override { return {.boot_ns = boot_ns_}; }
  void Pass(int64_t ns) { boot_ns_ += ns; }
  void PassSeconds(int64_t seconds) { Pass(seconds * kNanosPerSecond); }

 private:
  int64_t boot_ns_ = 1000 * kNanosPerSecond;
};

// What one Get was told.
struct Told {
  int times = 0;
  absl::Status status;
  std::string token;
  int errcode = 0;
};

class TokenCacheTest : public testing::Test {
 protected:
  Told* Get(const AppKey& app) {
    told_.push_back(std::make_unique<Told>());
    Told* told = told_.back().get();
    cache_.Get(app, [told](absl::StatusOr<std::string> token, int errcode) {
      ++told->times;
      told->status = token.status();
      if (token.ok()) told->token = *token;
      told->errcode = errcode;
    });
    return told;
  }
  // Ends the oldest fetch under way.
  void Answer(TokenAnswer answer) {
    ASSERT_FALSE(under_way_.empty());
    auto done = std::move(under_way_.front().second);
    under_way_.erase(under_way_.begin());
    done(std::move(answer));
  }
  static TokenAnswer Good(const std::string& token, int64_t expires_in_s = 7200) {
    return {.token = token, .expires_in_s = expires_in_s};
  }
  static TokenAnswer Bad(int errcode) {
    return {.status = absl::UnavailableError("gettoken failed"), .errcode = errcode};
  }

  const AppKey app_{.corp = "ww1", .agent_id = "1000002"};
  FakeClock clock_;
  std::vector<std::pair<AppKey, std::function<void(TokenAnswer)>>> under_way_;
  int fetches_ = 0;
  TokenCache cache_{[this](const AppKey& app, std::function<void(TokenAnswer)> done) {
                      ++fetches_;
                      under_way_.emplace_back(app, std::move(done));
                    },
                    &clock_};
  std::vector<std::unique_ptr<Told>> told_;
};

TEST_F(TokenCacheTest, FetchesOnceForManyWhoAsk) {
  for (int i = 0; i < 100; ++i) Get(app_);
  EXPECT_EQ(fetches_, 1);
  for (const auto& told : told_) EXPECT_EQ(told->times, 0);
  Answer(Good("T1"));
  for (const auto& told : told_) {
    EXPECT_EQ(told->times, 1);
    EXPECT_EQ(told->token, "T1");
    EXPECT_EQ(told->errcode, 0);
  }
  EXPECT_EQ(Get(app_)->token, "T1") << "from the cache, at once";
  EXPECT_EQ(fetches_, 1);
}

TEST_F(TokenCacheTest, FetchesOnceForManyThreads) {
  std::atomic<int> told = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 100; ++k) {
        cache_.Get(app_, [&](absl::StatusOr<std::string> token, int) { told += token.ok(); });
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(fetches_, 1);
  Answer(Good("T1"));
  EXPECT_EQ(told, 800);
}

TEST_F(TokenCacheTest, KeepsATokenPerApp) {
  Told* first = Get(app_);
  Told* second = Get({.corp = "ww1", .agent_id = "1000003"});
  Told* third = Get({.corp = "ww2", .agent_id = "1000002"});
  ASSERT_EQ(fetches_, 3);
  EXPECT_EQ(under_way_[1].first.agent_id, "1000003");
  Answer(Good("T1"));
  Answer(Good("T2"));
  Answer(Good("T3"));
  EXPECT_EQ(first->token, "T1");
  EXPECT_EQ(second->token, "T2");
  EXPECT_EQ(third->token, "T3");
}

TEST_F(TokenCacheTest, WorksWithAFetchThatAnswersAtOnce) {
  int fetches = 0;
  TokenCache cache(
      [&](const AppKey&, const std::function<void(TokenAnswer)>& done) {
        ++fetches;
        done(Good("T1"));
      },
      &clock_);
  std::string got;
  cache.Get(app_, [&](absl::StatusOr<std::string> token, int) { got = token.value_or("none"); });
  EXPECT_EQ(got, "T1");
  EXPECT_EQ(fetches, 1);
}

TEST_F(TokenCacheTest, FetchesAnewSomewhatBeforeTheTokenExpires) {
  struct Case {
    int64_t expires_in_s;
    int64_t used_for_s;  // 200 s less, but at most a tenth less
  };
  int64_t number = 0;
  for (const Case& life : {Case{7200, 7000}, Case{1000, 900}, Case{20, 18}}) {
    const AppKey app{.corp = "ww1", .agent_id = std::to_string(++number)};
    Get(app);
    Answer(Good("old", life.expires_in_s));
    const int fetched = fetches_;
    clock_.Pass(life.used_for_s * kNanosPerSecond - 1);
    EXPECT_EQ(Get(app)->token, "old") << life.expires_in_s;
    EXPECT_EQ(fetches_, fetched) << life.expires_in_s;
    clock_.Pass(1);
    Told* told = Get(app);
    EXPECT_EQ(fetches_, fetched + 1) << life.expires_in_s;
    Answer(Good("new"));
    EXPECT_EQ(told->token, "new") << life.expires_in_s;
  }
}

TEST_F(TokenCacheTest, BelievesNoLifeBeyondADayNorBelowNothing) {
  Get(app_);
  Answer(Good("endless", INT64_MAX));
  clock_.PassSeconds(24 * 3600 - 201);
  EXPECT_EQ(Get(app_)->token, "endless");
  clock_.PassSeconds(1);
  Told* told = Get(app_);
  EXPECT_EQ(fetches_, 2);
  Answer(Good("dead already", INT64_MIN));
  EXPECT_EQ(told->token, "dead already");
  clock_.PassSeconds(1);
  Get(app_);
  EXPECT_EQ(fetches_, 3);
}

TEST_F(TokenCacheTest, ForgetsATokenThatWasRefused) {
  Get(app_);
  Answer(Good("T1"));
  clock_.PassSeconds(10);
  cache_.Invalidate(app_, "T1");
  Told* told = Get(app_);
  EXPECT_EQ(fetches_, 2);
  Answer(Good("T2"));
  EXPECT_EQ(told->token, "T2");
}

TEST_F(TokenCacheTest, KeepsTheNewerTokenWhenAnOldOneIsRefusedLate) {
  Get(app_);
  Answer(Good("T1"));
  clock_.PassSeconds(10);
  cache_.Invalidate(app_, "T1");
  Get(app_);
  Answer(Good("T2"));
  cache_.Invalidate(app_, "T1");
  EXPECT_EQ(Get(app_)->token, "T2");
  EXPECT_EQ(fetches_, 2);
}

TEST_F(TokenCacheTest, DoesNotFetchInALoopWhatIsRefusedAtOnce) {
  Get(app_);
  Answer(Good("T1"));
  cache_.Invalidate(app_, "T1");
  Told* told = Get(app_);
  EXPECT_EQ(told->times, 1);
  EXPECT_TRUE(absl::IsUnavailable(told->status)) << told->status;
  EXPECT_EQ(fetches_, 1);
  clock_.PassSeconds(1);
  Get(app_);
  EXPECT_EQ(fetches_, 2);
}

TEST_F(TokenCacheTest, WaitsAfterAFailureAsItsKindAsks) {
  struct Case {
    int errcode;
    int64_t wait_s;
  };
  for (const Case& failure : {Case{40001, 60}, Case{40013, 60}, Case{40091, 60}, Case{45009, 60},
                              Case{45031, 60}, Case{-1, 1}, Case{0, 1}, Case{50001, 1}}) {
    const AppKey app{.corp = "ww1", .agent_id = std::to_string(failure.errcode)};
    Told* first = Get(app);
    Answer(Bad(failure.errcode));
    EXPECT_EQ(first->times, 1);
    EXPECT_FALSE(first->status.ok());
    EXPECT_EQ(first->errcode, failure.errcode);

    const int fetched = fetches_;
    clock_.Pass(failure.wait_s * kNanosPerSecond - 1);
    Told* early = Get(app);
    EXPECT_EQ(early->times, 1) << "errcode " << failure.errcode;
    EXPECT_EQ(early->status, first->status);
    EXPECT_EQ(early->errcode, failure.errcode);
    EXPECT_EQ(fetches_, fetched) << "errcode " << failure.errcode;

    clock_.Pass(1);
    Told* late = Get(app);
    EXPECT_EQ(fetches_, fetched + 1) << "errcode " << failure.errcode;
    Answer(Good("T1"));
    EXPECT_EQ(late->token, "T1") << "errcode " << failure.errcode;
  }
}

TEST_F(TokenCacheTest, TellsAllWhoWaitOfAFailure) {
  for (int i = 0; i < 3; ++i) Get(app_);
  Answer(Bad(40001));
  for (const auto& told : told_) {
    EXPECT_EQ(told->times, 1);
    EXPECT_EQ(told->errcode, 40001);
    EXPECT_FALSE(told->status.ok());
  }
}

TEST_F(TokenCacheTest, RefusesWhenTenThousandWait) {
  for (int i = 0; i < 10'000; ++i) Get(app_);
  Told* refused = Get(app_);
  EXPECT_EQ(refused->times, 1);
  EXPECT_TRUE(absl::IsResourceExhausted(refused->status)) << refused->status;
  Answer(Good("T1"));
  EXPECT_EQ(told_.front()->times, 1);
  EXPECT_EQ(told_[9'999]->times, 1);
  EXPECT_EQ(refused->times, 1);
}

TEST(ParseTokenAnswerTest, ReadsAnswers) {
  struct Case {
    const char* body;
    bool ok;
    int errcode;
    const char* token;
    int64_t expires_in_s;
  };
  for (const Case& answer : {
           Case{R"({"errcode":0,"errmsg":"ok","access_token":"T1","expires_in":7200})", true, 0,
                "T1", 7200},
           Case{R"({"access_token":"T1","expires_in":7200})", true, 0, "T1", 7200},
           Case{R"({"errcode":40001,"errmsg":"invalid credential"})", false, 40001, "", 0},
           Case{R"({"errcode":40001,"access_token":"T1"})", false, 40001, "T1", 0},
           Case{R"({"errcode":-1})", false, -1, "", 0},
           Case{R"({"errcode":0,"expires_in":7200})", false, 0, "", 7200},
           Case{R"({"errcode":0,"access_token":"","expires_in":7200})", false, 0, "", 7200},
           Case{R"({"errcode":0,"access_token":5,"expires_in":7200})", false, 0, "", 7200},
           Case{"{}", false, 0, "", 0},
           Case{"[]", false, 0, "", 0},
           Case{"", false, 0, "", 0},
           Case{"<html>502</html>", false, 0, "", 0},
           Case{R"({"access_token":"T1")", false, 0, "", 0},
       }) {
    const TokenAnswer read = ParseTokenAnswer(absl::OkStatus(), answer.body);
    EXPECT_EQ(read.status.ok(), answer.ok) << answer.body << ": " << read.status;
    EXPECT_EQ(read.errcode, answer.errcode) << answer.body;
    EXPECT_EQ(read.token, answer.token) << answer.body;
    EXPECT_EQ(read.expires_in_s, answer.expires_in_s) << answer.body;
  }
}

TEST(ParseTokenAnswerTest, PassesOnTheTransportsError) {
  const TokenAnswer read = ParseTokenAnswer(absl::DeadlineExceededError("slow"),
                                            R"({"access_token":"T1","expires_in":7200})");
  EXPECT_TRUE(absl::IsDeadlineExceeded(read.status)) << read.status;
  EXPECT_EQ(read.token, "");
}

TEST(PercentEncodeTest, KeepsUnreservedCharactersOnly) {
  EXPECT_EQ(PercentEncode("AZaz09-._~"), "AZaz09-._~");
  EXPECT_EQ(PercentEncode("a b+c/d=e&f%"), "a%20b%2Bc%2Fd%3De%26f%25");
  EXPECT_EQ(PercentEncode("\xE6\x0A"), "%E6%0A");
}

}  // namespace
}  // namespace tidegate::wecom
