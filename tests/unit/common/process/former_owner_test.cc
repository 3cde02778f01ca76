#include "common/process/former_owner.h"

#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/base/clock.h"

namespace tidegate::process {
namespace {

// A child that tells its own name, then waits to be killed.
class Child {
 public:
  // `name`: as others see the process, in /proc/PID/stat.
  explicit Child(const std::string& name = "") {
    int ends[2];
    EXPECT_EQ(pipe(ends), 0);
    pid_ = fork();
    if (pid_ == 0) {
      if (!name.empty()) prctl(PR_SET_NAME, name.c_str());
      const std::string owner = OwnerName() + "\n";
      (void)!write(ends[1], owner.data(), owner.size());
      while (true) pause();
    }
    close(ends[1]);
    for (char c = 0; read(ends[0], &c, 1) == 1 && c != '\n';) owner_ += c;
    close(ends[0]);
  }
  ~Child() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      Reap();
    }
  }
  // Kills it, and waits until it is a zombie that nobody has waited for yet.
  void Kill() {
    kill(pid_, SIGKILL);
    siginfo_t info;
    EXPECT_EQ(waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT), 0);
  }
  void Reap() {
    EXPECT_EQ(waitpid(pid_, nullptr, 0), pid_);
    pid_ = 0;
  }
  const std::string& owner() const { return owner_; }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = 0;
  std::string owner_;
};

std::vector<std::string> Parts(const std::string& owner) { return absl::StrSplit(owner, '/'); }

std::string Joined(const std::string& host, const std::string& pid, const std::string& start,
                   const std::string& space) {
  return absl::StrCat(host, "/", pid, "/", start, "/", space);
}

TEST(FormerOwnerTest, AProcessNamesItselfByHostPidStartAndNamespace) {
  const auto parts = Parts(OwnerName());
  ASSERT_EQ(parts.size(), 4u);
  char host[256] = "";
  ASSERT_EQ(gethostname(host, sizeof host), 0);
  EXPECT_EQ(parts[0], host);
  EXPECT_EQ(parts[1], absl::StrCat(getpid()));
  EXPECT_FALSE(parts[2].empty());
  EXPECT_NE(parts[2], "0");
  EXPECT_EQ(parts[3].rfind("pid:", 0), 0u) << parts[3];
  EXPECT_EQ(OwnerName(), OwnerName());
}

TEST(FormerOwnerTest, AChildHasANameOfItsOwn) {
  const Child one, other;
  EXPECT_EQ(Parts(one.owner()).at(1), absl::StrCat(one.pid()));
  EXPECT_NE(one.owner(), other.owner());
  EXPECT_NE(one.owner(), OwnerName());
}

TEST(FormerOwnerTest, WhoRunsHasNotEnded) {
  EXPECT_FALSE(HasEnded(OwnerName(), BootId()));
  const Child child;
  EXPECT_FALSE(HasEnded(child.owner(), BootId()));
}

TEST(FormerOwnerTest, WhoStandsStillHasNotEnded) {
  const Child child;
  ASSERT_EQ(kill(child.pid(), SIGSTOP), 0);
  siginfo_t info;
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(child.pid()), &info, WSTOPPED | WNOWAIT), 0);
  EXPECT_FALSE(HasEnded(child.owner(), BootId()));
}

TEST(FormerOwnerTest, AZombieHasEnded) {
  Child child;
  child.Kill();
  EXPECT_EQ(kill(child.pid(), 0), 0) << "its pid is still taken";
  EXPECT_TRUE(HasEnded(child.owner(), BootId()));
}

TEST(FormerOwnerTest, AProcessThatIsGoneHasEnded) {
  Child child;
  child.Kill();
  child.Reap();
  EXPECT_TRUE(HasEnded(child.owner(), BootId()));
}

