/// How a program's module and data module are made from their sections of the config. Their types
/// are known to the program alone; this is what the library sees of them.
#pragma once

#include <concepts>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <lightning/checkpoint/load_from_checkpoint.h>
#include <lightning/config/node.h>
#include <lightning/config/options.h>
#include <lightning/config/registry.h>

namespace lightning {

/// Options of T: its `T::Options` (a struct with LIGHTNING_FIELDS), or none.
template <typename T>
struct OptionsOf {
  using type = config::NoOptions;
};
template <typename T>
requires requires { typename T::Options; }
struct OptionsOf<T> {
  using type = typename T::Options;
};

/// A model that also starts from folders of another program, which one of its options takes. The
/// command line asks T of a ckpt_path that its user gives: T::option_of_folder(path) is that
/// option's key ("model.pretrained"), or "" for anything else.
template <typename T>
concept TakesFolders = requires(const std::filesystem::path& folder) {
  { T::option_of_folder(folder) } -> std::convertible_to<std::string>;
};

/// A model whose option names where it comes from, which a checkpoint of it replaces:
/// T::source_option() is that option's key. The command line refuses it beside a ckpt_path, where
/// it would have no effect.
template <typename T>
concept HasSourceOption = requires {
  { T::source_option() } -> std::convertible_to<std::string>;
};

/// A command's own options, if it has any.
struct CliCommandOptions {
  std::vector<config::KeyInfo> keys = {};
  /// The options with every field written, from a map of these keys. Throws ConfigError.
  std::function<config::ConfigNode(const config::ConfigNode& own)> resolve = {};
};

template <typename Base>
struct CliClass {
  std::vector<config::KeyInfo> keys = {};
  /// The section with every option written. Throws ConfigError.
  std::function<config::ConfigNode(const config::ConfigNode& section)> resolve = {};
  /// With the assets folder of a checkpoint, when there is one to start from. Empty for a program
  /// without a data module.
  std::function<std::shared_ptr<Base>(const config::ConfigNode& section,
                                      const std::optional<std::filesystem::path>& assets)>
      create = {};
  /// T::option_of_folder(), where T has it.
  std::function<std::string(const std::filesystem::path& folder)> option_of_folder = {};
  /// T::source_option(), where T has it, else "".
  std::string source_option = "";
};

/// `path` is the section's key: "model" or "data". T is made by T::from_checkpoint(options, assets)
/// where there is a checkpoint and T has that (see load_from_checkpoint()), else from its Options,
/// or without arguments.
template <typename T, typename Base>
CliClass<Base> make_cli_class(std::string path) {
  using Options = typename OptionsOf<T>::type;
  const auto read = [path](const config::ConfigNode& section) {
    Options options{};
    config::apply(section, options, path);
    return options;
  };
  CliClass<Base> made;
  made.keys = config::describe(Options{}, path);
  made.resolve = [read](const config::ConfigNode& section) {
    return config::to_node(read(section));
  };
  made.create = [read](
                    const config::ConfigNode& section,
                    const std::optional<std::filesystem::path>& assets) -> std::shared_ptr<Base> {
    if constexpr (BuildsFromCheckpoint<T>) {
      if (assets) return T::from_checkpoint(read(section), *assets);
    }
    if constexpr (std::constructible_from<T, Options>) {
      return std::make_shared<T>(read(section));
    } else {
      return std::make_shared<T>();
    }
  };
  if constexpr (TakesFolders<T>) {
    made.option_of_folder = [](const std::filesystem::path& folder) -> std::string {
      return T::option_of_folder(folder);
    };
  }
  if constexpr (HasSourceOption<T>) made.source_option = T::source_option();
  return made;
}

}  // namespace lightning
