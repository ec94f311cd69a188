/// PrecisionMode: the number formats that a run computes in, and their options.
#pragma once

#include <cstdint>

#include <lightning/config/fields.h>

namespace lightning {

enum class PrecisionMode {
  k32True,     // float32 throughout
  k64True,     // float64 weights and inputs
  kBf16Mixed,  // float32 weights, bfloat16 where it is safe
  k16Mixed,    // float32 weights, float16 where it is safe, with loss scaling
};
LIGHTNING_ENUM(PrecisionMode, LIGHTNING_ENUMERATOR(k32True, "32-true"),
               LIGHTNING_ENUMERATOR(k32True, "32"), LIGHTNING_ENUMERATOR(k64True, "64-true"),
               LIGHTNING_ENUMERATOR(k64True, "64"), LIGHTNING_ENUMERATOR(kBf16Mixed, "bf16-mixed"),
               LIGHTNING_ENUMERATOR(kBf16Mixed, "bf16"), LIGHTNING_ENUMERATOR(k16Mixed, "16-mixed"),
               LIGHTNING_ENUMERATOR(k16Mixed, "16"))

struct LossScalerOptions {
  double init_scale = 65536.0;
  /// The scale grows by this factor after growth_interval good steps in a row.
  double growth_factor = 2.0;
  /// The scale shrinks by this factor after a step with inf or nan in its gradients.
  double backoff_factor = 0.5;
  int64_t growth_interval = 2000;
};

struct PrecisionOptions {
  LossScalerOptions loss_scaler = {};
  /// Keep 16-mixed on the CPU, where float16 is some 45 times slower than bfloat16 (for tests).
  bool force_float16 = false;
};

}  // namespace lightning
