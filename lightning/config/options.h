/// Options structs (with LIGHTNING_FIELDS, see fields.h) to config nodes and back.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <lightning/config/fields.h>
#include <lightning/config/node.h>
#include <lightning/config/value_type.h>
#include <lightning/util/export.h>

namespace lightning::config {

/// Every field, also those at their default, in the order of the field list.
template <HasFields T>
ConfigNode to_node(const T& options) {
  return type_info<T>().write(&options);
}

/// Sets the fields that `node` names and leaves the others. `path` is the place of the options in
/// the whole config ("trainer"), for messages. Throws ConfigError for an unknown key (with the
/// nearest one) or a value of the wrong type; fields read before that are set then.
template <HasFields T>
void apply(const ConfigNode& node, T& options, std::string_view path = {}) {
  type_info<T>().read(node, &options, path);
}

/// One key of an options struct, for --help and for finding the nearest name.
struct KeyInfo {
  std::string key;            // "trainer.max_epochs"
  std::string type;           // "integer or null"
  std::string default_value;  // as YAML on one line
  std::string help;
  bool is_text = false;      // any text is a value
  bool is_optional = false;  // null is a value
  /// The registries of the classes that the value may name.
  std::vector<const RegistryBase*> registries = {};
};

namespace detail {
LIGHTNING_API std::vector<KeyInfo> describe(const StructInfo& info, const ConfigNode& defaults,
                                            std::string_view path);
}  // namespace detail

/// The keys of `options` with its values as defaults, nested structs included.
template <HasFields T>
std::vector<KeyInfo> describe(const T& options = T{}, std::string_view path = {}) {
  return detail::describe(*type_info<T>().structure, to_node(options), path);
}

/// The ConfigError for a key of `node` at `path` that is none of `known` (names without the path).
[[noreturn]] LIGHTNING_API void throw_unknown_key(const ConfigNode& value, std::string_view key,
                                                  std::string_view path,
                                                  const std::vector<std::string>& known);

/// "trainer" and "max_epochs" make "trainer.max_epochs"; an empty path leaves the key as it is.
LIGHTNING_API std::string join_path(std::string_view path, std::string_view key);

}  // namespace lightning::config
