#include <lightning/checkpoint/detail/checkpoint_folder.h>

#include <unistd.h>

#include <algorithm>
#include <string>
#include <system_error>
#include <vector>

#include <lightning/checkpoint/checkpoint.h>
#include <lightning/checkpoint/detail/manifest.h>
#include <lightning/checkpoint/detail/names.h>
#include <lightning/util/error.h>
#include <lightning/util/file_system.h>

namespace lightning {
namespace {

namespace fs = std::filesystem;

/// Entries of a folder; none when it can't be read.
std::vector<fs::path> entries_of(const fs::path& folder) {
  std::vector<fs::path> entries;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    entries.push_back(it->path());
  }
  return entries;
}

struct Found {
  int64_t step;
  fs::file_time_type written;
  fs::path path;
  auto operator<=>(const Found&) const = default;
};

}  // namespace

fs::path detail::parent_folder(const fs::path& path) {
  const fs::path parent = path.parent_path();
  return parent.empty() ? fs::path(".") : parent;
}

fs::path detail::without_trailing_slash(const fs::path& path) {
  return path.has_filename() || !path.has_relative_path() ? path : path.parent_path();
}

void detail::remove_entries(const fs::path& folder, std::string_view prefix) {
  for (const fs::path& entry : entries_of(folder)) {
    if (entry.filename().string().starts_with(prefix)) FileSystem::current().remove_all(entry);
  }
}

std::optional<fs::path> detail::newest_sound_neighbour(const fs::path& directory) {
  std::vector<fs::path> candidates = list_checkpoints(parent_folder(directory));
  std::reverse(candidates.begin(), candidates.end());
  for (const fs::path& candidate : candidates) {
    std::error_code ignored;
    if (candidate == directory || fs::equivalent(candidate, directory, ignored)) continue;
    try {
      const Manifest manifest = read_manifest(candidate);
      for (const auto& [name, file] : manifest.files) {
        check_file(candidate, manifest, name, /*checksum=*/true);
      }
      return candidate;
    } catch (const CheckpointError&) {
      // Damaged as well.
    }
  }
  return std::nullopt;
}

std::vector<fs::path> list_checkpoints(const fs::path& folder) {
  std::vector<Found> found;
  for (const fs::path& path : entries_of(folder)) {
    const std::string name = path.filename().string();
    std::error_code error;
    if (!detail::is_checkpoint_name(name) || !fs::is_directory(fs::symlink_status(path, error))) {
      continue;
    }
    try {
      const detail::Manifest manifest = detail::read_manifest(path);
      found.push_back({.step = manifest.global_step.value_or(-1),
                       .written = fs::last_write_time(path / detail::kManifestFile, error),
                       .path = path});
    } catch (const CheckpointError&) {
      // Not committed.
    }
  }
  std::sort(found.begin(), found.end());
  std::vector<fs::path> paths;
  for (Found& entry : found) paths.push_back(std::move(entry.path));
  return paths;
}

void remove_checkpoint(const fs::path& path) {
  const fs::path directory = detail::without_trailing_slash(path);
  std::error_code ignored;
  if (!fs::exists(fs::symlink_status(directory, ignored))) return;
  FileSystem& disk = FileSystem::current();
  const fs::path parent = detail::parent_folder(directory);
  const fs::path trash =
      parent / detail::concat(detail::kTrashPrefix, directory.filename().string(), "-", ::getpid());
  // Also what a killed process left.
  detail::remove_entries(parent, detail::kTrashPrefix);
  disk.rename(directory, trash);
  // Otherwise files of it might be gone after a power failure, and its name still there.
  disk.sync_directory(parent);
  disk.remove_all(trash);
}

}  // namespace lightning
