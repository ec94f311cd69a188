/// The seam between the library and the disk: everything that a checkpoint or a log writes goes
/// through it, so that tests can inject full disks, failing renames and crashes between two calls.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <lightning/util/export.h>

namespace lightning {

/// A file being written. Every call throws CheckpointError (path, reason, HINT) on failure.
class LIGHTNING_API WritableFile {
 public:
  virtual ~WritableFile();
  virtual void write(const void* data, size_t size_bytes) = 0;
  void write(std::string_view text) { write(text.data(), text.size()); }
  /// Data has reached the disk when it returns (fsync).
  virtual void sync() = 0;
  /// Must be called; the destructor closes without looking at errors.
  virtual void close() = 0;
};

/// Every call throws CheckpointError (path, reason, HINT) on failure.
class LIGHTNING_API FileSystem {
 public:
  virtual ~FileSystem();

  /// The real disk, unless a ScopedFileSystem is in force.
  static FileSystem& current();

  /// Cuts a file that is there to nothing.
  virtual std::unique_ptr<WritableFile> open_for_writing(const std::filesystem::path& path) = 0;
  virtual std::unique_ptr<WritableFile> open_for_appending(const std::filesystem::path& path) = 0;
  /// The folders made have reached the disk when it returns.
  virtual void create_directories(const std::filesystem::path& path) = 0;
  virtual void rename(const std::filesystem::path& from, const std::filesystem::path& to) = 0;
  /// Makes `link` point to `target` in one step, whether it was there or not. Refuses to replace
  /// anything that isn't a link.
  virtual void replace_link(const std::filesystem::path& target,
                            const std::filesystem::path& link) = 0;
  /// Nothing happens when there is nothing of that name. Links are removed, never followed, so
  /// nothing outside of the folder is reached.
  virtual void remove_all(const std::filesystem::path& path) = 0;
  /// Shortens a regular file, never through a link. A name that the file has elsewhere (hard link)
  /// keeps the whole of it.
  virtual void resize_file(const std::filesystem::path& path, size_t size_bytes) = 0;
  /// Directory entries made or renamed have reached the disk when it returns.
  virtual void sync_directory(const std::filesystem::path& path) = 0;
};

/// Replaces FileSystem::current() while it lives (for tests; not thread-safe).
class LIGHTNING_API ScopedFileSystem {
 public:
  explicit ScopedFileSystem(FileSystem& file_system);
  ~ScopedFileSystem();
  ScopedFileSystem(const ScopedFileSystem&) = delete;
  ScopedFileSystem& operator=(const ScopedFileSystem&) = delete;

 private:
  FileSystem* previous_;
};

/// Makes the folder that an option leads to, unless it is there. Throws CheckpointError that begins
/// with `option` ("ModelCheckpoint: dirpath").
LIGHTNING_API void make_folder_of_option(std::string_view option,
                                         const std::filesystem::path& path);
/// The same, and throws when no files can be made in the folder.
LIGHTNING_API void make_writable_folder_of_option(std::string_view option,
                                                  const std::filesystem::path& path);

/// The whole file as text; throws DataError (path, reason) when it can't be read.
LIGHTNING_API std::string read_file(const std::filesystem::path& path);
/// Writes, syncs and renames a temporary file over `path`, so that it is never half written.
/// Something that is not a regular file (/dev/stdout) is written to directly.
LIGHTNING_API void write_file_atomically(const std::filesystem::path& path, std::string_view text);

/// "can't <action> <path>: <reason>. HINT: <action>" for an error number of the system.
LIGHTNING_API std::string io_error_text(std::string_view action, const std::filesystem::path& path,
                                        int error);

}  // namespace lightning
