#pragma once

#include <cstdint>
#include <optional>

#include <ATen/core/Tensor.h>

#include <lightning/util/export.h>

namespace lightning::ops {

struct SelfAttentionOptions {
  int64_t num_heads;
  /// Probability of dropping an attention probability.
  double dropout = 0.0;
  bool training = false;
  /// What scores are multiplied with; 1 / sqrt(H / num_heads) by default.
  std::optional<double> scale = std::nullopt;
};

/// dropout(softmax(scale * Q K^T)) V for each sequence and head.
///
/// Shapes: qkv [B, T, 3 H]: queries, keys and values of all heads side by side, as one matrix
/// product makes them. attended [B, T]: nonzero for the keys that are attended to; undefined means
/// all. A sequence without any such key gets zeros. Returns [B, T, H] of qkv's dtype.
///
/// On the CPU, for float and bfloat16, scores are made in blocks that stay in the cache, keys after
/// the last one attended to are skipped, the arithmetic outside of matrix products is float, and
/// backward makes the probabilities anew from log-sums: memory grows with T, not T^2. Dropout as in
/// dropout(). Otherwise torch's scaled_dot_product_attention.
/// Throws: ConfigError for shapes that don't fit and probabilities outside [0, 1].
LIGHTNING_API at::Tensor self_attention(const at::Tensor& qkv, const at::Tensor& attended,
                                        const SelfAttentionOptions& options);

}  // namespace lightning::ops
