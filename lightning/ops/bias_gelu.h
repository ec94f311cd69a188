#pragma once

#include <ATen/core/Tensor.h>

#include <lightning/util/export.h>

namespace lightning::ops {

/// GELU(input + bias), the exact form with the error function, in one pass over the memory.
///
/// Shapes: input [..., F]; bias [F]. `input` may be bfloat16 beside a float bias: the arithmetic
/// and the bias gradient's sum are float. On the CPU for these dtypes; otherwise composed of
/// torch's operations.
/// Throws: ConfigError when the bias doesn't fit.
LIGHTNING_API at::Tensor bias_gelu(const at::Tensor& input, const at::Tensor& bias);

}  // namespace lightning::ops
