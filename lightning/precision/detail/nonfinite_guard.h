/// NonFiniteGuard: notices losses and gradients that are inf or nan without making the host wait
/// for the device, and knows later at which step the first one was.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

#include <lightning/util/export.h>

namespace lightning {

class LossScaler;

struct NonFiniteFinding {
  /// Whether a gradient was it, else a loss.
  bool in_gradients = false;
  int64_t step = 0;
};

/// With loss scaling, overflow is the scaler's business: it skips the step and halves the scale. A
/// loss or gradient counts as non-finite here only when the scale has come down to below 1, since
/// then it isn't the scaling that makes it so (after 17 bad steps in a row from a scale of 65536;
/// the step found is the one at which that point was reached).
class LIGHTNING_API NonFiniteGuard {
 public:
  using Finding = NonFiniteFinding;

  /// `scaler` (may be null) must outlive the guard. `force_device_path`: treat tensors on the CPU
  /// as if they were on a GPU (for tests).
  explicit NonFiniteGuard(const LossScaler* scaler = nullptr, bool force_device_path = false);

  /// The loss of a micro-batch, as training_step() returned it. No sync with a GPU.
  void observe_loss(const at::Tensor& loss, int64_t step);
  /// The gradients of a window, before the step. Does nothing with loss scaling, where
  /// observe_loss() looks at what the scaler found in the step before. No sync with a GPU.
  void observe_gradients(std::span<const at::Tensor> gradients, int64_t step);
  /// Instead of observe_gradients() where their norm is known, as from clipping: costs nothing.
  void observe_gradient_norm(const at::Tensor& norm, int64_t step);

  /// The first finding since the last read(). Sync: waits for the GPU that the losses are on.
  std::optional<Finding> read();

 private:
  /// Values on the device that wait to be looked at, with their steps.
  struct Record {
    at::Tensor values;
    std::vector<int64_t> steps;
    at::Tensor next_slot(at::Device device, int64_t step);
    std::optional<int64_t> first_non_finite() const;
  };

  bool on_device(const at::Tensor& tensor) const;
  void found(bool in_gradients, int64_t step);
  void record_loss(const at::Tensor& loss, int64_t step);
  void flush();

  const LossScaler* scaler_;
  bool force_device_path_;
  std::optional<Finding> first_;
  Record losses_;
  Record gradients_;
};

}  // namespace lightning
