/// LossScaler: dynamic loss scaling for float16 (torch.amp.GradScaler), all on the device: neither
/// the scale nor whether a step was skipped is ever read by the host.
#pragma once

#include <cstdint>
#include <span>

#include <ATen/core/Tensor.h>

#include <lightning/config/fields.h>
#include <lightning/util/export.h>
#include <lightning/util/state_dict.h>

namespace lightning {

struct LossScalerOptions {
  double init_scale = 65536.0;
  /// The scale grows by this factor after growth_interval good steps in a row.
  double growth_factor = 2.0;
  /// The scale shrinks by this factor after a step with inf or nan in its gradients.
  double backoff_factor = 0.5;
  int64_t growth_interval = 2000;
};
LIGHTNING_FIELDS(LossScalerOptions, LIGHTNING_FIELD(init_scale, "the scale at the start"),
                 LIGHTNING_FIELD(growth_factor, "growth after growth_interval good steps"),
                 LIGHTNING_FIELD(backoff_factor, "shrinkage after an overflow"),
                 LIGHTNING_FIELD(growth_interval, "good steps in a row before the scale grows"))

class LIGHTNING_API LossScaler {
 public:
  /// Throws ConfigError for options out of range.
  explicit LossScaler(at::Device device, const LossScalerOptions& options = {});

  /// loss times scale, for backward.
  at::Tensor scale_loss(const at::Tensor& loss) const;
  /// Divides gradients in place by the scale, and by `divisor` when it is defined. Returns a
  /// float32 element on the device: 1 when a gradient held inf or nan (the step must be skipped),
  /// else 0.
  at::Tensor unscale_(std::span<const at::Tensor> gradients, const at::Tensor& divisor = {});
  /// Adjusts the scale to what unscale_() found since the last update(); once per step of training.
  void update();

  /// One float32 element on the device.
  const at::Tensor& scale() const { return scale_; }
  /// What unscale_() found before the last update(), over all its calls; like its result.
  const at::Tensor& last_found_inf() const { return last_found_inf_; }

  /// Tensors are shared, not copied. No sync.
  StateDict state_dict() const;
  void load_state_dict(const StateDict& state);

 private:
  LossScalerOptions options_;
  at::Tensor scale_;
  at::Tensor growth_tracker_;
  at::Tensor found_inf_;  // since the last update()
  at::Tensor last_found_inf_;
  bool checked_ = false;  // unscale_() ran since the last update()
};

}  // namespace lightning
