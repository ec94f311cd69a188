/// From config files and the command line to one resolved config.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <lightning/callbacks/registry.h>
#include <lightning/cli/cli_context.h>
#include <lightning/cli/detail/cli_keys.h>
#include <lightning/config/class_spec.h>
#include <lightning/config/fields.h>
#include <lightning/config/node.h>
#include <lightning/loggers/registry.h>
#include <lightning/optim/registry.h>
#include <lightning/profilers/registry.h>
#include <lightning/run/options.h>
#include <lightning/util/export.h>

namespace lightning {

/// true (a fixed default seed), false (nothing is seeded) or the seed.
class LIGHTNING_API SeedOption {
 public:
  SeedOption() = default;
  explicit SeedOption(uint64_t seed) : seed_(seed) {}
  static SeedOption from_text(std::string_view text);
  std::string to_text() const;
  static std::string type_name() { return "integer|true|false"; }

  /// Seeds everything unless it is false; true becomes the seed that was taken.
  void seed();

 private:
  bool on_ = true;
  std::optional<uint64_t> seed_ = std::nullopt;
};

/// Keys outside of all sections.
struct GeneralOptions {
  SeedOption seed_everything = {};
  config::SpecOf<optim::optimizer_registry> optimizer = {};
  config::SpecOf<optim::lr_scheduler_registry> lr_scheduler = {};
  std::optional<std::string> ckpt_path = std::nullopt;
};
LIGHTNING_FIELDS(GeneralOptions,
                 LIGHTNING_FIELD(seed_everything,
                                 "seed of all generators; true: 0, or the environment's "
                                 "LIGHTNING_SEED; false: none"),
                 LIGHTNING_FIELD(optimizer, "for models that don't make one themselves; see below"),
                 LIGHTNING_FIELD(lr_scheduler, "LR schedule of that optimizer; see below"),
                 LIGHTNING_FIELD(ckpt_path, "checkpoint to start from: a folder, last or best"));

/// One class or a list of them; null is an empty list.
template <auto& registry_function>
class OneOrMore {
 public:
  using Spec = config::SpecOf<registry_function>;

  void read(const config::ConfigNode& node, std::string_view path) {
    is_list_ = node.kind() == config::ConfigNode::Kind::kList || node.is_null();
    specs_.clear();
    if (is_list_) {
      config::type_info<std::vector<Spec>>().read(
          node.is_null() ? config::ConfigNode::list() : node, &specs_, path);
    } else {
      specs_.emplace_back().read(node, path);
    }
  }
  config::ConfigNode to_node() const {
    return is_list_ ? config::type_info<std::vector<Spec>>().write(&specs_)
                    : specs_.front().to_node();
  }
  static std::string type_name() { return "list of " + registry().kind() + "s"; }
  static const config::RegistryBase& registry() { return Spec::registry(); }

  auto create() const {
    std::vector<decltype(Spec().create())> objects;
    for (const Spec& spec : specs_) {
      if (!spec.empty()) objects.push_back(spec.create());
    }
    return objects;
  }

 private:
  bool is_list_ = true;
  std::vector<Spec> specs_;
};

/// true: the Trainer's own loggers; false: none; else classes.
class LIGHTNING_API LoggerChoice {
 public:
  void read(const config::ConfigNode& node, std::string_view path);
  config::ConfigNode to_node() const;
  static std::string type_name() { return "true|false|loggers"; }
  static const config::RegistryBase& registry() { return logger_registry(); }

  /// std::nullopt: the Trainer's own.
  std::optional<Loggers> create() const;

 private:
  std::optional<bool> switch_ = true;
  OneOrMore<logger_registry> classes_;
};

/// Keys of the trainer section that name classes and are no part of TrainerOptions.
struct TrainerClasses {
  OneOrMore<callback_registry> callbacks = {};
  LoggerChoice logger = {};
  config::SpecOf<profiler_registry> profiler = {};
};
LIGHTNING_FIELDS(TrainerClasses,
                 LIGHTNING_FIELD(callbacks, "objects that observe the run; see below"),
                 LIGHTNING_FIELD(logger,
                                 "true: CSV and TensorBoard; or a list of loggers; see below"),
                 LIGHTNING_FIELD(profiler, "measures the parts of a run; see below"));

/// The two parts of a trainer section.
struct TrainerSection {
  TrainerOptions options;
  TrainerClasses classes;
};
/// Throws ConfigError.
TrainerSection read_trainer_section(config::ConfigNode section);

/// Every key that a command takes; `defaults` are the program's, shown as such.
CliKeys make_cli_keys(const CliProgram& program, const CliCommandOptions& own,
                      const config::ConfigNode& defaults);

/// Lays the layers over each other (the program's defaults, for commands other than fit the model
/// and data options in the checkpoint, the config files, the command line), then reads them into
/// the options they belong to. The result has every key and is itself a valid config. Seeds the
/// generators. Throws ConfigError and, for the checkpoint, CheckpointError.
config::ConfigNode resolve_cli_config(const CliProgram& program, const CliCommandOptions& own,
                                      const CliKeys& keys, const CommandLine& line,
                                      const config::ConfigNode& defaults);

/// The checkpoint directory that `ckpt_path` (a folder, "last" or "best") stands for.
std::filesystem::path find_cli_checkpoint(const config::ConfigNode& config,
                                          const std::string& ckpt_path);

}  // namespace lightning
