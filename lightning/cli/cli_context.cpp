#include <lightning/cli/cli_context.h>

#include <utility>

#include <lightning/callbacks/registry.h>
#include <lightning/checkpoint/checkpoint.h>
#include <lightning/cli/detail/cli_config.h>
#include <lightning/config/registry.h>
#include <lightning/config/yaml.h>
#include <lightning/loggers/registry.h>

namespace lightning {

using config::ConfigNode;

namespace {

/// The objects that `node` (one spec or a list of them) describes.
template <typename Base>
std::vector<std::shared_ptr<Base>> create_objects(const config::Registry<Base>& registry,
                                                  const ConfigNode& node, const std::string& path) {
  std::vector<std::shared_ptr<Base>> objects;
  if (node.kind() != ConfigNode::Kind::kList) {
    objects.push_back(registry.create(node, path));
    return objects;
  }
  for (const ConfigNode& item : node.items()) {
    const std::string index = std::to_string(objects.size());
    objects.push_back(registry.create(item, config::join_path(path, index)));
  }
  return objects;
}

}  // namespace

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

Callbacks CliContext::make_callbacks() const {
  return create_objects(callback_registry(), *config_.find_path("trainer.callbacks"),
                        "trainer.callbacks");
}

std::optional<Loggers> CliContext::make_loggers() const {
  const ConfigNode& node = *config_.find_path("trainer.logger");
  if (node.text() == "true") return std::nullopt;
  if (node.text() == "false") return Loggers{};
  return create_objects(logger_registry(), node, "trainer.logger");
}

Trainer& CliContext::trainer() {
  if (trainer_ == nullptr) {
    ConfigNode section = *config_.find("trainer");
    section.take("callbacks");
    section.take("logger");
    TrainerOptions options;
    config::apply(section, options, "trainer");
    trainer_ = std::make_unique<Trainer>(std::move(options), make_callbacks(), make_loggers());
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
  load_model_state(*module(), Checkpoint::read_model(checkpoint()));
  module()->eval();
  return module();
}

}  // namespace lightning
