#include <lightning/cli/detail/command_line.h>

#include <algorithm>
#include <optional>
#include <string_view>

#include <lightning/util/error.h>

namespace lightning {
namespace {

/// One option: its name as typed, its key, and the value if there was an equals sign.
struct Option {
  std::string typed;
  std::string key;
  std::optional<std::string> value;
};

Option parse_option(std::string_view argument) {
  Option option;
  const size_t equals = argument.find('=');
  option.typed = argument.substr(0, equals);
  if (equals != std::string_view::npos) option.value = argument.substr(equals + 1);
  option.key = option.typed == "-c"   ? "config"
               : option.typed == "-h" ? "help"
                                      : option.typed.substr(2);
  std::replace(option.key.begin(), option.key.end(), '-', '_');
  return option;
}

bool is_option(std::string_view argument) {
  return argument.starts_with("--") || argument == "-h" || argument == "-c" ||
         argument.starts_with("-c=");
}

}  // namespace

std::string CommandLine::program_name() const {
  return program.substr(program.find_last_of('/') + 1);  // npos + 1 is 0
}

CommandLine parse_command_line(int argc, const char* const* argv, bool has_trainer) {
  CommandLine line;
  line.program = argc > 0 ? argv[0] : "program";
  const std::vector<std::string> arguments(argv + std::min(argc, 1), argv + argc);
  size_t next = 0;
  if (!arguments.empty() && !is_option(arguments[0])) line.command = arguments[next++];
  while (next < arguments.size()) {
    const std::string& argument = arguments[next++];
    LIGHTNING_CHECK(is_option(argument) && argument.size() > 2 - (argument[1] != '-'), ConfigError,
                    "command line: unexpected argument \"", argument,
                    "\", expected an option (--KEY VALUE). HINT: quote values that have spaces.");
    Option option = parse_option(argument);
    const bool dry_run = has_trainer && option.key == "dry_run";
    if (option.key == "help" || option.key == "print_config" || option.key == "version" ||
        dry_run) {
      LIGHTNING_CHECK(!option.value, ConfigError, "command line: ", option.typed,
                      " takes no value, got \"", *option.value, "\"");
      line.help |= option.key == "help";
      line.print_config |= option.key == "print_config";
      line.version |= option.key == "version";
      if (dry_run) {
        line.overrides.push_back({"trainer.dry_run", "true", option.typed});
      }
      continue;
    }
    if (has_trainer && option.key == "world_size") option.key = "trainer.world_size";
    if (!option.value) {
      LIGHTNING_CHECK(next < arguments.size() && !is_option(arguments[next]), ConfigError,
                      "command line: ", option.typed, " has no value, expected ", option.typed,
                      " VALUE. HINT: write ", option.typed,
                      "=VALUE when the value begins with --.");
      option.value = arguments[next++];
    }
    if (option.key == "config") {
      line.config_files.push_back(*option.value);
    } else {
      line.overrides.push_back({option.key, *option.value, option.typed});
    }
  }
  return line;
}

}  // namespace lightning
