/// GradientClipAlgorithm: what trainer.gradient_clip_val limits.
#pragma once

#include <ATen/core/Tensor.h>

#include <lightning/config/fields.h>
#include <lightning/util/export.h>

namespace torch::optim {
class Optimizer;
}

namespace lightning {

enum class GradientClipAlgorithm {
  kNorm,   // the L2 norm of all gradients together
  kValue,  // each element
};
LIGHTNING_ENUM(GradientClipAlgorithm, LIGHTNING_ENUMERATOR(kNorm, "norm"),
               LIGHTNING_ENUMERATOR(kValue, "value"))

/// Clips the gradients of the optimizer's parameters in place. Returns their norm before that
/// (undefined with kValue). No sync. Throws ConfigError unless value > 0.
LIGHTNING_API at::Tensor clip_gradients(const torch::optim::Optimizer& optimizer, double value,
                                        GradientClipAlgorithm algorithm);

}  // namespace lightning
