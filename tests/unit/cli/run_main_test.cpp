#include <lightning/cli/run_main.h>

#include <csignal>
#include <stdexcept>

#include <c10/util/Exception.h>

#include <lightning/launch/launcher.h>
#include <lightning/util/error.h>
#include <lightning/util/exit_codes.h>
#include <lightning/util/interrupted.h>

#include "cli_support.h"

namespace {

struct Outcome {
  int exit_code = -1;
  std::string message;
};

Outcome outcome_of(const std::function<int()>& body) {
  Outcome outcome;
  outcome.message =
      cli_test::captured(STDERR_FILENO, [&] { outcome.exit_code = lightning::run_main(body); });
  return outcome;
}

}  // namespace

TEST_CASE("run_main returns what the body returns and prints nothing") {
  const Outcome outcome = outcome_of([] { return 7; });
  CHECK(outcome.exit_code == 7);
  CHECK(outcome.message.empty());
}

TEST_CASE("run_main hands the arguments on") {
  char name[] = "program";
  char argument[] = "fit";
  char* argv[] = {name, argument};
  const int code = lightning::run_main(2, argv, [](int count, char** arguments) {
    return std::string(arguments[1]) == "fit" ? count : -1;
  });
  CHECK(code == 2);
}

TEST_CASE("run_main turns exceptions into one message and an exit code") {
  const Outcome config = outcome_of([]() -> int { throw lightning::ConfigError("a.yaml:1: x"); });
  CHECK(config.exit_code == 2);
  CHECK(config.message == "error: a.yaml:1: x\n");

  const Outcome data = outcome_of([]() -> int { throw lightning::DataError("file is gone\n"); });
  CHECK(data.exit_code == 1);
  CHECK(data.message == "error: file is gone\n");

  const Outcome lost =
      outcome_of([]() -> int { throw lightning::DistributedError("rank 2 died"); });
  CHECK(lost.exit_code == lightning::kPeerFailureExitCode);
  CHECK(lost.message == "error: rank 2 died\n");

  const Outcome other = outcome_of([]() -> int { throw std::out_of_range("index 3"); });
  CHECK(other.exit_code == 1);
  CHECK(other.message == "error: index 3\n");

  const Outcome foreign =
      outcome_of([]() -> int { throw lightning::DataError("\xff\xfe is no text"); });
  CHECK(foreign.message == "error: \\xff\\xfe is no text\n");

  const Outcome number = outcome_of([]() -> int { throw 3; });
  CHECK(number.exit_code == 1);
  CHECK(number.message.find("error: ") == 0);
}

TEST_CASE("run_main shows LibTorch's errors without the C++ backtrace") {
  const Outcome outcome = outcome_of([]() -> int {
    torch::ones({2, 3}).matmul(torch::ones({2, 3}));
    return 0;
  });
  CHECK(outcome.exit_code == 1);
  CHECK(outcome.message.find("error: mat1 and mat2 shapes cannot be multiplied") == 0);
  CHECK(outcome.message.find("frame #") == std::string::npos);
  CHECK(outcome.message.find("Exception raised from") == std::string::npos);
}

TEST_CASE("run_main ends an interrupted run with the signal's exit code") {
  const Outcome interrupt =
      outcome_of([]() -> int { throw lightning::Interrupted(SIGINT, "stopped by SIGINT"); });
  CHECK(interrupt.exit_code == 130);
  CHECK(interrupt.message == "stopped by SIGINT\n");
  const Outcome terminate =
      outcome_of([]() -> int { throw lightning::Interrupted(SIGTERM, "stopped by SIGTERM"); });
  CHECK(terminate.exit_code == 143);
}
