#include <lightning/checkpoint/detail/checkpoint_folder.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include <lightning/checkpoint/checkpoint.h>
#include <lightning/checkpoint/detail/manifest.h>
#include <lightning/checkpoint/detail/names.h>
#include <lightning/util/detail/crc32c.h>
#include <lightning/util/detail/disk.h>
#include <lightning/util/detail/process.h>
#include <lightning/util/error.h>
#include <lightning/util/file_system.h>
#include <lightning/util/format.h>
#include <lightning/util/log.h>

namespace lightning {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kNanosecondsPerDay = int64_t{24} * 3600 * 1'000'000'000;

/// `begin` + NAME + `end` + the tag of this process, of a length that file systems take.
std::string name_of_this_process(std::string_view begin, std::string_view name,
                                 std::string_view end) {
  constexpr size_t kLongestName = 255;  // bytes; NAME_MAX of Linux
  constexpr size_t kDigits = 8;
  const std::string tag = detail::to_tag(detail::own_process());
  const size_t room = kLongestName - begin.size() - end.size() - tag.size();
  if (name.size() <= room) return detail::concat(begin, name, end, tag);
  char digits[kDigits + 1];
  std::snprintf(digits, sizeof(digits), "%08x", crc32c(name.data(), name.size()));
  return detail::concat(begin, name.substr(0, room - kDigits - detail::kCheckpointSuffix.size()),
                        digits, detail::kCheckpointSuffix, end, tag);
}

/// Whether no process is at work on a temporary folder any more. One that was made on a different
/// machine, or before this one was started again, is left alone for a day.
bool is_abandoned(const fs::path& folder) {
  const std::string name = folder.filename().string();
  const bool is_trash = name.starts_with(detail::kTrashPrefix);
  const std::string before_tag = detail::concat(
      detail::kCheckpointSuffix, is_trash ? detail::kTrashTag : detail::kTemporaryTag);
  const size_t begin = name.rfind(before_tag);
  if (begin == name.npos) return false;
  const auto writer = detail::from_tag(std::string_view(name).substr(begin + before_tag.size()));
  if (writer && is_trash && *writer == detail::own_process()) return true;  // of a try that failed
  const detail::Life life = writer ? detail::life_of(*writer) : detail::Life::kUnknown;
  if (life != detail::Life::kUnknown) return life == detail::Life::kGone;
  const auto written = detail::time_written(folder);
  const int64_t now = std::chrono::duration_cast<std::chrono::nanoseconds>(
                          std::chrono::system_clock::now().time_since_epoch())
                          .count();
  return written && now - *written > kNanosecondsPerDay;
}

struct Found {
  int64_t step;
  int64_t written;
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

fs::path detail::temporary_path(const fs::path& checkpoint) {
  return parent_folder(checkpoint) /
         name_of_this_process(".", checkpoint.filename().string(), kTemporaryTag);
}

void detail::remove_abandoned(const fs::path& folder) {
  for (const std::string& name : names_in(folder)) {
    const fs::path path = folder / name;
    if (is_temporary_name(name) && kind_of_entry(path) == FileKind::kFolder && is_abandoned(path)) {
      try {
        FileSystem::current().remove_all(path);
      } catch (const CheckpointError&) {
        // It does no harm.
      }
    }
  }
}

std::optional<fs::path> detail::newest_sound_neighbour(const fs::path& directory) {
  std::vector<fs::path> candidates = list_checkpoints(parent_folder(directory));
  std::reverse(candidates.begin(), candidates.end());
  for (const fs::path& candidate : candidates) {
    if (candidate == directory || same_file(candidate, directory)) continue;
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
  for (const std::string& name : detail::names_in(folder)) {
    const fs::path path = folder / name;
    if (!detail::is_checkpoint_name(name) ||
        detail::kind_of_entry(path) != detail::FileKind::kFolder) {
      continue;
    }
    try {
      const detail::Manifest manifest = detail::read_manifest(path);
      found.push_back({.step = manifest.global_step.value_or(-1),
                       .written = detail::time_written(path / detail::kManifestFile).value_or(0),
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
  const std::string name = directory.filename().string();
  const detail::FileKind kind = detail::kind_of_entry(directory);
  if (kind == detail::FileKind::kMissing) return;
  std::string reason;
  if (kind != detail::FileKind::kFolder) {
    reason = kind == detail::FileKind::kLink ? "it is a link" : "it is a file";
  } else if (!detail::is_name_in_folder(name)) {
    reason = "a checkpoint has no such name";
  } else {
    try {
      detail::read_manifest(directory);
    } catch (const CheckpointError& error) {
      reason = error.what();
    }
  }
  if (!reason.empty()) {
    return log_warning(format("remove_checkpoint: \"{}\" stays, {}.", directory.string(), reason));
  }
  FileSystem& disk = FileSystem::current();
  const fs::path parent = detail::parent_folder(directory);
  const fs::path trash =
      parent / name_of_this_process(detail::kTrashPrefix, name, detail::kTrashTag);
  // What killed processes left, and what this one could not remove before.
  detail::remove_abandoned(parent);
  disk.remove_all(trash);
  disk.rename(directory, trash);
  // Otherwise files of it might be gone after a power failure, and its name still there.
  disk.sync_directory(parent);
  disk.remove_all(trash);
}

}  // namespace lightning
