/// Rebuilding a model from a checkpoint alone, without a Trainer.
#pragma once

#include <concepts>
#include <filesystem>
#include <functional>
#include <memory>

#include <c10/core/Device.h>

#include <lightning/checkpoint/checkpoint.h>
#include <lightning/config/node.h>
#include <lightning/config/options.h>
#include <lightning/util/export.h>

namespace lightning {

namespace detail {
/// The `model` section of a checkpoint's config. Throws CheckpointError when there is none.
LIGHTNING_API config::ConfigNode read_model_options(const std::filesystem::path& directory);
/// load_model_state() with the weights of the checkpoint `directory`; without `strict` a warning
/// lists the names that don't fit.
LIGHTNING_API void load_weights(torch::nn::Module& module, const Checkpoint::NamedTensors& weights,
                                const std::filesystem::path& directory, bool strict);
}  // namespace detail

struct LoadOptions {
  /// Where the model is put.
  at::Device device = at::kCPU;
  /// False: tensors that the checkpoint lacks keep their values and those that the model lacks are
  /// not used, with a warning that lists both.
  bool strict = true;
};

/// A model that knows how to rebuild itself where its options name files that may be gone since:
/// it takes them from the checkpoint's assets.
template <typename T>
concept BuildsFromCheckpoint = requires(const typename T::Options& options,
                                        const std::filesystem::path& assets) {
  { T::from_checkpoint(options, assets) } -> std::convertible_to<std::shared_ptr<T>>;
};

/// A `T` with the options and the weights of a checkpoint. `T::Options` is the struct that was
/// given to save_hyperparameters() (or read from the config's `model` section); `change`, if there
/// is one, gets it to set other values. T::from_checkpoint(options, assets folder) builds the model
/// where T has it, else T(options).
///
/// Throws: ConfigError for options that T doesn't have, CheckpointError for a checkpoint that is
/// damaged or whose weights don't fit.
template <typename T>
std::shared_ptr<T> load_from_checkpoint(
    const std::filesystem::path& directory, const LoadOptions& load = {},
    const std::function<void(typename T::Options&)>& change = {}) {
  typename T::Options options{};
  config::apply(detail::read_model_options(directory), options, "model");
  if (change) change(options);
  const std::filesystem::path assets = Checkpoint::assets_dir(directory);
  std::shared_ptr<T> model;
  if constexpr (BuildsFromCheckpoint<T>) {
    model = T::from_checkpoint(options, assets);
  } else {
    model = std::make_shared<T>(options);
  }
  detail::load_weights(*model, Checkpoint::read_model(directory), directory, load.strict);
  model->to(load.device);
  return model;
}

}  // namespace lightning
