/// Folders that hold checkpoints side by side.
#pragma once

#include <filesystem>
#include <optional>

namespace lightning::detail {

std::filesystem::path parent_folder(const std::filesystem::path& path);
std::filesystem::path without_trailing_slash(const std::filesystem::path& path);

/// Where this process writes a checkpoint before it is committed: a name of the process's own.
std::filesystem::path temporary_path(const std::filesystem::path& checkpoint);

/// Removes checkpoints that were never committed, or were being removed, by processes that are
/// gone.
void remove_abandoned(const std::filesystem::path& folder);

/// The newest checkpoint in the same folder whose every byte is right.
std::optional<std::filesystem::path> newest_sound_neighbour(const std::filesystem::path& directory);

}  // namespace lightning::detail
