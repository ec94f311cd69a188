#pragma once

#include <ATen/core/Tensor.h>

#include <lightning/util/export.h>

namespace lightning::ops {

struct AddLayerNormOptions {
  /// Added to the variance.
  double epsilon = 1e-5;
  /// Probability of dropping an element of the input.
  double dropout = 0.0;
  bool training = false;
};

struct AddLayerNormOutput {
  /// In the residual's dtype, for the next addition.
  at::Tensor residual;
  /// In the input's dtype, for the next matrix product; the same tensor when the dtypes agree.
  at::Tensor compute;
};

/// LayerNorm(residual + dropout(input + bias)) over the last dimension, the end of both halves of a
/// transformer layer, in one pass over the memory.
///
/// Shapes: input, residual [..., H]; bias, weight, shift [H]. `input` may be bfloat16 beside float
/// for the others: then the sum, the statistics and the gradients' sums are float.
/// On the CPU for these dtypes; otherwise composed of torch's operations. Dropout as in dropout().
/// Throws: ConfigError for shapes that don't fit and probabilities outside [0, 1].
LIGHTNING_API AddLayerNormOutput add_layer_norm(const at::Tensor& input, const at::Tensor& bias,
                                                const at::Tensor& residual,
                                                const at::Tensor& weight, const at::Tensor& shift,
                                                const AddLayerNormOptions& options);

}  // namespace lightning::ops
