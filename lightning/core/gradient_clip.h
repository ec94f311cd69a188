/// GradientClipAlgorithm: what trainer.gradient_clip_val limits.
#pragma once

#include <lightning/config/fields.h>

namespace lightning {

enum class GradientClipAlgorithm {
  kNorm,   // the L2 norm of all gradients together
  kValue,  // each element
};
LIGHTNING_ENUM(GradientClipAlgorithm, LIGHTNING_ENUMERATOR(kNorm, "norm"),
               LIGHTNING_ENUMERATOR(kValue, "value"))

}  // namespace lightning
