/// Every key that a program's config may have, and the checks that need them all.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <lightning/cli/detail/command_line.h>
#include <lightning/config/node.h>
#include <lightning/config/options.h>
#include <lightning/util/export.h>

namespace lightning {

class LIGHTNING_API CliKeys {
 public:
  explicit CliKeys(std::vector<config::KeyInfo> keys);

  const std::vector<config::KeyInfo>& keys() const { return keys_; }

  /// A layer of the config, ready to be merged: a map, without sections that have nothing in them.
  /// Throws ConfigError for the first key that doesn't exist, with the nearest one.
  config::ConfigNode checked(config::ConfigNode layer) const;

  /// Sets the values of the command line on top of `config`. A value is text where its key takes
  /// any text; elsewhere null, [lists] and {maps} are read as YAML. Throws ConfigError for unknown
  /// keys.
  void apply_overrides(const std::vector<CommandLine::Override>& overrides,
                       config::ConfigNode& config) const;

 private:
  enum class Match { kNone, kSection, kKey, kBelowKey };
  Match match(std::string_view path) const;
  void check(config::ConfigNode& node, const std::string& path) const;
  /// `prefix` is what stands before keys where the user wrote this one ("--").
  [[noreturn]] void throw_unknown(std::string_view what, std::string_view prefix,
                                  std::string_view key, std::string_view section) const;
  config::ConfigNode parse_value(const CommandLine::Override& override_,
                                 const std::optional<config::KeyInfo>& info) const;

  std::vector<config::KeyInfo> keys_;
};

}  // namespace lightning
