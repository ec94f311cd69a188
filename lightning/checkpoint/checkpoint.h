/// Checkpoint: the whole state of a run, and its form on the disk, a directory NAME.ckpt:
///   model.safetensors    weights and buffers by parameter name; tied tensors once, with aliases
///   state.safetensors    every other tensor (optimizer, RNG, callbacks)
///   state.json           every scalar, string and list
///   config.yaml          the run's resolved config (model and data options among it)
///   assets/              files that the model needs (vocabulary, model config, ...)
///   manifest.json        sizes and checksums of all files; written last, the mark of completeness
/// A directory is written under a temporary name, synced, then renamed: a name that ends in .ckpt
/// and holds a manifest is whole. Committed directories are never replaced.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include <lightning/util/export.h>
#include <lightning/util/state_dict.h>

namespace torch::nn {
class Module;
}

namespace lightning {

struct LIGHTNING_API Checkpoint {
  using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

  /// Parameters and buffers; several names may share one tensor (tied weights).
  NamedTensors model = {};
  /// Everything else, under top-level names: "loop", "environment", "module", "optimizer",
  /// "lr_scheduler", "callbacks", "data_module", "precision", "data_loader", "loggers", "ranks"
  /// ("ranks/0/rng", "ranks/0/metrics").
  StateDict state = {};
  /// Resolved config as YAML; empty when the run has none.
  std::string config = {};
  /// Files to be copied into assets/: name there, content.
  std::vector<std::pair<std::string, std::string>> assets = {};
  /// By which its writer recognizes it (CheckpointRequest::id); in the manifest.
  std::string id = {};

  /// Copies of all tensors in host memory, for writing in the background.
  /// Sync: waits for the device.
  Checkpoint snapshot() const;

  /// Writes `directory` (a path that ends in .ckpt) and commits it; returns its size in bytes.
  /// Throws CheckpointError when it exists or can't be written; then nothing of that name is there.
  size_t write(const std::filesystem::path& directory) const;

  /// Reads a committed directory (or a link to one), checking sizes and checksums. `model` comes
  /// back in the order of the file, aliases last and sharing memory with what they are tied to.
  /// Throws CheckpointError for an uncommitted or damaged one; the text names the newest valid
  /// checkpoint beside it, if there is one.
  static Checkpoint read(const std::filesystem::path& directory);
  /// Only the weights.
  static NamedTensors read_model(const std::filesystem::path& directory);
  /// Only the config.
  static std::string read_config(const std::filesystem::path& directory);
  /// Folder of the assets.
  static std::filesystem::path assets_dir(const std::filesystem::path& directory);

  /// Throws CheckpointError like read(), without reading tensors. `checksums` reads every byte.
  static void verify(const std::filesystem::path& directory, bool checksums);
};

/// The committed checkpoints in a folder, oldest first (links left out).
LIGHTNING_API std::vector<std::filesystem::path> list_checkpoints(
    const std::filesystem::path& folder);

/// Removes a checkpoint: renamed to a trash name first, so that a crash leaves no half of it.
LIGHTNING_API void remove_checkpoint(const std::filesystem::path& directory);

/// Parameters and buffers by name, tied tensors under each of their names.
LIGHTNING_API Checkpoint::NamedTensors model_state(const torch::nn::Module& module);
/// Names that only the model or only the checkpoint has (as torch.nn.Module.load_state_dict()).
struct IncompatibleKeys {
  std::vector<std::string> missing_keys = {};     // of the model; they keep their values
  std::vector<std::string> unexpected_keys = {};  // of the checkpoint; they are not used
};

/// The inverse. Throws CheckpointError that lists missing and unexpected names and tensors whose
/// shape or type differs; the module is unchanged then. Without `strict` missing and unexpected
/// names are returned, with it there are none.
LIGHTNING_API IncompatibleKeys load_model_state(torch::nn::Module& module,
                                                const Checkpoint::NamedTensors& tensors,
                                                bool strict = true);

}  // namespace lightning
