// The safetensors files of a Hugging Face model folder, seen as one set of tensors.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <lightning/checkpoint/safetensors.h>

namespace bert_squad {

/// model.safetensors or, without it, the files that model.safetensors.index.json names. The names
/// in an index are those of files in the folder itself: regular files, or links to such.
class WeightFiles {
 public:
  struct Tensor {
    const lightning::SafetensorsInfo* info;
    size_t file;
  };

  /// Throws lightning::CheckpointError for a folder without either (with a HINT that says what to
  /// do with the files that are there), for damaged files, and for an index that names other files
  /// or tensors than there are.
  explicit WeightFiles(const std::filesystem::path& folder);

  /// model.safetensors or the index, for errors.
  const std::filesystem::path& path() const { return path_; }
  const std::vector<Tensor>& tensors() const { return tensors_; }
  void read_into(const Tensor& tensor, at::Tensor& target) const;

 private:
  void open_indexed(const std::filesystem::path& folder);

  std::filesystem::path path_;
  std::vector<std::unique_ptr<lightning::SafetensorsFile>> files_;
  std::vector<Tensor> tensors_;
};

}  // namespace bert_squad
