/// What the reader and the writer of safetensors files agree on.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include <lightning/util/file_system.h>

namespace lightning::detail {

/// A longer header is refused, as by the format's own library.
inline constexpr uint64_t kMaxHeaderBytes = 100'000'000;

/// Name in the file ("BF16"); nullopt for types that the format lacks.
std::optional<std::string_view> safetensors_dtype_name(at::ScalarType dtype);
std::optional<at::ScalarType> safetensors_dtype(std::string_view name);
/// Place in the writer's order: wide elements first, so that all data is aligned.
int safetensors_dtype_rank(at::ScalarType dtype);

/// write_safetensors() into an open file, which is neither synced nor closed.
size_t write_safetensors_to(WritableFile& file,
                            const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                            const std::map<std::string, std::string>& metadata);

}  // namespace lightning::detail
