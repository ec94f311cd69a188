/// LightningOptimizer: what training_step() steps an optimizer by in manual optimization.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include <lightning/core/gradient_clip.h>
#include <lightning/util/export.h>

namespace torch::optim {
class Optimizer;
}

namespace lightning {

/// What follows a LightningModule::manual_backward().
enum class Sync {
  kLast,        // the optimizer's step: gradients become the means over the ranks
  kMoreFollow,  // another backward of the same parameters: gradients stay this rank's
};

/// While it lives, parameters are frozen; then those that were trainable are so again. Of
/// LightningOptimizer::toggle().
class LIGHTNING_API Toggle {
 public:
  /// Freezes what of `parameters` is trainable.
  explicit Toggle(const std::vector<at::Tensor>& parameters);
  ~Toggle();
  Toggle(Toggle&& other) noexcept : frozen_(std::exchange(other.frozen_, {})) {}
  Toggle& operator=(Toggle&&) = delete;
  Toggle(const Toggle&) = delete;
  Toggle& operator=(const Toggle&) = delete;

 private:
  std::vector<at::Tensor> frozen_;
};

/// One of configure_optimizers(), from LightningModule::optimizer(). Every rank must make the same
/// calls in the same order. All but optimizer() and step_count() throw ConfigError with automatic
/// optimization and outside of training_step().
class LIGHTNING_API LightningOptimizer {
 public:
  virtual ~LightningOptimizer();

  virtual torch::optim::Optimizer& optimizer() const = 0;
  /// Steps that it has made in the whole run, earlier sessions included. Those that loss scaling
  /// skipped count.
  virtual int64_t step_count() const = 0;

  /// Forgets the gradients of its parameters (they become undefined). Calls no hook.
  virtual void zero_grad() = 0;
  /// Clips the gradients of the optimizer's parameters before step(), as
  /// trainer.gradient_clip_val does with automatic optimization; with loss scaling after dividing
  /// by the scale. Returns their norm (undefined with kValue). No sync.
  virtual at::Tensor clip_gradients(
      double value, GradientClipAlgorithm algorithm = GradientClipAlgorithm::kNorm) = 0;
  /// on_before_optimizer_step(), the step, on_after_optimizer_step(). The gradients stay until
  /// zero_grad(). Throws ConfigError unless a manual_backward() with Sync::kLast came since the
  /// step before.
  virtual void step() = 0;
  /// Freezes the parameters of all other optimizers that aren't this one's, too: a backward in the
  /// scope of the result spares them.
  [[nodiscard]] virtual Toggle toggle() = 0;
};

/// What an optimizer's step was, for on_after_optimizer_step().
struct OptimizerStep {
  torch::optim::Optimizer& optimizer;
  size_t index = 0;  // in configure_optimizers()
  /// One element on the device, not 0: the step was skipped, because scaled gradients overflowed or
  /// the window's weight was 0. Undefined: it was certainly made. Reading it waits for the device.
  at::Tensor skipped;
};

}  // namespace lightning
