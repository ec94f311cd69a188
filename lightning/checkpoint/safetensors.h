/// Reading and writing safetensors files: an 8-byte little-endian header length, a JSON header with
/// dtype, shape and byte range of each tensor, then the tensors' bytes. No code runs on loading.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include <lightning/util/export.h>

namespace lightning {

struct SafetensorsInfo {
  std::string name;
  at::ScalarType dtype;
  std::vector<int64_t> shape;
};

/// A memory-mapped file. Throws CheckpointError at opening for anything that isn't a valid file:
/// too short, header longer than the file, JSON errors, unknown dtype, ranges that overlap, leave
/// holes, run past the end or don't match the shape, duplicate names.
class LIGHTNING_API SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& path);
  ~SafetensorsFile();
  SafetensorsFile(const SafetensorsFile&) = delete;
  SafetensorsFile& operator=(const SafetensorsFile&) = delete;

  const std::vector<SafetensorsInfo>& tensors() const;
  const std::map<std::string, std::string>& metadata() const;
  bool contains(std::string_view name) const;
  /// A copy in host memory, of the file's dtype.
  at::Tensor read(std::string_view name) const;
  /// Copies into `target` (same shape; converts dtype and device). Throws CheckpointError naming
  /// both shapes when they differ.
  void read_into(std::string_view name, at::Tensor& target) const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

/// Writes contiguous copies of the tensors (any device), synced to the disk, readable by the
/// safetensors package. Returns the number of bytes. Through FileSystem::current().
LIGHTNING_API size_t
write_safetensors(const std::filesystem::path& path,
                  const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                  const std::map<std::string, std::string>& metadata = {});

}  // namespace lightning
