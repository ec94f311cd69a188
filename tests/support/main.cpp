// The main program of all test programs. With arguments it is Catch2's: it runs the chosen test
// cases in this process, which suits a debugger. Without, as ctest runs it, all test cases that
// aren't hidden run in one child process, those with the tag [process] each in a separate one. The
// children are forked before this process has threads or has used torch. A child that crashes,
// exits or hangs is a failure of the test case that it was in, and the next child runs the rest.
//
// LIGHTNING_TEST_RESULTS names a folder for a JUnit file of all test cases;
// LIGHTNING_TEST_CASE_SECONDS is how long a test case may take (120).
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "support/process_state.h"
#include "support/skip.h"

namespace lightning_tests {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kSkipped = 77;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// --- In the process that runs test cases.

std::string failure_text;
std::string skip_text;
int skipped_cases = 0;
int run_cases = 0;

// Where the parent hears of test cases; lines of fields with tabs between them.
int event_pipe = -1;
pid_t reporting_process = -1;

std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '\n') {
      result += "\\n";
    } else if (c == '\t') {
      result += ' ';
    } else if (c == '\\') {
      result += "\\\\";
    } else {
      result += c;
    }
  }
  return result;
}

void send_event(const std::string& line) {
  // Forked ranks of a test case have these listeners, too.
  if (event_pipe < 0 || ::getpid() != reporting_process) return;
  const std::string bytes = line + "\n";
  for (size_t sent = 0; sent < bytes.size();) {
    const ssize_t n = ::write(event_pipe, bytes.data() + sent, bytes.size() - sent);
    if (n < 0 && errno != EINTR) return;
    if (n > 0) sent += static_cast<size_t>(n);
  }
}

class Listener : public Catch::TestEventListenerBase {
 public:
  using TestEventListenerBase::TestEventListenerBase;

  void testRunStarting(const Catch::TestRunInfo&) override { state_.emplace(); }

  void testCaseStarting(const Catch::TestCaseInfo& test) override {
    failure_text.clear();
    skip_text.clear();
    start_ = Clock::now();
    send_event("start\t" + escaped(test.name));
  }

  bool assertionEnded(const Catch::AssertionStats& stats) override {
    constexpr size_t kLongest = 10000;
    const Catch::AssertionResult& result = stats.assertionResult;
    if (result.isOk() || failure_text.size() > kLongest) return true;
    std::ostringstream text;
    text << result.getSourceInfo() << ": ";
    if (result.hasExpression()) text << result.getExpressionInMacro() << " ";
    if (result.hasExpandedExpression()) text << "with " << result.getExpandedExpression() << " ";
    if (result.hasMessage()) text << result.getMessage();
    for (const Catch::MessageInfo& info : stats.infoMessages) text << "\n" << info.message;
    failure_text += text.str().substr(0, kLongest) + "\n";
    return true;
  }

  void testCaseEnded(const Catch::TestCaseStats& stats) override {
    ++run_cases;
    std::string outcome = "passed";
    if (stats.totals.testCases.failed > 0) {
      outcome = "failed";
    } else if (!skip_text.empty()) {
      outcome = "skipped";
      ++skipped_cases;
    }
    if (::getpid() == reporting_process) state_->restore();
    send_event("end\t" + outcome + "\t" + std::to_string(seconds_since(start_)) + "\t" +
               escaped(outcome == "skipped" ? skip_text : failure_text));
  }

 private:
  std::optional<ProcessState> state_;
  Clock::time_point start_;
};
CATCH_REGISTER_LISTENER(Listener)

// Catch2 reads a test name as a pattern.
std::string as_pattern(const std::string& name) {
  std::string pattern;
  for (char c : name) {
    if (std::string_view("\\,[\"").find(c) != std::string_view::npos) pattern += '\\';
    pattern += c;
  }
  return pattern;
}

int exit_status(int failures) {
  if (failures != 0) return failures;
  if (run_cases == 0) {
    std::cerr << "no test case was run\n";
    return EXIT_FAILURE;
  }
  return skipped_cases == run_cases ? kSkipped : EXIT_SUCCESS;
}

