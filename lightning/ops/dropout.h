#pragma once

#include <ATen/core/Tensor.h>

#include <lightning/util/export.h>

namespace lightning::ops {

/// Sets each element to 0 with probability p and multiplies the others by 1 / (1 - p).
///
/// On the CPU, for float and bfloat16, the decisions are a function of a seed and of the element's
/// index: one draw from torch's default CPU generator per call, results that don't depend on the
/// number of threads, and a mask that is made anew in backward and never stored. There p counts in
/// steps of 2^-16. Otherwise torch's dropout.
/// Returns: the input itself when p is 0 or when not training.
/// Throws: ConfigError unless 0 <= p <= 1.
LIGHTNING_API at::Tensor dropout(const at::Tensor& input, double p, bool training);

}  // namespace lightning::ops
