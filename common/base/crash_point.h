// Named moments of the code at which a test build dies when it is told to; docs/proofs.md lists
// them.
//
//   TIDEGATE_CRASH_POINT("T1");
//   TIDEGATE_CRASH_POINT_IF(attempt.api() == "add_msg_template", "S5");
//
// Nothing at all, the condition included, unless built with TIDEGATE_CRASH_POINTS (CMake option).
// Such a build reads two variables at the first point that it meets:
//   TIDEGATE_CRASH_POINT  NAME:N: SIGKILL itself when it meets NAME for the N-th time
//   TIDEGATE_CRASH_FILE   one line for each time it met NAME, which outlives the process:
//                         "NAME 1 passed", ..., "NAME N died"
#pragma once

#ifdef TIDEGATE_CRASH_POINTS

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <string>

namespace tidegate::crash_point {

struct Armed {
  std::string name;  // empty: none
  int hit = 0;
  int descriptor = -1;
};

inline Armed ReadArmed() {
  Armed armed;
  const char* point = std::getenv("TIDEGATE_CRASH_POINT");
  const char* file = std::getenv("TIDEGATE_CRASH_FILE");
  if (point == nullptr || file == nullptr) return armed;
  const std::string text = point;
  const size_t colon = text.find(':');
  if (colon == std::string::npos) return armed;
  armed.name = text.substr(0, colon);
  armed.hit = std::atoi(text.c_str() + colon + 1);
  armed.descriptor = ::open(file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  return armed;
}

// Whether the process is to die here; if so it must call Die. Any thread.
inline bool Due(const char* name) {
  static const Armed armed = ReadArmed();
  static std::atomic<int> met{0};
  if (armed.name != name) return false;
  const int count = ++met;
  const bool due = count == armed.hit;
  const std::string line =
      armed.name + " " + std::to_string(count) + (due ? " died\n" : " passed\n");
  // The page cache outlives the process, so no sync is needed.
  return ::write(armed.descriptor, line.data(), line.size()) > 0 && due;
}

[[noreturn]] inline void Die() {
  ::kill(::getpid(), SIGKILL);
  while (true) ::pause();
}

}  // namespace tidegate::crash_point

#define TIDEGATE_CRASH_POINT_IF(condition, name)             \
  do {                                                       \
    if ((condition) && ::tidegate::crash_point::Due(name)) { \
      ::tidegate::crash_point::Die();                        \
    }                                                        \
  } while (false)

#else

#define TIDEGATE_CRASH_POINT_IF(condition, name) \
  do {                                           \
  } while (false)

#endif

#define TIDEGATE_CRASH_POINT(name) TIDEGATE_CRASH_POINT_IF(true, name)
