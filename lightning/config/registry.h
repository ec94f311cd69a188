/// Registry: classes that YAML may name. Filled by explicit calls, never by static initialisers.
///
///   registry.add<EarlyStopping, EarlyStoppingOptions>("EarlyStopping", "Stops when ...");
///   auto callback = registry.create(node);  // {class_path: EarlyStopping, init_args: {...}}
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <lightning/config/node.h>
#include <lightning/config/options.h>
#include <lightning/util/export.h>

namespace lightning::config {

/// What doesn't depend on the base class.
class LIGHTNING_API RegistryBase {
 public:
  struct Entry {
    std::string name;
    std::string help;
    std::vector<KeyInfo> init_args;
    /// Options with `init_args` laid over their defaults, every field written.
    std::function<ConfigNode(const ConfigNode& init_args, std::string_view path)> resolve;
    std::function<std::shared_ptr<void>(const ConfigNode& init_args, std::string_view path)> create;
  };

  /// `kind` is what messages call the classes: "callback".
  explicit RegistryBase(std::string kind) : kind_(std::move(kind)) {}

  /// {class_path, init_args} with every option written and the class by its registered name: what
  /// is saved with a run. Throws like create().
  ConfigNode resolve(const ConfigNode& spec, std::string_view path) const;
  const std::vector<Entry>& entries() const { return entries_; }
  const std::string& kind() const { return kind_; }

 protected:
  /// Throws ConfigError when the name is taken.
  void add_entry(Entry entry);
  std::shared_ptr<void> create_erased(const ConfigNode& spec, std::string_view path) const;

 private:
  struct Found {
    const Entry& entry;
    ConfigNode init_args;
    std::string init_args_path;
  };
  Found find(const ConfigNode& spec, std::string_view path) const;

  std::string kind_;
  std::vector<Entry> entries_;
};

/// Options of a class that has none.
struct NoOptions {};
LIGHTNING_FIELDS(NoOptions);

template <typename Base>
class Registry : public RegistryBase {
 public:
  using RegistryBase::RegistryBase;

  /// `Derived` is constructible from `Options`. Throws ConfigError when the name is taken.
  template <typename Derived, HasFields Options>
  void add(std::string name, std::string help) {
    add_with<Options>(std::move(name), std::move(help),
                      [](const Options& options) { return std::make_shared<Derived>(options); });
  }
  /// A class without options.
  template <typename Derived>
  void add(std::string name, std::string help) {
    add_with<NoOptions>(std::move(name), std::move(help),
                        [](const NoOptions&) { return std::make_shared<Derived>(); });
  }

  /// `spec` is {class_path: Name, init_args: {...}} or the name alone; of a dotted name
  /// (lightning.pytorch.callbacks.EarlyStopping) the last part counts. `path` is its place in the
  /// config. Throws ConfigError for an unknown class (with the known ones) or unusable init_args.
  std::shared_ptr<Base> create(const ConfigNode& spec, std::string_view path = {}) const {
    return std::static_pointer_cast<Base>(create_erased(spec, path));
  }

 private:
  template <typename Options, typename Make>
  void add_with(std::string name, std::string help, Make make) {
    const auto read = [](const ConfigNode& init_args, std::string_view path) {
      Options options{};
      apply(init_args, options, path);
      return options;
    };
    add_entry({.name = std::move(name),
               .help = std::move(help),
               .init_args = describe<Options>(),
               .resolve = [read](const ConfigNode& init_args,
                                 std::string_view path) { return to_node(read(init_args, path)); },
               .create =
                   [read, make](const ConfigNode& init_args, std::string_view path) {
                     // The pointer must be to Base before its type is forgotten.
                     const std::shared_ptr<Base> object = make(read(init_args, path));
                     return std::shared_ptr<void>(object);
                   }});
  }
};

}  // namespace lightning::config
