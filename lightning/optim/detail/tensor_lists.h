/// Lists of tensors for the _foreach_ and _amp_foreach_ operators, which want one device and dtype.
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

namespace lightning::optim {

/// Calls f(at::TensorList) with the tensors of each device and dtype; with the whole list,
/// uncopied, when they are all of one kind.
template <typename F>
void for_each_kind(std::span<const at::Tensor> tensors, F&& f) {
  if (tensors.empty()) return;
  const auto is_like = [](const at::Tensor& model) {
    return [&model](const at::Tensor& tensor) {
      return tensor.device() == model.device() && tensor.scalar_type() == model.scalar_type();
    };
  };
  if (std::all_of(tensors.begin(), tensors.end(), is_like(tensors.front()))) {
    f(at::TensorList(tensors.data(), tensors.size()));
    return;
  }
  std::vector<at::Tensor> rest(tensors.begin(), tensors.end());
  while (!rest.empty()) {
    const at::Tensor model = rest.front();
    const auto middle = std::stable_partition(rest.begin(), rest.end(), is_like(model));
    f(at::TensorList(rest.data(), static_cast<size_t>(middle - rest.begin())));
    rest.erase(rest.begin(), middle);
  }
}

}  // namespace lightning::optim
