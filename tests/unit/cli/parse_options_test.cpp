#include <lightning/cli/parse_options.h>

#include "cli_support.h"

using Catch::Contains;
using cli_test::LineOptions;
using lightning_tests::TemporaryFolder;

namespace {

std::optional<LineOptions> parse(std::vector<std::string> arguments) {
  std::vector<const char*> argv = {"build/bin/liner"};
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  return lightning::parse_options<LineOptions>(static_cast<int>(argv.size()), argv.data(),
                                               "Draws a line.");
}

std::string parse_error(const std::vector<std::string>& arguments) {
  return cli_test::config_error([&] { parse(arguments); });
}

}  // namespace

TEST_CASE("parse_options takes defaults, files and the command line, the latter over the former") {
  const TemporaryFolder folder;
  const std::string file =
      cli_test::write_file(folder, "a.yaml", "width: 3\nlearning_rate: 0.5\nnote: n\n");
  const auto options = parse({"--config", file, "--learning-rate", "0.25", "--note=null"});
  REQUIRE(options);
  CHECK(options->width == 3);
  CHECK(options->learning_rate == 0.25);
  CHECK(options->title == "line");
  CHECK(!options->note);
  CHECK(parse({})->width == 1);
}

TEST_CASE("parse_options refuses what it doesn't know") {
  CHECK_THAT(parse_error({"--widht", "3"}), Contains("\"--widht\"") && Contains("--width"));
  CHECK_THAT(parse_error({"--width", "wide"}), Contains("width") && Contains("wide"));
  CHECK_THAT(parse_error({"fit", "--width", "3"}), Contains("unexpected argument \"fit\""));
  const TemporaryFolder folder;
  const std::string file = cli_test::write_file(folder, "a.yaml", "titel: x\n");
  CHECK_THAT(parse_error({"--config", file}), Contains("a.yaml:1") && Contains("title"));
}

TEST_CASE("parse_options prints help and config and leaves nothing to do") {
  std::string text = cli_test::captured(STDOUT_FILENO, [] { CHECK(!parse({"--help"})); });
  CHECK_THAT(text, Contains("usage: liner [--config FILE]") && Contains("Draws a line.") &&
                       Contains("--width") && Contains("outputs"));
  text = cli_test::captured(STDOUT_FILENO, [] {
    CHECK(!parse({"--width", "4", "--print_config"}));
  });
  CHECK_THAT(text, Contains("width: 4") && Contains("title: line"));
}
