/// The command line taken apart, before any key is looked up.
#pragma once

#include <string>
#include <vector>

#include <lightning/util/export.h>

namespace lightning {

struct LIGHTNING_API CommandLine {
  struct Override {
    std::string key;     // "trainer.max_epochs"
    std::string text;    // as it was typed
    std::string option;  // "--trainer.max_epochs", for messages
  };

  std::string program;  // argv[0]
  std::string command;  // empty: none was given
  std::vector<std::string> config_files;
  std::vector<Override> overrides;
  bool help = false;
  bool print_config = false;
  bool version = false;

  /// The program's name without its folder.
  std::string program_name() const;
};

/// PROGRAM COMMAND [--config FILE]... [--KEY VALUE | --KEY=VALUE]... [--print_config] [--version]
/// [--help].
/// In programs with a Trainer --dry_run and --world_size N are trainer.dry_run: true and
/// trainer.world_size: N.
/// '-' and '_' are the same in an option's name. Throws ConfigError for a missing value or an
/// argument that is no option.
LIGHTNING_API CommandLine parse_command_line(int argc, const char* const* argv,
                                             bool has_trainer = true);

}  // namespace lightning
