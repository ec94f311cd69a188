/// ClassSpec: a class that a config chooses, with its init_args. As a field of options it is a
/// SpecOf<registry>, which knows the classes that may stand there:
///
///   struct ModelOptions {
///     config::SpecOf<augmentation_registry> augmentation = "flip";
///   };
///
///   model:
///     augmentation: {class_path: crop, init_args: {size: 24}}   # or the name alone: crop
///
///   auto augmentation = options.augmentation.create();
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <typeinfo>
#include <utility>

#include <lightning/config/node.h>
#include <lightning/config/options.h>
#include <lightning/config/registry.h>
#include <lightning/util/export.h>

namespace lightning::config {

class LIGHTNING_API ClassSpec {
 public:
  /// No class.
  ClassSpec() = default;
  /// "crop" or "{class_path: crop, init_args: {size: 24}}"; "", "none" and "null": no class. Throws
  /// ConfigError for text that is not YAML; the class is checked when it is read or made.
  ClassSpec(std::string_view text);  // NOLINT: implicit, so that a default can be written as text
  ClassSpec(const char* text) : ClassSpec(std::string_view(text)) {}         // NOLINT
  ClassSpec(const std::string& text) : ClassSpec(std::string_view(text)) {}  // NOLINT
  /// `path` is the node's place in the config, for messages.
  explicit ClassSpec(ConfigNode node, std::string path = {});

  bool empty() const { return node_.is_null(); }
  /// As it was written; empty without a class.
  std::string class_path() const;
  /// Null without a class, else {class_path, init_args}. It knows the file and line it came from.
  const ConfigNode& node() const { return node_; }
  const std::string& path() const { return path_; }
  /// YAML on one line, which makes an equal ClassSpec.
  std::string to_text() const;
  bool operator==(const ClassSpec& other) const { return node_ == other.node_; }

 protected:
  ClassSpec(const RegistryBase& registry, std::string_view name, ConfigNode init_args,
            const std::type_info& options);
  /// Lays `node` over this spec (the same class keeps init_args that are not given), checks it and
  /// writes out every init_arg.
  void read_from(const ConfigNode& node, std::string_view path, const RegistryBase& registry);
  ConfigNode resolved(const RegistryBase& registry) const;

 private:
  ConfigNode node_;
  std::string path_;
  bool complete_ = false;  // node_ was read: it is checked and has every init_arg
};

/// `registry_function` returns the registry of the classes: `Registry<Base, Context...>& f()`.
template <auto& registry_function>
class SpecOf : public ClassSpec {
 public:
  using ClassSpec::ClassSpec;

  /// From C++: the class registered as `name` with these options. Throws ConfigError for an unknown
  /// class and for options that are not those of the class.
  template <HasFields Options>
  static SpecOf of(std::string_view name, const Options& options) {
    return SpecOf(registry(), name, config::to_node(options), typeid(Options));
  }

  /// A new object, nullptr without a class. Takes what the registry's create() takes after the
  /// path. Throws ConfigError.
  template <typename... Context>
  auto create(Context&&... context) const {
    using Pointer =
        decltype(registry_function().create(node(), path(), std::forward<Context>(context)...));
    if (empty()) return Pointer();
    return registry_function().create(node(), path(), std::forward<Context>(context)...);
  }

  void read(const ConfigNode& node, std::string_view path) { read_from(node, path, registry()); }
  /// With every init_arg, and the class by its registered name. Throws ConfigError.
  ConfigNode to_node() const { return resolved(registry()); }
  static std::string type_name() { return registry().kind(); }
  static const RegistryBase& registry() { return registry_function(); }
};

}  // namespace lightning::config
