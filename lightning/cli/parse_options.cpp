#include <lightning/cli/parse_options.h>

#include <cstdio>
#include <string>

#include <lightning/cli/detail/cli_keys.h>
#include <lightning/cli/detail/command_line.h>
#include <lightning/cli/detail/help.h>
#include <lightning/cli/detail/version.h>
#include <lightning/config/yaml.h>
#include <lightning/util/error.h>

namespace lightning::detail {

using config::ConfigNode;

bool read_options(int argc, const char* const* argv, std::string_view description,
                  const std::vector<config::KeyInfo>& keys,
                  const std::function<ConfigNode(const ConfigNode&)>& apply) {
  const CommandLine line = parse_command_line(argc, argv, /*has_trainer=*/false);
  LIGHTNING_CHECK(line.command.empty(), ConfigError, "command line: unexpected argument \"",
                  line.command, "\", expected an option (--KEY VALUE). HINT: --help lists all.");
  if (line.version) {
    std::fputs(version_text().c_str(), stdout);
    return false;
  }
  if (line.help) {
    std::fputs(format_options_help(line.program_name(), description, keys).c_str(), stdout);
    return false;
  }
  const CliKeys known(keys);
  ConfigNode given = ConfigNode::map();
  for (const std::string& file : line.config_files) {
    given.merge(known.checked(config::load_yaml_file(file)));
  }
  known.apply_overrides(line.overrides, given);
  const ConfigNode resolved = apply(given);
  if (line.print_config) std::fputs(config::to_yaml(resolved).c_str(), stdout);
  return !line.print_config;
}

}  // namespace lightning::detail
