/// From config files and the command line to one resolved config.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include <lightning/cli/cli_context.h>
#include <lightning/cli/detail/cli_keys.h>
#include <lightning/config/fields.h>
#include <lightning/config/node.h>
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
  std::optional<std::string> ckpt_path = std::nullopt;
};
LIGHTNING_FIELDS(GeneralOptions,
                 LIGHTNING_FIELD(seed_everything,
                                 "seed of all generators; true: 0, or the environment's "
                                 "LIGHTNING_SEED; false: none"),
                 LIGHTNING_FIELD(ckpt_path, "checkpoint to start from: a folder, last or best"));

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