int run_here(const std::vector<std::string>& names) {
  reporting_process = ::getpid();
  Catch::Session session;
  std::string patterns;
  for (const std::string& name : names) patterns += as_pattern(name) + ",";
  session.configData().testsOrTags.push_back(patterns);
  return exit_status(session.run());
}

int run_here(int argc, char** argv) {
  reporting_process = ::getpid();
  return exit_status(Catch::Session().run(argc, argv));
}

// --- In the process that ctest started.

struct Result {
  std::string name;
  std::string outcome;
  double seconds = 0;
  std::string text;
};

std::vector<std::string> fields_of(const std::string& line) {
  std::vector<std::string> fields(1);
  for (size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '\t') {
      fields.emplace_back();
    } else if (line[i] == '\\' && i + 1 < line.size()) {
      fields.back() += line[++i] == 'n' ? '\n' : line[i];
    } else {
      fields.back() += line[i];
    }
  }
  return fields;
}

std::chrono::seconds longest_case() {
  const char* value = std::getenv("LIGHTNING_TEST_CASE_SECONDS");
  return std::chrono::seconds(value != nullptr ? std::atoi(value) : 120);
}

std::string end_text(int status) {
  if (WIFSIGNALED(status)) {
    return std::string("the process was ended by ") + ::strsignal(WTERMSIG(status));
  }
  return "the process exited with status " + std::to_string(WEXITSTATUS(status));
}

class Supervisor {
 public:
  int run() {
    std::vector<std::string> shared;
    std::vector<std::string> alone;
    const Catch::Config config;
    for (const Catch::TestCase& test : Catch::getAllTestCasesSorted(config)) {
      if (test.isHidden()) continue;
      const bool is_alone =
          std::find(test.tags.begin(), test.tags.end(), "process") != test.tags.end();
      (is_alone ? alone : shared).push_back(test.name);
    }
    while (!shared.empty()) {
      const size_t before = results_.size();
      run_child(shared);
      const size_t erased = std::erase_if(shared, [&](const std::string& name) {
        return std::any_of(results_.begin() + static_cast<std::ptrdiff_t>(before), results_.end(),
                           [&](const Result& result) { return result.name == name; });
      });
      if (erased > 0) continue;
      for (const std::string& name : shared) {
        results_.push_back({name, "failed", 0, "the process ended before this test case"});
      }
      shared.clear();
    }
    for (const std::string& name : alone) run_child({name});
    return report();
  }

 private:
  void run_child(const std::vector<std::string>& names) {
    std::cout.flush();
    int ends[2] = {-1, -1};
    if (::pipe2(ends, O_CLOEXEC) != 0) std::abort();
    const pid_t parent = ::getpid();
    const pid_t child = ::fork();
    if (child < 0) std::abort();
    if (child == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (::getppid() != parent) std::_Exit(EXIT_FAILURE);
      ::setpgid(0, 0);
      ::close(ends[0]);
      event_pipe = ends[1];
      std::exit(run_here(names));
    }
    ::close(ends[1]);
    ::fcntl(ends[0], F_SETFL, O_NONBLOCK);
    const size_t before = results_.size();
    last_event_ = Clock::now();
    const int status = watch(child, ends[0]);
    ::close(ends[0]);
    ::kill(-child, SIGKILL);  // ranks that it left behind

    if (running_) {
      end_case("failed", end_text(status));
    } else if (const bool told = std::any_of(
                   results_.begin() + static_cast<std::ptrdiff_t>(before), results_.end(),
                   [](const Result& result) { return result.outcome == "failed"; });
               !told && status != 0 && !(WIFEXITED(status) && WEXITSTATUS(status) == kSkipped)) {
      results_.push_back({names.back() + " (after it)", "failed", 0, end_text(status)});
    }
  }

  // Reads events until the child has ended; returns its status.
  int watch(pid_t child, int events) {
    constexpr int kPollMilliseconds = 20;
    int status = 0;
    bool ended = false;
    while (!ended) {
      pollfd entry = {events, POLLIN, 0};
      if (::poll(&entry, 1, kPollMilliseconds) > 0 && (entry.revents & POLLIN) == 0) {
        ::usleep(1000);  // closed, but the process lives
      }
      // Before reading: what it wrote is there when it has ended.
      ended = ::waitpid(child, &status, WNOHANG) == child;
      read_events(events);
      if (!ended && Clock::now() - last_event_ > longest_case()) {
        const std::string text =
            "no end after " + std::to_string(longest_case().count()) + " s; the process was killed";
        if (running_) {
          end_case("failed", text);
        } else {
          results_.push_back({"end of the process", "failed", 0, text});
        }
        ::kill(child, SIGKILL);
        ::waitpid(child, &status, 0);
        ended = true;
      }
    }
    return status;
  }

