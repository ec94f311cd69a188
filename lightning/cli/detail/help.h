/// What --help prints.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <lightning/cli/detail/cli_config.h>
#include <lightning/cli/detail/cli_keys.h>
#include <lightning/util/export.h>

namespace lightning {

struct HelpText {
  std::string program;      // "sample_li"
  std::string description;  // may be empty
  std::string command;      // empty: the program's own help
  /// Names and one-line helps of all commands.
  std::vector<std::pair<std::string, std::string>> commands;
};

/// Usage, commands, and every key with type, default and help; then the classes that keys may name
/// with their init_args.
LIGHTNING_API std::string format_help(const HelpText& text, const CliKeys& keys);

/// The same for a program without commands and Trainer.
LIGHTNING_API std::string format_options_help(const std::string& program,
                                              std::string_view description,
                                              const std::vector<config::KeyInfo>& keys);

}  // namespace lightning
