/// A file's bytes, mapped into memory for reading.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string_view>

namespace lightning::detail {

class MappedFile {
 public:
  /// Throws CheckpointError when the path can't be read or is not a regular file.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const char* data() const { return data_; }
  size_t size_bytes() const { return size_bytes_; }
  std::string_view bytes() const { return {data_, size_bytes_}; }

 private:
  const char* data_ = nullptr;
  size_t size_bytes_ = 0;
};

}  // namespace lightning::detail
