// Whether an append was synced before it is acknowledged, seen from below: this program's fdatasync
// and fsync stand before those of the C library.
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <future>
#include <string>

#include "common/log/embedded_log.h"

namespace {
std::atomic<int> syncs{0};
}  // namespace

extern "C" int fdatasync(int descriptor) {
  ++syncs;
  return static_cast<int>(syscall(SYS_fdatasync, descriptor));
}

extern "C" int fsync(int descriptor) {
  ++syncs;
  return static_cast<int>(syscall(SYS_fsync, descriptor));
}

namespace tidegate::log {
namespace {

TEST(EmbeddedLogSyncTest, EveryAcknowledgedAppendWasSynced) {
  std::string path = ::testing::TempDir() + "tidegate_log_XXXXXX";
  ASSERT_NE(mkdtemp(path.data()), nullptr);
  {
    auto log = EmbeddedLog::Open(path, {});
    ASSERT_TRUE(log.ok()) << log.status();
    for (int i = 0; i < 5; ++i) {
      const int before = syncs.load();
      std::promise<int> after;
      (*log)->Append(
          {Topic::kEvents, 0}, {{.key = "k", .header = "", .value = "v"}},
          [&after](absl::Status status) { after.set_value(status.ok() ? syncs.load() : -1); });
      EXPECT_GT(after.get_future().get(), before);
    }
  }
  std::filesystem::remove_all(path);
}

}  // namespace
}  // namespace tidegate::log
