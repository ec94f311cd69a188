#include <lightning/cli/cli_context.h>

#include <utility>

#include <lightning/checkpoint/checkpoint.h>
#include <lightning/checkpoint/load_from_checkpoint.h>
#include <lightning/cli/detail/cli_config.h>
#include <lightning/config/yaml.h>

namespace lightning {

using config::ConfigNode;

CliContext::CliContext(const CliProgram& program, ConfigNode config, std::string program_path)
    : program_(program), config_(std::move(config)), program_path_(std::move(program_path)) {}

std::string CliContext::ckpt_path() const {
  const ConfigNode* node = config_.find("ckpt_path");
  return node == nullptr ? "" : node->text();
}

std::filesystem::path CliContext::checkpoint() const {
  LIGHTNING_CHECK(!ckpt_path().empty(), ConfigError,
                  "command line: no checkpoint was given, expected one. HINT: add --ckpt_path "
                  "FOLDER.");
  return find_cli_checkpoint(config_, ckpt_path());
}

std::optional<std::filesystem::path> CliContext::assets() const {
  if (ckpt_path().empty()) return std::nullopt;
  return Checkpoint::assets_dir(checkpoint());
}

Trainer& CliContext::trainer() {
  if (trainer_ == nullptr) {
    OptimizerSpecs optimizers;
    if (const auto* node = config_.find("optimizer")) optimizers.optimizer.read(*node, "optimizer");
    if (const auto* node = config_.find("lr_scheduler")) {
      optimizers.lr_scheduler.read(*node, "lr_scheduler");
    }
    TrainerSection section = read_trainer_section(*config_.find("trainer"));
    trainer_ = std::make_unique<Trainer>(
        std::move(section.options), TrainerParts{.callbacks = section.classes.callbacks.create(),
                                                 .loggers = section.classes.logger.create(),
                                                 .profiler = section.classes.profiler.create(),
                                                 .optimizers = std::move(optimizers)});
    trainer_->set_config(config::to_yaml(config_), program_path_);
  }
  return *trainer_;
}

std::shared_ptr<LightningModule> CliContext::module() {
  if (module_ == nullptr) module_ = program_.model.create(*config_.find("model"), assets());
  return module_;
}

std::shared_ptr<LightningDataModule> CliContext::data_module() {
  if (data_module_ == nullptr && program_.data.create) {
    data_module_ = program_.data.create(*config_.find("data"), assets());
  }
  return data_module_;
}

std::shared_ptr<LightningModule> CliContext::module_from_checkpoint() {
  detail::load_weights(*module(), Checkpoint::read_model(checkpoint()), checkpoint(),
                       module()->strict_loading());
  module()->eval();
  return module();
}

}  // namespace lightning
