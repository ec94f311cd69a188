// The main program of all test programs.
//
// ctest runs each test case in a process of its own. Which ones there are it learns by running
// the program with LIGHTNING_TESTS_FILE in the environment: then the file named there is written
// in ctest's language (tests/support/discover.cmake).
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <string>

#include "support/skip.h"

namespace lightning_tests {
namespace {

constexpr int kSkipped = 77;

int skipped_cases = 0;
int run_cases = 0;

class CountingListener : public Catch::TestEventListenerBase {
 public:
  using TestEventListenerBase::TestEventListenerBase;
  void testCaseEnded(const Catch::TestCaseStats&) override { ++run_cases; }
};
CATCH_REGISTER_LISTENER(CountingListener)

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

std::string quoted(const std::string& text) { return " [==[" + text + "]==]"; }

// Catch2 reads a test name on the command line as a pattern.
std::string as_pattern(const std::string& name) {
  std::string pattern;
  for (char c : name) {
    if (std::string_view("\\,[\"").find(c) != std::string_view::npos) pattern += '\\';
    pattern += c;
  }
  return pattern;
}

bool has_tag(const Catch::TestCase& test, const std::string& tag) {
  return std::find(test.tags.begin(), test.tags.end(), tag) != test.tags.end();
}

int list_tests(const std::string& path) {
  const Catch::Config config;
  std::ofstream file(path);
  const std::string prefix = environment("LIGHTNING_TESTS_PREFIX");
  for (const Catch::TestCase& test : Catch::getAllTestCasesSorted(config)) {
    if (test.isHidden()) continue;
    const std::string name = quoted(prefix + ": " + test.name);
    file << "add_test(" << name << quoted(environment("LIGHTNING_TESTS_PROGRAM"))
         << quoted(as_pattern(test.name)) << ")\n"
         << "set_tests_properties(" << name << " PROPERTIES SKIP_RETURN_CODE " << kSkipped << " "
         << environment("LIGHTNING_TESTS_PROPERTIES");
    if (has_tag(test, "serial")) file << " RUN_SERIAL ON";
    file << ")\n";
  }
  file.close();
  return file ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace

void skip(const std::string& reason) {
  std::cout << "SKIPPED: " << reason << std::endl;
  ++skipped_cases;
  SUCCEED();
}

int run(int argc, char** argv) {
  const std::string tests_file = environment("LIGHTNING_TESTS_FILE");
  if (!tests_file.empty()) return list_tests(tests_file);
  const int failures = Catch::Session().run(argc, argv);
  if (failures != 0) return failures;
  if (run_cases == 0) {
    std::cerr << "no test case was run\n";
    return EXIT_FAILURE;
  }
  return skipped_cases == run_cases ? kSkipped : EXIT_SUCCESS;
}

}  // namespace lightning_tests

int main(int argc, char** argv) {
  // Ranks are threads in many tests. LibTorch's flight recorder is one for all Gloo groups of a
  // process, and groups that threads use at the same time corrupt it (pytorch/pytorch#179313).
  ::setenv("TORCH_FR_BUFFER_SIZE", "0", 1);
  return lightning_tests::run(argc, argv);
}
