/// Rebuilding a model from a checkpoint alone, without a Trainer.
#pragma once

#include <concepts>
#include <filesystem>
#include <memory>

#include <lightning/checkpoint/checkpoint.h>
#include <lightning/config/node.h>
#include <lightning/config/options.h>
#include <lightning/util/export.h>

namespace lightning {

namespace detail {
/// The `model` section of a checkpoint's config. Throws CheckpointError when there is none.
LIGHTNING_API config::ConfigNode read_model_options(const std::filesystem::path& directory);
}  // namespace detail

/// A model that knows how to rebuild itself where its options name files that may be gone since:
/// it takes them from the checkpoint's assets.
template <typename T>
concept BuildsFromCheckpoint = requires(const typename T::Options& options,
                                        const std::filesystem::path& assets) {
  { T::from_checkpoint(options, assets) } -> std::convertible_to<std::shared_ptr<T>>;
};

/// A `T` with the options and the weights of a checkpoint, on the CPU. `T::Options` is the struct
/// that was given to save_hyperparameters() (or read from the config's `model` section);
/// T::from_checkpoint(options, assets folder) builds the model where T has it, else T(options).
///
/// Throws: ConfigError for options that T doesn't have, CheckpointError for a checkpoint that is
/// damaged or whose weights don't fit.
template <typename T>
std::shared_ptr<T> load_from_checkpoint(const std::filesystem::path& directory) {
  typename T::Options options{};
  config::apply(detail::read_model_options(directory), options, "model");
  const std::filesystem::path assets = Checkpoint::assets_dir(directory);
  std::shared_ptr<T> model;
  if constexpr (BuildsFromCheckpoint<T>) {
    model = T::from_checkpoint(options, assets);
  } else {
    model = std::make_shared<T>(options);
  }
  load_model_state(*model, Checkpoint::read_model(directory));
  return model;
}

}  // namespace lightning
