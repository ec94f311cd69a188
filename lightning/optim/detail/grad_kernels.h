/// CPU loops over many tensors as if they were one. Internal: used by grad_utils.cpp only.
#pragma once

#include <span>

#include <ATen/core/Tensor.h>

namespace lightning::optim::kernels {

/// Whether the loops below can run on all of them: on the CPU, without gaps, float64, float32,
/// bfloat16 or float16.
bool can_run(std::span<const at::Tensor> tensors);

bool all_finite(std::span<const at::Tensor> tensors);
/// Independent of the number of threads.
double sum_of_squares(std::span<const at::Tensor> tensors);
void multiply_(std::span<const at::Tensor> tensors, double factor);
void divide_(std::span<const at::Tensor> tensors, double divisor);

}  // namespace lightning::optim::kernels
