#include <lightning/util/detail/process.h>

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <string>

#include <catch2/catch.hpp>

using lightning::detail::from_tag;
using lightning::detail::Life;
using lightning::detail::life_of;
using lightning::detail::own_process;
using lightning::detail::ProcessId;
using lightning::detail::to_tag;

TEST_CASE("A process is known by its number and its start", "[util]") {
  const ProcessId own = own_process();
  REQUIRE(own.pid == ::getpid());
  REQUIRE(own.started > 0);
  CHECK(life_of(own) == Life::kAlive);
  ProcessId other = own;
  other.started -= 1;  // the number was used again
  CHECK(life_of(other) == Life::kGone);
  other = own;
  other.machine = own.machine == "00000000" ? "00000001" : "00000000";
  CHECK(life_of(other) == Life::kUnknown);
}

TEST_CASE("A stopped process is alive, a zombie isn't", "[util][process]") {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const ProcessId own = own_process();
    [[maybe_unused]] const auto told = ::write(ends[1], &own.started, sizeof(own.started));
    for (;;) ::pause();
  }
  ProcessId process = own_process();
  process.pid = child;
  REQUIRE(::read(ends[0], &process.started, sizeof(process.started)) ==
          static_cast<ssize_t>(sizeof(process.started)));
  ::close(ends[0]);
  ::close(ends[1]);
  CHECK(life_of(process) == Life::kAlive);
  ::kill(child, SIGSTOP);
  ::waitpid(child, nullptr, WUNTRACED);
  CHECK(life_of(process) == Life::kAlive);
  ::kill(child, SIGKILL);
  siginfo_t info = {};
  ::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT);
  CHECK(life_of(process) == Life::kGone);  // a zombie
  ::waitpid(child, nullptr, 0);
  CHECK(life_of(process) == Life::kGone);
}

TEST_CASE("Tags of processes come back, others aren't taken", "[util]") {
  const ProcessId own = own_process();
  CHECK(from_tag(to_tag(own)) == own);
  CHECK(from_tag("12-34-0123abcd") == ProcessId{.machine = "0123abcd", .pid = 12, .started = 34});
  CHECK(from_tag("12-34-")->machine.empty());
  for (const char* tag : {"", "17", "1-2", "-1-2-0123abcd", "1--2-0123abcd", "x-2-0123abcd",
                          "1-2-0123abcg", "1-2-012", "1-2-0123abcd5", "99999999999999999999-2-"}) {
    CAPTURE(tag);
    CHECK_FALSE(from_tag(tag));
  }
}
