#include <lightning/util/log.h>

#include <regex>
#include <sstream>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include <lightning/util/file_system.h>
#include <support/temporary_folder.h>

namespace {

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

  std::istringstream stream(lightning::read_file(file));
  std::vector<std::string> texts;
  for (std::string line; std::getline(stream, line);) {
    std::smatch match;
    REQUIRE(std::regex_match(line, match, std::regex(R"((\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ) (.*))")));
    texts.push_back(match[2]);
  }
  // Lines of tests before this one may come first.
  REQUIRE(texts.size() >= 4);
  texts.erase(texts.begin(), texts.end() - 4);
  CHECK(texts == std::vector<std::string>{"before the file", "after",
                                          "warning: a warning for the file", "a note"});
}

TEST_CASE("A log file that can't be written is a warning", "[process]") {
  const Terminal terminal;
  lightning::set_log_file("/dev/null/no/such.log");
  REQUIRE(terminal.lines().size() == 1);
  CHECK_THAT(terminal.lines().front(), Catch::Contains("/dev/null/no/such.log"));
  lightning::log_info("goes on");
  CHECK(terminal.lines().back() == "goes on");
}