  void read_events(int events) {
    char buffer[4096];
    for (ssize_t n = 0; (n = ::read(events, buffer, sizeof(buffer))) > 0;) {
      unread_.append(buffer, static_cast<size_t>(n));
    }
    for (size_t end = 0; (end = unread_.find('\n')) != std::string::npos;) {
      const std::vector<std::string> fields = fields_of(unread_.substr(0, end));
      unread_.erase(0, end + 1);
      last_event_ = Clock::now();
      if (fields[0] == "start") {
        running_ = fields.at(1);
      } else {
        end_case(fields.at(1), fields.at(3), std::stod(fields.at(2)));
      }
    }
  }

  void end_case(const std::string& outcome, const std::string& text,
                std::optional<double> seconds = std::nullopt) {
    results_.push_back(
        {running_.value_or("?"), outcome, seconds.value_or(seconds_since(last_event_)), text});
    running_.reset();
    last_event_ = Clock::now();
  }

  int report() const {
    int64_t failed = 0;
    int64_t skipped = 0;
    for (const Result& result : results_) {
      failed += result.outcome == "failed" ? 1 : 0;
      skipped += result.outcome == "skipped" ? 1 : 0;
      if (result.outcome != "passed") {
        std::cout << result.outcome << ": " << result.name << ": " << result.text << "\n";
      }
    }
    const auto passed = static_cast<int64_t>(results_.size()) - failed - skipped;
    std::cout << passed << " test cases passed, " << failed << " failed, " << skipped
              << " skipped\n";
    const bool is_written = write_junit(failed, skipped);
    if (failed > 0 || !is_written || results_.empty()) return EXIT_FAILURE;
    return passed == 0 ? kSkipped : EXIT_SUCCESS;
  }

  bool write_junit(int64_t failed, int64_t skipped) const {
    const char* folder = std::getenv("LIGHTNING_TEST_RESULTS");
    if (folder == nullptr) return true;
    const std::string suite = std::filesystem::read_symlink("/proc/self/exe").filename().string();
    const std::filesystem::path path = std::filesystem::path(folder) / (suite + ".xml");
    std::filesystem::create_directories(folder);
    std::ofstream file(path);
    {
      Catch::XmlWriter xml(file);
      const auto testsuite = xml.scopedElement("testsuite");
      xml.writeAttribute("name", suite);
      xml.writeAttribute("tests", results_.size());
      xml.writeAttribute("failures", failed);
      xml.writeAttribute("skipped", skipped);
      for (const Result& result : results_) {
        const auto testcase = xml.scopedElement("testcase");
        xml.writeAttribute("classname", suite);
        xml.writeAttribute("name", result.name);
        xml.writeAttribute("time", result.seconds);
        if (result.outcome == "passed") continue;
        const auto outcome = xml.scopedElement(result.outcome == "failed" ? "failure" : "skipped");
        xml.writeAttribute("message", result.text);
      }
    }
    file.close();
    if (!file) std::cerr << path << " can't be written\n";
    return static_cast<bool>(file);
  }

  std::vector<Result> results_;
  std::optional<std::string> running_;
  Clock::time_point last_event_ = Clock::now();
  std::string unread_;
};

}  // namespace

void skip(const std::string& reason) {
  std::cout << "SKIPPED: " << reason << std::endl;
  skip_text = reason;
  SUCCEED();
}

}  // namespace lightning_tests

int main(int argc, char** argv) {
  // Ranks are threads in many tests. LibTorch's flight recorder is one for all Gloo groups of a
  // process, and groups that threads use at the same time corrupt it (pytorch/pytorch#179313).
  ::setenv("TORCH_FR_BUFFER_SIZE", "0", 1);
  if (argc > 1) return lightning_tests::run_here(argc, argv);
  return lightning_tests::Supervisor().run();
}
