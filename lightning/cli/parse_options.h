/// The options of a program that has no Trainer and no commands, from its command line.
#pragma once

#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include <lightning/config/options.h>
#include <lightning/util/export.h>

namespace lightning {

namespace detail {
/// Hands the values of files and command line to `apply`, which gives all options back. False when
/// it printed a text instead of what the program does.
LIGHTNING_API bool read_options(
    int argc, const char* const* argv, std::string_view description,
    const std::vector<config::KeyInfo>& keys,
    const std::function<config::ConfigNode(const config::ConfigNode&)>& apply);
}  // namespace detail

/// PROGRAM [--config FILE]... [--KEY VALUE | --KEY=VALUE]... [--print_config]
/// [--version] [--help] for an options struct with LIGHTNING_FIELDS; '-' and '_' are the same in a
/// key. Nothing after --help, --version and --print_config, which have printed their text then: the
/// program is done. Throws ConfigError for unknown keys (with the nearest one) and values of the
/// wrong type.
template <config::HasFields Options>
std::optional<Options> parse_options(int argc, const char* const* argv,
                                     std::string_view description) {
  Options options{};
  const auto apply = [&options](const config::ConfigNode& given) {
    config::apply(given, options);
    return config::to_node(options);
  };
  const bool runs = detail::read_options(argc, argv, description, config::describe(options), apply);
  return runs ? std::optional<Options>(options) : std::nullopt;
}

}  // namespace lightning
