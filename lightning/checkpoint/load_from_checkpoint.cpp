#include <lightning/checkpoint/load_from_checkpoint.h>

#include <string>

#include <lightning/checkpoint/detail/names.h>
#include <lightning/config/yaml.h>
#include <lightning/util/error.h>

namespace lightning {

config::ConfigNode detail::read_model_options(const std::filesystem::path& directory) {
  const std::string text = Checkpoint::read_config(directory);
  const config::ConfigNode whole =
      config::parse_yaml(text, (directory / detail::kConfigFile).string());
  const config::ConfigNode* model = whole.find("model");
  LIGHTNING_CHECK(model != nullptr, CheckpointError, "checkpoint \"", directory.string(),
                  "\": its config has no section \"model\", from which a model could be rebuilt. ",
                  "HINT: call save_hyperparameters() in the module, or build the module yourself ",
                  "and use load_model_state().");
  // A class chosen by name in YAML.
  const config::ConfigNode* init_args = model->find("init_args");
  if (init_args != nullptr) return *init_args;
  if (model->is_null() || model->find("class_path") != nullptr) return config::ConfigNode::map();
  return *model;
}

}  // namespace lightning
