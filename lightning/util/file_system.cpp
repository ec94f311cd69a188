#include <lightning/util/file_system.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <system_error>
#include <utility>

#include <lightning/util/detail/disk.h>
#include <lightning/util/error.h>

namespace lightning {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void throw_io_error(std::string_view action, const fs::path& path, int error) {
  throw CheckpointError(io_error_text(action, path, error));
}

fs::path parent_of(const fs::path& path) {
  const fs::path parent = path.parent_path();
  return parent.empty() ? fs::path(".") : parent;
}

fs::path temporary_beside(const fs::path& path) {
  return parent_of(path) / detail::concat(".", path.filename().string(), ".tmp-", ::getpid());
}

/// The first part of the path that is there and is no folder; empty when there is none.
fs::path file_in_the_way(const fs::path& path) {
  fs::path prefix;
  for (const fs::path& part : path) {
    prefix /= part;
    const detail::FileKind kind = detail::kind_of(prefix);
    if (kind == detail::FileKind::kMissing) return {};
    if (kind != detail::FileKind::kFolder) return prefix;
  }
  return {};
}

void remove_quietly(FileSystem& disk, const fs::path& path) {
  try {
    disk.remove_all(path);
  } catch (const Error&) {
    // The error that led here is the one to report.
  }
}

std::string hint_for(const fs::path& path, int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT:
      return "free some space on that disk, or write to a folder on a different one";
    case EFBIG:
      return "raise the limit on file sizes (`ulimit -f`)";
    case EROFS:
      return "that disk is mounted read-only: write to a folder on a different one";
    case EACCES:
    case EPERM:
      return "check the owner and the permissions (`ls -ld`) of the file and of its folder";
    case ENOTDIR:
    case EEXIST: {
      const fs::path file = file_in_the_way(path);
      if (file.empty() || file == path) return "remove what is there, or choose a different name";
      return detail::concat(file, " is a file where a folder is needed: move it away");
    }
    case ENOENT:
      return "check that the path is right and its folder exists";
    case EISDIR:
      return "a folder of that name exists: choose a different name";
    case EMFILE:
    case ENFILE:
      return "too many files are open: raise the limit (`ulimit -n`)";
    case ENAMETOOLONG:
      return "choose a shorter name";
    case ELOOP:
      return "a link is in its place: remove the link";
    case EIO:
    case ESTALE:
      return "the disk or the network file system reports a failure: check the system's log";
    default:
      return "check the disk, or write to a different folder";
  }
}

class PosixFile final : public WritableFile {
 public:
  PosixFile(fs::path path, int flags) : path_(std::move(path)) {
    descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0666);
    if (descriptor_ < 0) throw_io_error("open", path_, errno);
  }
  ~PosixFile() override {
    if (descriptor_ >= 0) ::close(descriptor_);
  }

  void write(const void* data, size_t size_bytes) override {
    const char* next = static_cast<const char*>(data);
    while (size_bytes > 0) {
      const ssize_t written = ::write(descriptor_, next, size_bytes);
      if (written < 0) {
        if (errno == EINTR) continue;
        throw_io_error("write to", path_, errno);
      }
      next += written;
      size_bytes -= static_cast<size_t>(written);
    }
  }

  void sync() override {
    // Devices and pipes answer EINVAL; they have nothing to sync.
    if (::fsync(descriptor_) != 0 && errno != EINVAL && errno != ENOTSUP) {
      throw_io_error("write to", path_, errno);
    }
  }

  void close() override {
    const int descriptor = std::exchange(descriptor_, -1);
    if (descriptor >= 0 && ::close(descriptor) != 0 && errno != EINTR) {
      throw_io_error("write to", path_, errno);
    }
  }

 private:
  fs::path path_;
  int descriptor_ = -1;
};

class PosixFileSystem final : public FileSystem {
 public:
  std::unique_ptr<WritableFile> open_for_writing(const fs::path& path) override {
    return std::make_unique<PosixFile>(path, O_TRUNC);
  }

