/// Optimization: one batch from its loss to the weights. Of automatic optimization in
/// optimization.cpp, of manual optimization in manual_optimization.cpp.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include <lightning/core/lightning_optimizer.h>
#include <lightning/loops/run_state.h>
#include <lightning/precision/precision.h>

namespace lightning {

class Optimization {
 public:
  explicit Optimization(RunState& run);
  ~Optimization();
  Optimization(const Optimization&) = delete;
  Optimization& operator=(const Optimization&) = delete;

  /// training_step, backward and, at the end of a window, the optimizers. An epoch's last batch
  /// ends its window.
  StepOutput run_batch(const Batch& batch, int64_t batch_idx, bool last_batch);
  /// Whether that batch made a step of an optimizer (not when all batches of a window were
  /// skipped).
  bool stepped() const { return stepped_; }
  /// Forgets the batches of a window that no more will complete: the next one begins with its first
  /// batch. Of automatic optimization; gradients of manual optimization are the module's.
  void drop_window() { window_.batches = 0; }
  /// After a batch: whether gradients are there that only batches to come complete.
  bool in_window() const;

  /// Those of TrainerContext.
  LightningOptimizer& manual_optimizer(size_t index);
  void manual_backward(const at::Tensor& loss, Sync sync);

 private:
  class ManualOptimizer;

  StepOutput run_step(bool last_batch);
  StepOutput run_automatic();
  /// training_step() alone, of an epoch that doesn't train.
  StepOutput run_forward();
  void compute_gradients();
  at::Tensor window_loss(const StepOutput& output) const;
  void count(const StepOutput& output);
  void end_window();
  /// One step of an optimizer whose gradients are prepared: hooks, guard, `clip`, counts.
  void step_optimizer(size_t index, const std::function<void()>& clip);

  StepOutput run_manual();
  /// Throws ConfigError that names `call` where it is not allowed.
  void require_manual_step(std::string_view call) const;

  /// The micro-batches of one step of automatic optimization.
  struct Window {
    int64_t size = 1;     // as many as it is to have
    int64_t batches = 0;  // that it has
    bool ends = false;    // with the present batch
  };

  RunState& run_;
  Window window_;
  Strategy::RunBackward run_backward_;
  StepOutput output_ = StepOutput::skip();
  bool stepped_ = false;
  std::vector<at::Tensor> gradients_;
  // Made once: a closure per step would be an allocation per step.
  std::function<void()> step_closure_;
  std::function<void()> clip_;
  // The present batch; null between batches.
  const Batch* batch_ = nullptr;
  int64_t batch_idx_ = 0;

  std::vector<std::unique_ptr<ManualOptimizer>> optimizers_;
  /// That of the present training_step(); a manual backward leaves it meanwhile.
  std::unique_ptr<Precision::ForwardContext> forward_context_;
  int64_t backwards_ = 0;  // of the present batch
};

}  // namespace lightning
