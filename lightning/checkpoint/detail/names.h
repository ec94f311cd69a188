/// Names of checkpoints, of the files in them and of what lies beside them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include <lightning/util/error.h>

namespace lightning::detail {

// ---- in a checkpoint
inline constexpr std::string_view kManifestFile = "manifest.json";
inline constexpr std::string_view kModelFile = "model.safetensors";
inline constexpr std::string_view kStateTensorsFile = "state.safetensors";
inline constexpr std::string_view kStateFile = "state.json";
/// The resolved config, in a checkpoint and in the folder of a run.
inline constexpr std::string_view kConfigFile = "config.yaml";
inline constexpr std::string_view kAssetsFolder = "assets";

// ---- beside others
inline constexpr std::string_view kCheckpointSuffix = ".ckpt";
/// Links to the newest and the best one.
inline constexpr std::string_view kLastLink = "last.ckpt";
inline constexpr std::string_view kBestLink = "best.ckpt";
/// A checkpoint that is being written has the name ".NAME.ckpt.tmp-PROCESS", one that is being
/// removed ".trash-NAME.ckpt-PROCESS", PROCESS as by to_tag().
inline constexpr std::string_view kTemporaryTag = ".tmp-";
inline constexpr std::string_view kTrashPrefix = ".trash-";
inline constexpr std::string_view kTrashTag = "-";

/// What ckpt_path may be instead of a folder.
inline constexpr std::string_view kLast = "last";
inline constexpr std::string_view kBest = "best";
inline bool is_last_or_best(std::string_view ckpt_path) {
  return ckpt_path == kLast || ckpt_path == kBest;
}

/// Whether a checkpoint may have this name.
inline bool is_checkpoint_name(std::string_view name) {
  return name.ends_with(kCheckpointSuffix) && name.size() > kCheckpointSuffix.size() &&
         !name.starts_with('.');
}

/// Whether a folder of checkpoints may hold one of this name: a checkpoint's, of one plain
/// component that a file system takes, and of none of the links. For names that come from a file.
inline bool is_name_in_folder(std::string_view name) {
  constexpr size_t kLongestName = 255;  // bytes; NAME_MAX of Linux
  return is_checkpoint_name(name) && name.size() <= kLongestName &&
         name.find_first_of(std::string_view("/\0", 2)) == name.npos && name != kLastLink &&
         name != kBestLink;
}

/// A checkpoint that was never committed, or is being removed.
inline bool is_temporary_name(std::string_view name) {
  if (!name.starts_with('.') || name.find(kCheckpointSuffix) == name.npos) return false;
  const std::string temporary = concat(kCheckpointSuffix, kTemporaryTag);
  return name.starts_with(kTrashPrefix) || name.find(temporary) != name.npos;
}

/// "epoch=E-step=S.ckpt".
inline std::string checkpoint_name(int64_t epoch, int64_t global_step) {
  return concat("epoch=", epoch, "-step=", global_step, kCheckpointSuffix);
}

}  // namespace lightning::detail
