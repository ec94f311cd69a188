/// What lies on the disk, and how it is taken away, by system calls of our own.
///
/// The library calls nothing of std::filesystem but `path`. libtorch_cpu.so exports the functions
/// and directory iterators of another libstdc++, and a program that names LibTorch before the C++
/// library gets those: they crash on objects of the other one. `path` has the same layout and
/// members in both.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <lightning/util/export.h>

namespace lightning::detail {

/// kMissing also stands for what can't be looked at.
enum class FileKind : uint8_t { kMissing, kFile, kFolder, kLink, kOther };

/// What the path leads to; links are followed, so it is never kLink.
LIGHTNING_API FileKind kind_of(const std::filesystem::path& path);
/// The entry itself: a link is kLink, wherever it leads.
LIGHTNING_API FileKind kind_of_entry(const std::filesystem::path& path);
LIGHTNING_API bool path_exists(const std::filesystem::path& path);
/// Whether an entry is there, be it a link that leads nowhere.
LIGHTNING_API bool entry_exists(const std::filesystem::path& path);
/// Of what the path leads to; nothing when it can't be looked at.
LIGHTNING_API std::optional<uint64_t> file_bytes(const std::filesystem::path& path);
/// When the content was last changed, in nanoseconds since 1970; nothing when it isn't known.
LIGHTNING_API std::optional<int64_t> time_written(const std::filesystem::path& path);
/// Whether both lead to the same file or folder.
LIGHTNING_API bool same_file(const std::filesystem::path& a, const std::filesystem::path& b);
/// Where a link leads; nothing for what is none.
LIGHTNING_API std::optional<std::filesystem::path> link_target(const std::filesystem::path& link);
/// From the root on, links and dots as they are.
LIGHTNING_API std::filesystem::path absolute_path(const std::filesystem::path& path);
/// The path without links and dots. The last name need not be there; nothing when its folder isn't.
LIGHTNING_API std::optional<std::filesystem::path> real_path(const std::filesystem::path& path);
/// Names of the entries of a folder, in no order; none when it can't be read.
LIGHTNING_API std::vector<std::string> names_in(const std::filesystem::path& folder);

/// Removes a file, a link (not what it leads to) or a folder with all that is in it. Every step
/// starts from the open folder and follows no link, so nothing outside is reached, whatever others
/// put in its place meanwhile. The error number; 0 also when nothing was there.
LIGHTNING_API int remove_tree(const std::filesystem::path& path);

/// Whether `name` is one component: nothing with a slash, and neither empty, "." nor "..".
LIGHTNING_API bool is_plain_name(std::string_view name);

/// Opens a regular file without following a link in its place, and without waiting for a pipe or
/// starting a device. The descriptor, or the negative error number: -ELOOP for a link, -EINVAL for
/// what else isn't a regular file. `flags` as for open(2); O_CREAT makes it with mode 0666.
LIGHTNING_API int open_regular_file(const std::filesystem::path& path, int flags);

}  // namespace lightning::detail
