#include <lightning/util/detail/disk.h>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <memory>

namespace lightning::detail {
namespace {

namespace fs = std::filesystem;

/// Deeper folders are none of ours.
constexpr int kDeepest = 100;

struct CloseFolder {
  void operator()(DIR* folder) const { ::closedir(folder); }
};
using OpenFolder = std::unique_ptr<DIR, CloseFolder>;

FileKind kind_from(mode_t mode) {
  if (S_ISREG(mode)) return FileKind::kFile;
  if (S_ISDIR(mode)) return FileKind::kFolder;
  if (S_ISLNK(mode)) return FileKind::kLink;
  return FileKind::kOther;
}

std::optional<struct stat> look_at(const fs::path& path, int flags = 0) {
  struct stat status = {};
  if (::fstatat(AT_FDCWD, path.c_str(), &status, flags) != 0) return std::nullopt;
  return status;
}

std::vector<std::string> names_of(DIR* folder) {
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(folder)) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  return names;
}

int remove_entry(int parent, const char* name, int depth) {
  if (::unlinkat(parent, name, 0) == 0 || errno == ENOENT) return 0;
  const int error = errno;
  // Folders are refused with EISDIR, or with EPERM elsewhere.
  if (error != EISDIR && error != EPERM) return error;
  const int descriptor =
      ::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) return errno == ENOTDIR || errno == ELOOP ? error : errno;
  const OpenFolder folder(::fdopendir(descriptor));
  if (folder == nullptr) {
    const int reason = errno;
    ::close(descriptor);
    return reason;
  }
  if (depth == kDeepest) return ELOOP;
  for (const std::string& entry : names_of(folder.get())) {
    if (const int reason = remove_entry(descriptor, entry.c_str(), depth + 1); reason != 0) {
      return reason;
    }
  }
  return ::unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT ? 0 : errno;
}

}  // namespace

FileKind kind_of(const fs::path& path) {
  const auto status = look_at(path);
  return status ? kind_from(status->st_mode) : FileKind::kMissing;
}

FileKind kind_of_entry(const fs::path& path) {
  const auto status = look_at(path, AT_SYMLINK_NOFOLLOW);
  return status ? kind_from(status->st_mode) : FileKind::kMissing;
}

bool path_exists(const fs::path& path) { return kind_of(path) != FileKind::kMissing; }

bool entry_exists(const fs::path& path) { return kind_of_entry(path) != FileKind::kMissing; }

std::optional<uint64_t> file_bytes(const fs::path& path) {
  const auto status = look_at(path);
  if (!status) return std::nullopt;
  return static_cast<uint64_t>(status->st_size);
}

std::optional<int64_t> time_written(const fs::path& path) {
  const auto status = look_at(path);
  if (!status) return std::nullopt;
  return int64_t{status->st_mtim.tv_sec} * 1'000'000'000 + status->st_mtim.tv_nsec;
}

bool same_file(const fs::path& a, const fs::path& b) {
  const auto one = look_at(a);
  const auto other = look_at(b);
  return one && other && one->st_dev == other->st_dev && one->st_ino == other->st_ino;
}

std::optional<fs::path> link_target(const fs::path& link) {
  char target[PATH_MAX];
  const ssize_t size = ::readlink(link.c_str(), target, sizeof(target));
  if (size < 0) return std::nullopt;
  return fs::path(std::string_view(target, static_cast<size_t>(size)));
}

fs::path absolute_path(const fs::path& path) {
  if (path.is_absolute()) return path;
  char* const folder = ::getcwd(nullptr, 0);
  if (folder == nullptr) return path;
  fs::path result = fs::path(folder) / path;
  std::free(folder);
  return result;
}

std::optional<fs::path> real_path(const fs::path& path) {
  const auto resolve = [](const fs::path& whole) -> std::optional<fs::path> {
    char* const resolved = ::realpath(whole.c_str(), nullptr);
    if (resolved == nullptr) return std::nullopt;
    fs::path result(resolved);
    std::free(resolved);
    return result;
  };
  if (auto whole = resolve(path)) return whole;
  if (!path.has_filename()) return std::nullopt;
  const auto folder = resolve(path.has_parent_path() ? path.parent_path() : fs::path("."));
  if (!folder) return std::nullopt;
  return *folder / path.filename();
}

std::vector<std::string> names_in(const fs::path& folder) {
  const OpenFolder opened(::opendir(folder.c_str()));
  return opened == nullptr ? std::vector<std::string>() : names_of(opened.get());
}

int remove_tree(const fs::path& path) { return remove_entry(AT_FDCWD, path.c_str(), 0); }

bool is_plain_name(std::string_view name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\0", 2)) == name.npos;
}

int open_regular_file(const fs::path& path, int flags) {
  const int descriptor =
      ::open(path.c_str(), flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, 0666);
  if (descriptor < 0) return -errno;
  struct stat status = {};
  if (::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode)) return descriptor;
  ::close(descriptor);
  return -EINVAL;
}

}  // namespace lightning::detail
