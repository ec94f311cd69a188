/// Registry: the classes of one kind that a config may name. Filled by explicit calls, never by
/// static initialisers.
///
///   config::Registry<Callback>& callback_registry();        // one function per kind
///   callback_registry().add<EarlyStopping, EarlyStoppingOptions>("EarlyStopping", "ends a fit");
///   auto callback = callback_registry().create(node);  // {class_path: EarlyStopping}
#pragma once

#include <concepts>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <typeinfo>
#include <utility>
#include <vector>

#include <lightning/config/node.h>
#include <lightning/config/options.h>
#include <lightning/util/export.h>

namespace lightning::config {

/// What does not depend on the base class.
class LIGHTNING_API RegistryBase {
 public:
  struct Entry {
    std::string name;
    std::string help;
    /// The keys of init_args, without a path.
    std::function<std::vector<KeyInfo>()> init_args;
    /// Options with `init_args` laid over their defaults, every field written.
    std::function<ConfigNode(const ConfigNode& init_args, std::string_view path)> resolve;
    const std::type_info* options;
  };

  /// `kind` is what messages call the classes: "callback".
  explicit RegistryBase(std::string kind) : kind_(std::move(kind)) {}

  /// {class_path, init_args} with every option written and the class by its registered name: what
  /// is saved with a run. Throws like Registry::create(), also when the init_args name classes
  /// whose init_args name classes, and so on, 64 deep.
  ConfigNode resolve(const ConfigNode& spec, std::string_view path) const;
  const std::vector<Entry>& entries() const { return entries_; }
  /// The class that `spec` (see Registry::create()) names, or nullptr.
  const Entry* find_entry(const ConfigNode& spec) const;
  const std::string& kind() const { return kind_; }
  /// Another name for the class `name`. Throws ConfigError when it is taken or there is no `name`.
  void add_alias(std::string alias, std::string name);

 protected:
  struct Found {
    size_t index;  // into entries()
    ConfigNode init_args;
    std::string init_args_path;
  };
  Found find(const ConfigNode& spec, std::string_view path) const;
  /// Throws ConfigError when the name is taken.
  void add_entry(Entry entry);

 private:
  std::string kind_;
  std::vector<Entry> entries_;
  std::map<std::string, std::string, std::less<>> aliases_;
};

/// Options of a class that has none.
struct NoOptions {};
LIGHTNING_FIELDS(NoOptions);

/// `Context...` are the constructor arguments that only the run knows (parameters, a device); the
/// options come after them. Not synchronized: add classes before other threads use the registry.
template <typename Base, typename... Context>
class Registry : public RegistryBase {
 public:
  using RegistryBase::RegistryBase;

  /// Throws ConfigError when the name is taken.
  template <std::derived_from<Base> Derived, HasFields Options>
  void add(std::string name, std::string help) {
    static_assert(
        std::constructible_from<Derived, Context..., const Options&>,
        "Registry::add: the class needs a constructor from the registry's context and its "
        "options: Derived(Context..., const Options&)");
    add_with<Options>(
        std::move(name), std::move(help), [](Context... context, const Options& options) {
          return std::make_shared<Derived>(std::forward<Context>(context)..., options);
        });
  }
  /// A class without options.
  template <std::derived_from<Base> Derived>
  void add(std::string name, std::string help) {
    static_assert(std::constructible_from<Derived, Context...>,
                  "Registry::add: a class without options needs a constructor from the registry's "
                  "context: Derived(Context...)");
    add_with<NoOptions>(std::move(name), std::move(help), [](Context... context, const NoOptions&) {
      return std::make_shared<Derived>(std::forward<Context>(context)...);
    });
  }

  /// `spec` is {class_path: Name, init_args: {...}} or the name alone; of a dotted name
  /// (lightning.pytorch.callbacks.EarlyStopping) the last part counts. `path` is its place in the
  /// config. Throws ConfigError for an unknown class (with the known ones) or unusable init_args.
  std::shared_ptr<Base> create(const ConfigNode& spec, std::string_view path,
                               Context... context) const {
    const Found found = find(spec, path);
    return makers_[found.index](found.init_args, found.init_args_path,
                                std::forward<Context>(context)...);
  }
  std::shared_ptr<Base> create(const ConfigNode& spec) const requires(sizeof...(Context) == 0) {
    return create(spec, {});
  }

  /// A class that is not made by Derived(Context..., const Options&): `make` takes these and
  /// returns a shared_ptr to it. Throws ConfigError when the name is taken.
  template <HasFields Options, typename Make>
  void add_factory(std::string name, std::string help, Make make) {
    add_with<Options>(std::move(name), std::move(help), std::move(make));
  }

 private:
  using Maker = std::function<std::shared_ptr<Base>(const ConfigNode& init_args,
                                                    std::string_view path, Context... context)>;

  template <typename Options, typename Make>
  void add_with(std::string name, std::string help, Make make) {
    const auto read = [](const ConfigNode& init_args, std::string_view path) {
      Options options{};
      apply(init_args, options, path);
      return options;
    };
    add_entry({.name = std::move(name),
               .help = std::move(help),
               .init_args = [] { return describe<Options>(); },
               .resolve = [read](const ConfigNode& init_args,
                                 std::string_view path) { return to_node(read(init_args, path)); },
               .options = &typeid(Options)});
    makers_.push_back([read, make](const ConfigNode& init_args, std::string_view path,
                                   Context... context) {
      return std::shared_ptr<Base>(make(std::forward<Context>(context)..., read(init_args, path)));
    });
  }

  std::vector<Maker> makers_;  // one per entry
};

}  // namespace lightning::config
