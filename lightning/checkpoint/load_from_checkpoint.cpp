#include <lightning/checkpoint/load_from_checkpoint.h>

#include <algorithm>
#include <string>
#include <vector>

#include <lightning/checkpoint/detail/names.h>
#include <lightning/config/yaml.h>
#include <lightning/util/error.h>
#include <lightning/util/log.h>

namespace lightning {
namespace {

/// The first of them, in quotes, and how many others there are.
std::string names_in(const std::vector<std::string>& names) {
  constexpr size_t kAtMost = 8;
  std::string text;
  for (size_t i = 0; i < std::min(names.size(), kAtMost); ++i) {
    text += (i == 0 ? "\"" : ", \"") + names[i] + "\"";
  }
  if (names.size() > kAtMost) text += detail::concat(" and ", names.size() - kAtMost, " others");
  return text;
}

}  // namespace

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

void detail::load_weights(torch::nn::Module& module, const Checkpoint::NamedTensors& weights,
                          const std::filesystem::path& directory, bool strict) {
  const auto [missing, unexpected] = load_model_state(module, weights, strict);
  if (missing.empty() && unexpected.empty()) return;
  std::string text = concat("checkpoint \"", directory.string(), "\": loaded without strict;");
  if (!missing.empty()) text += " not in it, kept as they are: " + names_in(missing) + ";";
  if (!unexpected.empty()) text += " not in the model, not used: " + names_in(unexpected) + ";";
  text.back() = '.';
  log_warning(text);
}

}  // namespace lightning
