#include <lightning/util/log.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <regex>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <catch2/catch.hpp>

#include <lightning/util/detail/printable.h>
#include <lightning/util/file_system.h>
#include <lightning/util/format.h>
#include <support/temporary_folder.h>

namespace {

namespace fs = std::filesystem;

/// Lines that would have appeared on the terminal while it lives; rank 0 again at its end.
class Terminal {
 public:
  Terminal()
      : previous_(
            lightning::set_log_sink([this](std::string_view line) { lines_.emplace_back(line); })) {
  }
  ~Terminal() {
    lightning::set_log_sink(previous_);
    lightning::set_log_rank(0);
  }
  const std::vector<std::string>& lines() const { return lines_; }

 private:
  std::vector<std::string> lines_;
  lightning::LogSink previous_;
};

std::vector<std::string> lines_of(const fs::path& file) {
  std::istringstream stream(lightning::read_file(file));
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

}  // namespace

TEST_CASE("Only rank 0 prints, unless a line is for every rank") {
  const Terminal terminal;
  lightning::log_info("first");
  lightning::set_log_rank(2);
  lightning::log_info("second");
  lightning::log_warning("a warning of rank 2");
  lightning::log_on_every_rank("third");
  lightning::log_to_file("fourth");
  CHECK(terminal.lines() == std::vector<std::string>{"first", "third"});
}

TEST_CASE("A rank's log file has all of its lines with their times, those before it included",
          "[process]") {
  const lightning_tests::TemporaryFolder folder;
  const auto file = folder / "rank_2.log";
  const Terminal terminal;
  lightning::set_log_rank(2);
  lightning::log_info("before the file");
  lightning::set_log_file(file);
  lightning::log_info("after");
  lightning::log_warning("a warning for the file");
  lightning::log_to_file("a note");
  CHECK(terminal.lines().empty());

  std::vector<std::string> texts;
  for (const std::string& line : lines_of(file)) {
    std::smatch match;
    REQUIRE(std::regex_match(
        line, match, std::regex(R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \[rank 2\] (.*))")));
    texts.push_back(match[1]);
  }
  // Lines of tests before this one may come first.
  REQUIRE(texts.size() >= 4);
  texts.erase(texts.begin(), texts.end() - 4);
  CHECK(texts == std::vector<std::string>{"[info] before the file", "[info] after",
                                          "[warning] a warning for the file", "[info] a note"});
}

TEST_CASE("The last 1000 lines before the file is opened get into it") {
  const lightning_tests::TemporaryFolder folder;
  const Terminal terminal;
  lightning::set_log_file({});
  for (int i = 0; i < 1005; ++i) lightning::log_to_file(lightning::format("line {}", i));
  lightning::set_log_file(folder / "rank_0.log");
  const std::vector<std::string> lines = lines_of(folder / "rank_0.log");
  REQUIRE(lines.size() == 1000);
  CHECK_THAT(lines.front(), Catch::EndsWith("line 5"));
  CHECK_THAT(lines.back(), Catch::EndsWith("line 1004"));
  lightning::set_log_file({});
}

TEST_CASE("Messages below the level are dropped, others have their level in front") {
  const Terminal terminal;
  const auto log_all = [] {
    lightning::log_trace("one");
    lightning::log_debug("two");
    lightning::log_info("three");
    lightning::log_error("four");
  };
  log_all();
  CHECK(terminal.lines() == std::vector<std::string>{"three", "error: four"});
  lightning::set_log_level(lightning::LogLevel::kTrace);
  log_all();
  lightning::set_log_level(lightning::LogLevel::kError);
  CHECK(lightning::is_logged(lightning::LogLevel::kError));
  CHECK_FALSE(lightning::is_logged(lightning::LogLevel::kWarning));
  log_all();
  lightning::log_warning("a warning below the level");
  lightning::set_log_level(lightning::LogLevel::kOff);
  log_all();
  lightning::log_unfiltered("five");
  lightning::log_unfiltered("six", lightning::LogLevel::kError);
  lightning::set_log_level(lightning::LogLevel::kInfo);
  CHECK(terminal.lines() == std::vector<std::string>{"three", "error: four", "trace: one",
                                                     "debug: two", "three", "error: four",
                                                     "error: four", "five", "error: six"});
  // It was dropped, so it hasn't been given yet.
  lightning::log_warning("a warning below the level");
  CHECK(terminal.lines().back() == "warning: a warning below the level");
}

TEST_CASE("A warning appears once for each key, by default its text") {
  const Terminal terminal;
  lightning::log_warning("key test: some");
  lightning::log_warning("key test: other");
  lightning::log_warning("key test: some");
  for (int i = 0; i < 3; ++i) {
    lightning::log_warning(lightning::format("key test: step {}", i), "key test: step");
  }
  CHECK(terminal.lines() == std::vector<std::string>{"warning: key test: some",
                                                     "warning: key test: other",
                                                     "warning: key test: step 0"});
}

TEST_CASE("Lines of several threads are whole") {
  const lightning_tests::TemporaryFolder folder;
  const Terminal terminal;
  lightning::set_log_file(folder / "rank_0.log");
  std::vector<std::thread> threads;
  for (char name = 'a'; name < 'e'; ++name) {
    threads.emplace_back([name] {
      for (int i = 0; i < 200; ++i) lightning::log_info(std::string(100, name));
    });
  }
  for (std::thread& thread : threads) thread.join();
  lightning::set_log_file({});
  REQUIRE(terminal.lines().size() == 800);
  for (const std::string& line : terminal.lines()) {
    REQUIRE(line == std::string(100, line.front()));
  }
  const std::vector<std::string> lines = lines_of(folder / "rank_0.log");
  CHECK(std::count_if(lines.begin(), lines.end(), [](const std::string& line) {
          return line.size() > 100 &&
                 line.substr(line.size() - 100) == std::string(100, line.back());
        }) == 800);
}

TEST_CASE("Logs for the test of the environment variables", "[.log_variables]") {
  lightning::log_debug("fine detail");
  lightning::log_info("news");
  lightning::set_log_rank(3);
  lightning::log_to_file("a note");
  lightning::set_log_file(std::getenv("LIGHTNING_TEST_LOG_FILE"));
}

TEST_CASE("LIGHTNING_LOG_LEVEL and LIGHTNING_LOG_PATTERN are read at the first message") {
  const lightning_tests::TemporaryFolder folder;
  const auto file = folder / "rank_3.log";
  // Returns what the test case above prints.
  const auto run = [&file](const std::string& variables) {
    const std::string command =
        lightning::format("{} LIGHTNING_TEST_LOG_FILE='{}' {} '[.log_variables]' 2>&1", variables,
                          file.string(), fs::read_symlink("/proc/self/exe").string());
    std::string output;
    std::FILE* pipe = ::popen(command.c_str(), "r");
    REQUIRE(pipe != nullptr);
    for (int c = std::fgetc(pipe); c != EOF; c = std::fgetc(pipe)) output += static_cast<char>(c);
    CHECK(::pclose(pipe) == 0);
    return output;
  };
  CHECK_THAT(run(""), Catch::Contains("news") && !Catch::Contains("fine detail"));
  CHECK_THAT(run("LIGHTNING_LOG_LEVEL=debug"),
             Catch::Contains("debug: fine detail\n") && Catch::Contains("\nnews\n"));
  CHECK_THAT(run("LIGHTNING_LOG_LEVEL=warning"), !Catch::Contains("news"));
  CHECK_THAT(run("LIGHTNING_LOG_LEVEL=loud"),
             Catch::Contains("warning: log: LIGHTNING_LOG_LEVEL is \"loud\", expected trace, ") &&
                 Catch::Contains("\nnews\n"));
  fs::remove(file);
  run("LIGHTNING_LOG_PATTERN='%k %L|%v'");
  CHECK(lines_of(file) == std::vector<std::string>{"3 I|news", "3 I|a note"});
}

TEST_CASE("A log file that can't be written is a warning", "[process]") {
  const Terminal terminal;
  lightning::set_log_file("/dev/null/no/such.log");
  REQUIRE(terminal.lines().size() == 1);
  CHECK_THAT(terminal.lines().front(), Catch::Contains("/dev/null/no/such.log"));
  lightning::log_info("still there");
  CHECK(terminal.lines().back() == "still there");
}

TEST_CASE("Bytes of foreign files reach the terminal and log files as UTF-8") {
  struct Case {
    std::string text;
    std::string printed;
  };
  using namespace std::string_literals;
  const std::vector<Case> cases = {
      {"Rhône 日本 😀\t\x1b[1m", "Rhône 日本 😀\t\x1b[1m"},
      {"caf\xe9", "caf\\xe9"},
      {"\xff\xfe{\0"s, "\\xff\\xfe{\\x00"},
      {"cut \xe6\x97", "cut \\xe6\\x97"},
      {"\xc0\xaf \xed\xa0\x80 \xf4\x90\x80\x80", "\\xc0\\xaf \\xed\\xa0\\x80 \\xf4\\x90\\x80\\x80"},
  };
  const lightning_tests::TemporaryFolder folder;
  const fs::path file = folder / "rank_0.log";
  const Terminal terminal;
  lightning::set_log_file(file);
  for (const Case& one : cases) {
    CHECK(lightning::detail::printable(one.text) == one.printed);
    lightning::log_info(one.text);
    CHECK(terminal.lines().back() == one.printed);
    lightning::log_warning(one.text);
    CHECK(terminal.lines().back() == "warning: " + one.printed);
    lightning::log_unfiltered(one.text);
    CHECK(terminal.lines().back() == one.printed);
  }
  lightning::set_log_file({});
  CHECK(lightning::detail::is_printable(lightning::read_file(file)));
}
