// Test cases that end in every way, for runner_test.py.
#include <unistd.h>

#include <csignal>
#include <cstdlib>

#include <catch2/catch.hpp>

#include "support/skip.h"

TEST_CASE("leaves a variable, \"quoted\" [and more]") {
  ::setenv("LIGHTNING_TEST_LEFT_BEHIND", "1", 1);
  CHECK(true);
}
TEST_CASE("finds no variable") { CHECK(std::getenv("LIGHTNING_TEST_LEFT_BEHIND") == nullptr); }
TEST_CASE("fails") {
  INFO("a <reason>");
  CHECK(1 == 2);
}
TEST_CASE("is skipped") { SKIP_TEST("there is no <device>"); }
TEST_CASE("crashes") { std::raise(SIGSEGV); }
TEST_CASE("is killed") { std::raise(SIGKILL); }
TEST_CASE("exits") { std::exit(0); }
TEST_CASE("hangs") {
  while (true) ::pause();
}
TEST_CASE("comes after all that") { CHECK(true); }
TEST_CASE("is alone", "[process]") { CHECK(true); }
TEST_CASE("is alone and leaves an exit handler that fails", "[process]") {
  std::atexit([] { std::_Exit(5); });
  CHECK(true);
}
TEST_CASE("is hidden", "[.]") { CHECK(false); }
