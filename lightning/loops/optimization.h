/// Optimization: one batch from its loss to the weights, automatic optimization only.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include <lightning/loops/run_state.h>

namespace lightning {

class Optimization {
 public:
  explicit Optimization(RunState& run);

  /// training_step, backward and, at the window's end, the optimizer.
  StepOutput run_batch(const Batch& batch, int64_t batch_idx, bool ends_window);
  /// Whether the last window's optimizer stepped (not when all of its batches were skipped).
  bool stepped() const { return stepped_; }

 private:
  void compute_gradients(const Batch& batch, int64_t batch_idx, bool ends_window);
  at::Tensor window_loss(const StepOutput& output, double rank_weight) const;
  void count(const StepOutput& output, int64_t batch_idx);
  /// What the window's summed gradients must be divided by; undefined: nothing.
  at::Tensor divisor() const;
  void step_optimizer();

  /// The micro-batches of the current window.
  struct Window {
    int64_t batches = 0;
    /// It began between two places where windows begin, after a resume with another
    /// accumulate_grad_batches: the gradients are summed and divided by `batches` at its end.
    bool is_cut = false;
  };

  RunState& run_;
  Window window_;
  Strategy::RunBackward run_backward_;
  StepOutput output_ = StepOutput::skip();
  bool stepped_ = false;
  std::vector<at::Tensor> gradients_;
  // Made once: a closure per step would be an allocation per step.
  std::function<void()> step_closure_;
  const Batch* batch_ = nullptr;
  int64_t batch_idx_ = 0;
};

}  // namespace lightning
