#include "common/process/former_owner.h"

#include <unistd.h>

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/clock.h"

namespace tidegate::process {
namespace {

std::string Host() {
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  return host;
}

// State and start of a process, from /proc/PID/stat (proc(5), fields 3 and 22); false if it is
// gone.
bool ReadStat(const std::string& pid, char* state, std::string* start) {
  std::ifstream in(absl::StrCat("/proc/", pid, "/stat"));
  std::ostringstream text;
  text << in.rdbuf();
  const std::string stat = text.str();
  // The name in parentheses may hold anything.
  const size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos) return false;
  const std::vector<std::string> fields = absl::StrSplit(stat.substr(name_end + 2), ' ');
  constexpr size_t kState = 0;
  constexpr size_t kStart = 19;
  if (fields.size() <= kStart || fields[kState].empty()) return false;
  *state = fields[kState][0];
  *start = fields[kStart];
  return true;
}

// "pid:[4026531836]": two containers may share host name and boot, and number their processes
// alike.
std::string PidNamespace() {
  char name[64] = "";
  const ssize_t length = readlink("/proc/self/ns/pid", name, sizeof name);
  return length > 0 ? std::string(name, static_cast<size_t>(length)) : "";
}

}  // namespace

std::string OwnerName() {
  char state = 0;
  std::string start;
  ReadStat("self", &state, &start);
  return absl::StrCat(Host(), "/", getpid(), "/", start, "/", PidNamespace());
}

bool HasEnded(const std::string& owner, const std::string& boot_id) {
  const std::vector<std::string> parts = absl::StrSplit(owner, '/');
  int64_t pid = 0;
  int64_t started = 0;
  if (parts.size() != 4 || parts[0] != Host() || parts[3].empty() || parts[3] != PidNamespace() ||
      boot_id.empty() || boot_id != BootId() || !absl::SimpleAtoi(parts[1], &pid) || pid <= 0 ||
      !absl::SimpleAtoi(parts[2], &started) || started <= 0) {
    return false;
  }
  char state = 0;
  std::string start;
  if (!ReadStat(parts[1], &state, &start)) return true;
  return start != parts[2] || state == 'Z' || state == 'X';
}

bool WasReplaced(const std::string& owner, const std::string& boot_id) {
  const std::vector<std::string> parts = absl::StrSplit(owner, '/');
  return parts.size() == 4 && !parts[0].empty() && parts[0] == Host() &&
         (owner != OwnerName() || boot_id != BootId());
}

}  // namespace tidegate::process
