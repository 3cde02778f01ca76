#include "services/wecom_simulator/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

namespace tidegate::wecom_simulator {
namespace {

using ::testing::HasSubstr;

TEST(ConfigTest, TheDefaultsAreComplete) { EXPECT_TRUE(Config().Complete().ok()); }

TEST(ConfigTest, EachBadSettingIsNamed) {
  const struct {
    const char* named;
    std::function<void(Config&)> spoil;
  } rows[] = {
      {"--limits", [](Config& config) { config.limits_file = "no/such/file"; }},
      {"--latency-median-ms", [](Config& config) { config.core.latency_median_ms = 0; }},
      {"--latency-p99-ms", [](Config& config) { config.core.latency_p99_ms = 1; }},
      {"--confirm-mean-ms", [](Config& config) { config.core.confirm_mean_ms = -1; }},
      {"--confirm-never", [](Config& config) { config.core.confirm_never = 1.1; }},
      {"--broken", [](Config& config) { config.core.broken = 0.99; }},
      {"--distributing-ms", [](Config& config) { config.core.distributing_ms = -1; }},
      {"--token-seconds", [](Config& config) { config.core.token_seconds = 0; }},
      {"--welcome-seconds", [](Config& config) { config.core.welcome_seconds = 0; }},
  };
  for (const auto& row : rows) {
    Config config;
    row.spoil(config);
    const absl::Status status = config.Complete();
    ASSERT_FALSE(status.ok()) << row.named;
    EXPECT_THAT(std::string(status.message()), HasSubstr(row.named));
  }
}

}  // namespace
}  // namespace tidegate::wecom_simulator
