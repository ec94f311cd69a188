/// When two tensors are the same: the same elements of the same memory. Tied weights are found so.
#pragma once

#include <compare>
#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

namespace lightning::detail {

struct TensorIdentity {
  const void* memory;
  int64_t offset;
  at::ScalarType dtype;
  std::vector<int64_t> sizes;
  std::vector<int64_t> strides;

  explicit TensorIdentity(const at::Tensor& tensor)
      : memory(tensor.unsafeGetTensorImpl()), offset(0), dtype(tensor.scalar_type()) {
    if (!tensor.has_storage()) return;
    memory = tensor.storage().unsafeGetStorageImpl();
    offset = tensor.storage_offset();
    sizes = tensor.sizes().vec();
    strides = tensor.strides().vec();
  }
  auto operator<=>(const TensorIdentity&) const = default;
};

}  // namespace lightning::detail
