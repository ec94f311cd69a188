/// CliContext: what a command works with: the resolved config and the objects made from it.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include <lightning/callbacks/callback.h>
#include <lightning/cli/cli_class.h>
#include <lightning/config/node.h>
#include <lightning/core/lightning_data_module.h>
#include <lightning/core/lightning_module.h>
#include <lightning/loggers/logger.h>
#include <lightning/trainer/trainer.h>
#include <lightning/util/error.h>
#include <lightning/util/export.h>

namespace lightning {

/// The parts that a program brings along.
struct CliProgram {
  CliClass<LightningModule> model;
  CliClass<LightningDataModule> data;
};

class LIGHTNING_API CliContext {
 public:
  /// For cli_main(). `config` is resolved: every key is there.
  CliContext(const CliProgram& program, config::ConfigNode config, std::string program_path);

  const config::ConfigNode& config() const { return config_; }
  /// A checkpoint directory, "last", "best", or empty.
  std::string ckpt_path() const;
  /// The directory that ckpt_path() stands for. Throws ConfigError when none was given and
  /// CheckpointError when there is none.
  std::filesystem::path checkpoint() const;

  /// Each is made on first use and is the same object afterwards. Throws ConfigError.
  Trainer& trainer();
  std::shared_ptr<LightningModule> module();
  /// nullptr for a program without one.
  std::shared_ptr<LightningDataModule> data_module();

  /// module() with the weights of checkpoint(), in eval mode, for commands that need no Trainer.
  std::shared_ptr<LightningModule> module_from_checkpoint();

  /// The program's own types: `context.module_as<LitBert>()`.
  template <typename T>
  std::shared_ptr<T> module_as() {
    return checked<T>(std::dynamic_pointer_cast<T>(module()));
  }
  template <typename T>
  std::shared_ptr<T> data_module_as() {
    return checked<T>(std::dynamic_pointer_cast<T>(data_module()));
  }

 private:
  template <typename T>
  static std::shared_ptr<T> checked(std::shared_ptr<T> object) {
    LIGHTNING_CHECK(
        object != nullptr, ConfigError,
        "CliContext: the program's object has a different type, expected the one that was "
        "given to cli_main");
    return object;
  }
  std::optional<std::filesystem::path> assets() const;

  const CliProgram& program_;
  config::ConfigNode config_;
  std::string program_path_;
  std::unique_ptr<Trainer> trainer_;
  std::shared_ptr<LightningModule> module_;
  std::shared_ptr<LightningDataModule> data_module_;
};

}  // namespace lightning
