#include <algorithm>
#include <cstring>

#include <ATen/ATen.h>
#include <ATen/EmptyTensor.h>

#include <lightning/data/dataset.h>
#include <lightning/util/error.h>

namespace lightning {
namespace {

void check_index(int64_t index, int64_t size) {
  LIGHTNING_CHECK(index >= 0 && index < size, DataError, "TensorDataset: no sample ", index,
                  ", there are ", size, ".");
}

// Whether rows can be copied as bytes.
bool has_plain_rows(const at::Tensor& tensor) {
  return tensor.layout() == at::kStrided && tensor.is_cpu() && tensor.is_contiguous() &&
         !tensor.is_conj() && !tensor.is_neg() && !tensor.is_quantized();
}

at::Tensor gather_rows(const at::Tensor& tensor, std::span<const int64_t> indices) {
  c10::DimVector shape(tensor.sizes());
  const size_t row_bytes =
      tensor.nbytes() / static_cast<size_t>(std::max<int64_t>(tensor.size(0), 1));
  shape[0] = static_cast<int64_t>(indices.size());
  at::Tensor rows = at::detail::empty_cpu(shape, tensor.scalar_type());
  if (rows.numel() == 0) return rows;
  auto* target = static_cast<char*>(rows.mutable_data_ptr());
  const auto* source = static_cast<const char*>(tensor.const_data_ptr());
  for (const int64_t index : indices) {
    std::memcpy(target, source + static_cast<size_t>(index) * row_bytes, row_bytes);
    target += row_bytes;
  }
  return rows;
}

at::Tensor select_rows(const at::Tensor& tensor, std::span<const int64_t> indices) {
  const at::NoGradGuard no_grad;
  const at::Tensor index =
      at::tensor(at::IntArrayRef(indices.data(), indices.size()), at::kLong).to(tensor.device());
  return tensor.index_select(0, index);
}

}  // namespace

TensorDataset::TensorDataset(Batch tensors) : tensors_(std::move(tensors)) {
  LIGHTNING_CHECK(!tensors_.empty(), ConfigError,
                  "TensorDataset: no tensors, at least one was expected.");
  for (const auto& [name, tensor] : tensors_.items()) {
    LIGHTNING_CHECK(tensor.defined() && tensor.dim() >= 1, ConfigError, "TensorDataset: tensor \"",
                    name, "\" has no first dimension, a tensor of shape [N, ...] was expected.");
    const auto& [first_name, first] = tensors_.items()[0];
    LIGHTNING_CHECK(tensor.size(0) == first.size(0), ConfigError, "TensorDataset: tensor \"", name,
                    "\" has ", tensor.size(0), " rows but \"", first_name, "\" has ", first.size(0),
                    ", as many were expected.");
  }
  size_ = tensors_[0].size(0);
}

Batch TensorDataset::get(int64_t index, SampleContext& /*context*/) {
  check_index(index, size_);
  const at::NoGradGuard no_grad;
  Batch sample;
  for (const auto& [name, tensor] : tensors_.items()) sample.set(name, tensor.select(0, index));
  return sample;
}

Batch TensorDataset::get_batch(std::span<const int64_t> indices,
                               std::span<SampleContext> /*contexts*/) {
  for (const int64_t index : indices) check_index(index, size_);
  Batch batch;
  for (const auto& [name, tensor] : tensors_.items()) {
    batch.set(name,
              has_plain_rows(tensor) ? gather_rows(tensor, indices) : select_rows(tensor, indices));
  }
  batch.set_batch_size(static_cast<int64_t>(indices.size()));
  return batch;
}

}  // namespace lightning
