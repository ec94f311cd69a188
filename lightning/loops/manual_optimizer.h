/// Optimization::ManualOptimizer: what training_step() gets from optimizer() of its module.
#pragma once

#include <lightning/loops/optimization.h>

namespace lightning {

class Optimization::ManualOptimizer final : public LightningOptimizer {
 public:
  ManualOptimizer(Optimization& owner, size_t index) : owner_(owner), index_(index) {}

  torch::optim::Optimizer& optimizer() const override;
  int64_t step_count() const override;
  void zero_grad() override;
  at::Tensor clip_gradients(double value, GradientClipAlgorithm algorithm) override;
  void step() override;
  Toggle toggle() override;

 private:
  PendingGradients& pending() const { return owner_.run_.progress.pending_gradients[index_]; }

  Optimization& owner_;
  size_t index_;
};

}  // namespace lightning