  std::unique_ptr<WritableFile> open_for_appending(const fs::path& path) override {
    return std::make_unique<PosixFile>(path, O_APPEND);
  }

  void create_directories(const fs::path& path) override {
    fs::path prefix;
    for (const fs::path& part : path) {
      prefix /= part;
      if (part.empty() || ::mkdir(prefix.c_str(), 0777) == 0) {
        if (!part.empty()) sync_folder(parent_of(prefix));
        continue;
      }
      const int error = errno;
      // mkdir answers EROFS or EACCES too for a folder that is there.
      if (detail::kind_of(prefix) != detail::FileKind::kFolder)
        throw_io_error("create folder", path, error);
    }
  }

  void rename(const fs::path& from, const fs::path& to) override {
    if (::rename(from.c_str(), to.c_str()) != 0) {
      throw_io_error(detail::concat("rename ", from, " to"), to, errno);
    }
  }

  void replace_link(const fs::path& target, const fs::path& link) override {
    const detail::FileKind kind = detail::kind_of_entry(link);
    if (kind != detail::FileKind::kMissing && kind != detail::FileKind::kLink) {
      throw_io_error("replace (it is not a link)", link, EEXIST);
    }
    const fs::path temporary = temporary_beside(link);
    ::unlink(temporary.c_str());
    if (::symlink(target.c_str(), temporary.c_str()) != 0) {
      throw_io_error("make link", link, errno);
    }
    if (::rename(temporary.c_str(), link.c_str()) != 0) {
      const int error = errno;
      ::unlink(temporary.c_str());
      throw_io_error("make link", link, error);
    }
  }

  void remove_all(const fs::path& path) override {
    if (const int error = detail::remove_tree(path); error != 0) {
      throw_io_error("remove", path, error);
    }
  }

  void resize_file(const fs::path& path, size_t size_bytes) override {
    const int descriptor = detail::open_regular_file(path, O_RDWR);
    if (descriptor < 0) throw_io_error("shorten", path, -descriptor);
    const int error = shorten(descriptor, path, size_bytes);
    ::close(descriptor);
    if (error != 0) throw_io_error("shorten", path, error);
  }

  void sync_directory(const fs::path& path) override {
    if (const int error = sync_folder(path); error != 0) throw_io_error("sync folder", path, error);
  }

 private:
  /// The error number, 0 for success.
  static int shorten(int descriptor, const fs::path& path, size_t size_bytes) {
    struct stat status = {};
    if (::fstat(descriptor, &status) != 0) return errno;
    if (status.st_nlink <= 1) {
      return ::ftruncate(descriptor, static_cast<off_t>(size_bytes)) == 0 ? 0 : errno;
    }
    // It has a name elsewhere, in a copy made by `cp -l` for instance, which must keep all of it.
    const fs::path temporary = temporary_beside(path);
    const int error = copy_beginning(descriptor, temporary, size_bytes);
    if (error == 0 && ::rename(temporary.c_str(), path.c_str()) == 0) return 0;
    const int reason = error != 0 ? error : errno;
    ::unlink(temporary.c_str());
    return reason;
  }
  static int copy_beginning(int from, const fs::path& to, size_t size_bytes) {
    ::unlink(to.c_str());
    const int file = ::open(to.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file < 0) return errno;
    int error = 0;
    std::string buffer(size_t{1} << 16, '\0');
    for (size_t copied = 0; error == 0 && copied < size_bytes;) {
      const ssize_t got = ::pread(from, buffer.data(), std::min(buffer.size(), size_bytes - copied),
                                  static_cast<off_t>(copied));
      if (got == 0) break;
      if (got < 0 || ::write(file, buffer.data(), static_cast<size_t>(got)) != got) {
        error = errno != 0 ? errno : EIO;
      } else {
        copied += static_cast<size_t>(got);
      }
    }
    if (error == 0 && ::ftruncate(file, static_cast<off_t>(size_bytes)) != 0) error = errno;
    if (error == 0 && ::fsync(file) != 0) error = errno;
    if (::close(file) != 0 && error == 0) error = errno;
    return error;
  }
  /// The error number, 0 for success.
  static int sync_folder(const fs::path& path) {
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) return errno;
    const int error = ::fsync(descriptor) == 0 ? 0 : errno;
    ::close(descriptor);
    // Some network file systems know no fsync on folders.
    return error == EINVAL || error == ENOTSUP ? 0 : error;
  }
};

