/// What is done to the gradients of a whole model at once: checked for inf and nan, clipped. One
/// pass over memory on the CPU, a few kernels and no host sync on a GPU.
#pragma once

#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

#include <lightning/util/export.h>

namespace torch::optim {
class Optimizer;
}

namespace lightning::optim {

/// Replaces what is in `gradients` by the gradients of the optimizer's parameters; the vector's
/// capacity is used again. Parameters without a gradient are left out, a tied one counts once.
LIGHTNING_API void collect_gradients(const torch::optim::Optimizer& optimizer,
                                     std::vector<at::Tensor>& gradients);
/// The same for a list of parameters.
LIGHTNING_API void collect_gradients(std::span<const at::Tensor> parameters,
                                     std::vector<at::Tensor>& gradients);

/// Whether no element is inf or nan. Sync: waits for tensors that are on a GPU.
LIGHTNING_API bool all_finite(std::span<const at::Tensor> tensors);

/// Sets `found_inf` (one float32 element) to 1 when an element is inf or nan; never to 0. No sync.
LIGHTNING_API void check_finite(std::span<const at::Tensor> tensors, at::Tensor& found_inf);

/// Divides the tensors in place by `divisor` (one element). No sync.
LIGHTNING_API void divide_(std::span<const at::Tensor> tensors, const at::Tensor& divisor);

/// Scales the gradients of `parameters` in place so that their global L2 norm is at most `max_norm`
/// (torch.nn.utils.clip_grad_norm_). Tied parameters count once.
///
/// Sync:    none.
/// Returns: the norm before clipping, 0-dim (float64 when all gradients are, else float32); 0
///          without gradients. It is inf or nan when a gradient is, and so are the gradients then.
/// Throws:  ConfigError unless max_norm > 0.
LIGHTNING_API at::Tensor clip_grad_norm_(std::span<const at::Tensor> parameters, double max_norm);
/// The same for gradients, as collect_gradients() gives them.
LIGHTNING_API at::Tensor clip_gradients_by_norm_(std::span<const at::Tensor> gradients,
                                                 double max_norm);

/// Clamps every gradient to [-clip_value, clip_value] (torch.nn.utils.clip_grad_value_). No sync.
/// Throws ConfigError unless clip_value > 0.
LIGHTNING_API void clip_grad_value_(std::span<const at::Tensor> parameters, double clip_value);
LIGHTNING_API void clip_gradients_by_value_(std::span<const at::Tensor> gradients,
                                            double clip_value);

}  // namespace lightning::optim
