#include <lightning/cli/detail/command_line.h>

#include "cli_support.h"

namespace {

lightning::CommandLine parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "build/bin/liner");
  return lightning::parse_command_line(static_cast<int>(arguments.size()), arguments.data());
}

std::string parse_error(std::vector<const char*> arguments) {
  return cli_test::config_error([&] { parse(arguments); });
}

}  // namespace

TEST_CASE("parse_command_line takes the command, files and keys apart") {
  const auto line = parse({"fit", "--config", "a.yaml", "--trainer.max_epochs", "2", "-c=b.yaml",
                           "--model.learning_rate=3e-5", "--model.bias", "-1", "--print_config"});
  CHECK(line.program == "build/bin/liner");
  CHECK(line.program_name() == "liner");
  CHECK(line.command == "fit");
  CHECK(line.config_files == std::vector<std::string>{"a.yaml", "b.yaml"});
  REQUIRE(line.overrides.size() == 3);
  CHECK(line.overrides[0].key == "trainer.max_epochs");
  CHECK(line.overrides[0].text == "2");
  CHECK(line.overrides[1].option == "--model.learning_rate");
  CHECK(line.overrides[1].text == "3e-5");
  CHECK(line.overrides[2].text == "-1");
  CHECK(line.print_config);
  CHECK_FALSE(line.help);
}

TEST_CASE("parse_command_line takes values that look like options or are empty after =") {
  const auto line = parse({"ask", "--context-file=--odd", "--question=a=b", "--note="});
  CHECK(line.overrides[0].key == "context_file");
  CHECK(line.overrides[0].text == "--odd");
  CHECK(line.overrides[1].text == "a=b");
  CHECK(line.overrides[2].text.empty());
}

TEST_CASE("parse_command_line knows help without and with a command") {
  CHECK(parse({"--help"}).help);
  CHECK(parse({"-h"}).command.empty());
  CHECK(parse({"fit", "--help"}).help);
  CHECK(parse({}).command.empty());
}

TEST_CASE("parse_command_line knows --version, which takes no value") {
  CHECK(parse({"--version"}).version);
  CHECK(parse({"fit", "--version"}).version);
  CHECK_FALSE(parse({"fit"}).version);
  CHECK(parse_error({"--version=1"}) == "command line: --version takes no value, got \"1\"");
}

TEST_CASE("parse_command_line takes --dry_run and --world_size as keys of the trainer") {
  const auto line = parse({"fit", "--dry-run", "--world_size", "1024", "--trainer.max_steps=2"});
  REQUIRE(line.overrides.size() == 3);
  CHECK(line.overrides[0].key == "trainer.dry_run");
  CHECK(line.overrides[0].text == "true");
  CHECK(line.overrides[0].option == "--dry-run");
  CHECK(line.overrides[1].key == "trainer.world_size");
  CHECK(line.overrides[1].text == "1024");
  CHECK(parse_error({"fit", "--dry_run=1"}) == "command line: --dry_run takes no value, got \"1\"");
  CHECK(parse_error({"fit", "--world_size"}).find("--world_size has no value") !=
        std::string::npos);
}

TEST_CASE("parse_command_line leaves --dry_run and --world_size to programs without a Trainer") {
  const char* arguments[] = {"program", "--dry_run", "true", "--world_size=3"};
  const auto line = lightning::parse_command_line(4, arguments, /*has_trainer=*/false);
  REQUIRE(line.overrides.size() == 2);
  CHECK(line.overrides[0].key == "dry_run");
  CHECK(line.overrides[0].text == "true");
  CHECK(line.overrides[1].key == "world_size");
}

TEST_CASE("parse_command_line refuses what it can't place") {
  CHECK(parse_error({"fit", "more"}) ==
        "command line: unexpected argument \"more\", expected an option (--KEY VALUE). HINT: quote "
        "values that have spaces.");
  CHECK(parse_error({"fit", "--trainer.fast_dev_run"}) ==
        "command line: --trainer.fast_dev_run has no value, expected --trainer.fast_dev_run VALUE. "
        "HINT: write --trainer.fast_dev_run=VALUE when the value begins with --.");
  CHECK(parse_error({"fit", "--config", "--help"}).find("--config has no value") !=
        std::string::npos);
  CHECK(parse_error({"fit", "--print_config=yes"}) ==
        "command line: --print_config takes no value, got \"yes\"");
  CHECK(parse_error({"fit", "--"}).find("unexpected argument \"--\"") != std::string::npos);
  CHECK(parse_error({"fit", "-x"}).find("unexpected argument \"-x\"") != std::string::npos);
}
