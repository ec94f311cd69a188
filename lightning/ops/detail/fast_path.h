/// What the operations of this folder share: when the kernels can be used, and with which types.
#pragma once

#include <functional>

#include <ATen/core/Tensor.h>

#include <lightning/ops/detail/kernels.h>

namespace torch::autograd {
struct AutogradContext;
}

namespace lightning::ops::detail {

/// On the CPU, float or bfloat16.
bool has_kernels(const at::Tensor& tensor);

/// A CPU float tensor: what parameters and the residual stream have to be.
bool is_cpu_float(const at::Tensor& tensor);

/// Decisions for one call: draws 64 bits from torch's default CPU generator, unless p is 0. All
/// randomness of the run goes through that generator's state, so that a resumed run repeats it.
DropoutMask draw_dropout_mask(double p);

/// The mask on its way from a Function's forward to its backward.
void save_mask(torch::autograd::AutogradContext& context, const DropoutMask& mask);
DropoutMask saved_mask(torch::autograd::AutogradContext& context);

/// Throws ConfigError unless 0 <= p <= 1.
void check_probability(const char* operation, double p);

/// The kernels' custom backwards have no derivative: throws when one is requested.
void check_first_derivative(const char* operation);

template <typename T>
const TypedKernels<T>& typed();
template <>
inline const TypedKernels<float>& typed<float>() {
  return kernels().of_float;
}
template <>
inline const TypedKernels<Bf16>& typed<Bf16>() {
  return kernels().of_bf16;
}

template <typename T>
const T* data(const at::Tensor& tensor) {
  return static_cast<const T*>(tensor.const_data_ptr());
}
template <typename T>
T* mutable_data(const at::Tensor& tensor) {
  return static_cast<T*>(tensor.mutable_data_ptr());
}
/// Null for an undefined tensor.
template <typename T>
const T* data_or_null(const at::Tensor& tensor) {
  return tensor.defined() ? data<T>(tensor) : nullptr;
}

/// Calls body(T{}) with the element type of the tensor.
template <typename Body>
void with_element_type(const at::Tensor& tensor, const Body& body) {
  if (tensor.scalar_type() == at::kFloat) {
    body(float{});
  } else {
    body(Bf16{});
  }
}

/// Sums over rows in an order that doesn't depend on the number of threads: add(first row, end row,
/// sums) for parts of the rows, each with separate sums ([count, width] of them), then over the
/// parts. Returns [count, width].
at::Tensor sum_over_rows(int64_t rows, int64_t count, int64_t width,
                         const std::function<void(int64_t, int64_t, float*)>& add);

}  // namespace lightning::ops::detail
