/// Attention on the CPU by blocks of queries; see self_attention.h.
#pragma once

#include <ATen/core/Tensor.h>

#include <lightning/ops/detail/kernels.h>

namespace lightning::ops::detail {

struct AttentionProblem {
  /// Contiguous [B, T, 3 H], float or bfloat16.
  at::Tensor qkv;
  /// Contiguous [B, T] uint8, 0 for keys that aren't attended to.
  at::Tensor attended;
  int64_t num_heads;
  double scale;
  DropoutMask mask;
};

/// Whether this machine's LibTorch has the matrix products that are needed, for this dtype and
/// head size.
bool cpu_attention_available(at::ScalarType dtype, int64_t head_size);

/// Fills output [B, T, H] and log_sums [B, heads, T] float.
void cpu_attention(const AttentionProblem& problem, const at::Tensor& output,
                   const at::Tensor& log_sums);
/// Fills grad_qkv.
void cpu_attention_backward(const AttentionProblem& problem, const at::Tensor& output,
                            const at::Tensor& log_sums, const at::Tensor& grad_output,
                            const at::Tensor& grad_qkv);

}  // namespace lightning::ops::detail