// Blanks and parentheses in it must not shift the fields behind it.
TEST(FormerOwnerTest, TheNameOfTheProgramMayHoldAnything) {
  for (const char* name : {"a b", ") Z 1", "(x) (y", ") ) Z Z"}) {
    Child child(name);
    EXPECT_FALSE(HasEnded(child.owner(), BootId())) << name;
    auto reused = Parts(child.owner());
    reused[2] += "1";
    EXPECT_TRUE(HasEnded(absl::StrJoin(reused, "/"), BootId())) << name;
    child.Kill();
    EXPECT_TRUE(HasEnded(child.owner(), BootId())) << name;
  }
}

TEST(FormerOwnerTest, AReusedPidIsAnotherProcess) {
  auto parts = Parts(OwnerName());
  parts[2] = absl::StrCat(parts[2], "0");
  EXPECT_TRUE(HasEnded(absl::StrJoin(parts, "/"), BootId()));
}

TEST(FormerOwnerTest, OfAnotherBootNothingIsKnown) {
  Child child;
  child.Kill();
  child.Reap();
  EXPECT_FALSE(HasEnded(child.owner(), "11111111-2222-3333-4444-555555555555"));
  EXPECT_FALSE(HasEnded(child.owner(), ""));
  EXPECT_FALSE(HasEnded(OwnerName(), "11111111-2222-3333-4444-555555555555"));
}

TEST(FormerOwnerTest, OfAnotherHostNothingIsKnown) {
  Child child;
  child.Kill();
  child.Reap();
  auto parts = Parts(child.owner());
  parts[0] += "x";
  EXPECT_FALSE(HasEnded(absl::StrJoin(parts, "/"), BootId()));
  parts[0] = "";
  EXPECT_FALSE(HasEnded(absl::StrJoin(parts, "/"), BootId()));
}

// Two containers may share the name of their host and number their processes alike.
TEST(FormerOwnerTest, OfAnotherPidNamespaceNothingIsKnown) {
  Child child;
  child.Kill();
  child.Reap();
  auto parts = Parts(child.owner());
  parts[3] = "pid:[1]";
  EXPECT_FALSE(HasEnded(absl::StrJoin(parts, "/"), BootId()));
  parts[3] = "";
  EXPECT_FALSE(HasEnded(absl::StrJoin(parts, "/"), BootId()));
  parts.pop_back();
  EXPECT_FALSE(HasEnded(absl::StrJoin(parts, "/"), BootId()));
}

TEST(FormerOwnerTest, OfAnUnreadableNameNothingIsKnown) {
  const auto parts = Parts(OwnerName());
  for (const std::string& owner :
       {std::string(), std::string("//"), std::string("process 1"), parts[0],
        absl::StrCat(parts[0], "/", parts[1]), absl::StrCat(OwnerName(), "/1"),
        Joined(parts[0], "", parts[2], parts[3]), Joined(parts[0], "x", parts[2], parts[3]),
        Joined(parts[0], "-1", parts[2], parts[3]), Joined(parts[0], parts[1], "x", parts[3])}) {
    EXPECT_FALSE(HasEnded(owner, BootId())) << owner;
  }
}

}  // namespace
// A pod of the same name: another container, perhaps another node.
TEST(FormerOwnerTest, WhoeverElseHadThisHostsNameWasReplaced) {
  Child child;
  EXPECT_TRUE(WasReplaced(child.owner(), BootId()));
  auto parts = Parts(child.owner());
  parts[3] = "pid:[1]";
  EXPECT_TRUE(WasReplaced(absl::StrJoin(parts, "/"), "11111111-2222-3333-4444-555555555555"));
  EXPECT_TRUE(WasReplaced(OwnerName(), "11111111-2222-3333-4444-555555555555"));
}

TEST(FormerOwnerTest, NeitherThisProcessNorOneOfAnotherHostWasReplaced) {
  EXPECT_FALSE(WasReplaced(OwnerName(), BootId()));
  auto parts = Parts(OwnerName());
  for (const char* host : {"", "another"}) {
    parts[0] = host;
    EXPECT_FALSE(WasReplaced(absl::StrJoin(parts, "/"), BootId()));
  }
  EXPECT_FALSE(WasReplaced("", BootId()));
  EXPECT_FALSE(WasReplaced(parts[0], BootId()));
}

}  // namespace tidegate::process