std::atomic<FileSystem*> override_in_force{nullptr};

}  // namespace

WritableFile::~WritableFile() = default;
FileSystem::~FileSystem() = default;

FileSystem& FileSystem::current() {
  // Never destroyed: a writer thread may outlive static objects.
  static auto* real = new PosixFileSystem;
  FileSystem* scoped = override_in_force.load(std::memory_order_acquire);
  return scoped != nullptr ? *scoped : *real;
}

ScopedFileSystem::ScopedFileSystem(FileSystem& file_system)
    : previous_(override_in_force.exchange(&file_system)) {}
ScopedFileSystem::~ScopedFileSystem() { override_in_force = previous_; }

std::string read_file(const fs::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) throw DataError(io_error_text("read", path, errno));
  std::string text;
  struct stat status;
  if (::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode)) {
    text.reserve(static_cast<size_t>(status.st_size) + 1);
  }
  size_t used = 0;
  for (;;) {
    // Devices and /proc report no size, so the end is where read() returns 0.
    text.resize(used < text.capacity() ? text.capacity() : used + 65536);
    const ssize_t got = ::read(descriptor, text.data() + used, text.size() - used);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      const int error = errno;
      ::close(descriptor);
      throw DataError(io_error_text("read", path, error));
    }
    if (got == 0) break;
    used += static_cast<size_t>(got);
  }
  ::close(descriptor);
  text.resize(used);
  return text;
}

void make_folder_of_option(std::string_view option, const fs::path& path) {
  try {
    FileSystem::current().create_directories(path);
  } catch (const CheckpointError& error) {
    throw CheckpointError(detail::concat(option, ": ", error.what()));
  }
}

void make_writable_folder_of_option(std::string_view option, const fs::path& path) {
  make_folder_of_option(option, path);
  // A file system of a test may not have made it.
  const bool is_there = detail::kind_of(path) == detail::FileKind::kFolder;
  if (!is_there || ::access(path.c_str(), W_OK | X_OK) == 0) return;
  throw CheckpointError(
      detail::concat(option, ": ", io_error_text("write into folder", path, errno)));
}

void write_file_atomically(const fs::path& path, std::string_view text) {
  FileSystem& disk = FileSystem::current();
  const detail::FileKind kind = detail::kind_of(path);
  const bool special = kind == detail::FileKind::kFolder || kind == detail::FileKind::kOther;
  const fs::path temporary = special ? path : temporary_beside(path);
  // Whatever has that name: a link would be written through.
  if (!special) ::unlink(temporary.c_str());
  try {
    const auto file = disk.open_for_writing(temporary);
    file->write(text);
    file->sync();
    file->close();
    if (special) return;
    disk.rename(temporary, path);
  } catch (...) {
    if (!special) remove_quietly(disk, temporary);
    throw;
  }
  disk.sync_directory(parent_of(path));
}

std::string io_error_text(std::string_view action, const fs::path& path, int error) {
  // Writing meets a folder as the file's name, reading as the file.
  const bool reads_folder = error == EISDIR && action == "read";
  return detail::concat(
      "can't ", action, " \"", path.string(), "\": ", std::generic_category().message(error),
      ". HINT: ", reads_folder ? "it is a folder: give a file in it" : hint_for(path, error), ".");
}

}  // namespace lightning
