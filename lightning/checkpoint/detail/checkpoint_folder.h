/// Folders that hold checkpoints side by side.
#pragma once

#include <filesystem>
#include <optional>
#include <string_view>

namespace lightning::detail {

std::filesystem::path parent_folder(const std::filesystem::path& path);
std::filesystem::path without_trailing_slash(const std::filesystem::path& path);

/// Removes entries whose names begin so: what a process left that was killed.
void remove_entries(const std::filesystem::path& folder, std::string_view prefix);

/// The newest checkpoint in the same folder whose every byte is right.
std::optional<std::filesystem::path> newest_sound_neighbour(const std::filesystem::path& directory);

}  // namespace lightning::detail
