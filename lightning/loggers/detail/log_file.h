/// A file that grows by rows: they are gathered in memory and written at most once a second.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include <lightning/util/file_system.h>

namespace lightning::detail {

class LogFile {
 public:
  LogFile() = default;
  ~LogFile();  // closes without looking at errors
  LogFile(const LogFile&) = delete;
  LogFile& operator=(const LogFile&) = delete;

  /// Opens for appending, made when it isn't there. Throws CheckpointError, as all do.
  void open(const std::filesystem::path& path);
  bool is_open() const { return file_ != nullptr; }
  const std::filesystem::path& path() const { return path_; }

  /// Where the next row must be put; then call row_done().
  std::string& buffer() { return buffer_; }
  /// Writes when the last time was a second ago, or much has gathered.
  void row_done();
  /// When it throws, the rows are given up.
  void flush();
  /// Rows have reached the disk when it returns.
  void sync();
  void close();

  /// Size of the file after flush().
  uint64_t position() const { return written_bytes_; }

 private:
  std::filesystem::path path_;
  std::unique_ptr<WritableFile> file_;
  std::string buffer_;
  uint64_t written_bytes_ = 0;
  std::chrono::steady_clock::time_point last_flush_;
};

}  // namespace lightning::detail
