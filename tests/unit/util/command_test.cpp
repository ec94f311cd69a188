#include <lightning/util/detail/command.h>

#include <csignal>

#include <catch2/catch.hpp>

using lightning::detail::CommandResult;
using lightning::detail::run_command;
using std::chrono::milliseconds;
using std::chrono::seconds;

TEST_CASE("run_command gives status and output") {
  const auto result = run_command({"sh", "-c", "echo out; echo error >&2; exit 3"}, seconds(60));
  CHECK(result.status == 3);
  CHECK(result.output == "out\nerror\n");
  CHECK(run_command({"sh", "-c", "kill -9 $$"}, seconds(60)).status == 137);
  CHECK(run_command({"cat"}, seconds(60)).status == 0);  // stdin is empty
}

TEST_CASE("run_command says that there is no such program") {
  const auto result = run_command({"no_such_program_here"}, seconds(60));
  CHECK(result.status == CommandResult::kNotFound);
  CHECK_THAT(result.output, Catch::Contains("no_such_program_here"));
}

TEST_CASE("run_command ends a program that takes too long, with what it started") {
  const auto result = run_command({"sh", "-c", "echo begun; sleep 1000; true"}, milliseconds(300));
  CHECK(result.status == CommandResult::kTimedOut);
  CHECK_THAT(result.output, Catch::StartsWith("begun\n") && Catch::Contains("no answer within"));
}

TEST_CASE("run_command keeps the beginning of a long output") {
  const auto result = run_command({"sh", "-c", "yes | head -c 1000000"}, seconds(60));
  CHECK(result.status == 0);
  CHECK(result.output.size() == 65'536);
}

TEST_CASE("run_command's programs have default signal handling in a group of their own") {
  signal(SIGUSR1, SIG_IGN);
  const auto result = run_command(
      {"sh", "-c", "test $(ps -o pgid= -p $$) = $$ && echo own; kill -USR1 $$; echo alive"},
      seconds(60));
  signal(SIGUSR1, SIG_DFL);
  CHECK(result.status == 128 + SIGUSR1);
  CHECK(result.output == "own\n");
}
