#include <lightning/loops/optimization.h>

#include <algorithm>
#include <utility>

#include <c10/util/ScopeExit.h>

#include <lightning/loops/hooks.h>
#include <lightning/loops/manual_optimizer.h>
#include <lightning/loops/nonfinite.h>
#include <lightning/nn/batch_norm.h>
#include <lightning/optim/grad_utils.h>
#include <lightning/util/error.h>

namespace lightning {
namespace {

/// What stays of a step's outputs until the batch's end needs no graph.
void detach(Batch& outputs) {
  const int64_t count = outputs.size();
  for (int64_t i = 0; i < count; ++i) {
    const Batch::Item& item = outputs.items()[static_cast<size_t>(i)];
    if (item.second.defined() && item.second.requires_grad()) {
      outputs.set(item.first, item.second.detach());
    }
  }
}

}  // namespace

Optimization::Optimization(RunState& run)
    : run_(run), run_backward_([&run](const at::Tensor& loss) { run_backward(run, loss); }) {
  step_closure_ = [this] {
    compute_gradients();
    end_window();
  };
  clip_ = [this] {
    const TrainerOptions& options = run_.context.options.user;
    call_module(run_, module_hooks::configure_gradient_clipping,
                *run_.context.optimizers.front().optimizer, options.gradient_clip_val,
                options.gradient_clip_algorithm);
  };
  for (size_t i = 0; i < run.context.optimizers.size(); ++i) {
    optimizers_.push_back(std::make_unique<ManualOptimizer>(*this, i));
  }
  run_.optimization = this;
}

Optimization::~Optimization() { run_.optimization = nullptr; }

StepOutput Optimization::run_batch(const Batch& batch, int64_t batch_idx, bool last_batch) {
  // Also by an exception: after the batch a module may not step any more.
  const auto done = c10::make_scope_exit([this] { batch_ = nullptr; });
  batch_ = &batch;
  batch_idx_ = batch_idx;
  stepped_ = false;
  StepOutput output = run_step(last_batch);
  detach(output.outputs);
  return output;
}

StepOutput Optimization::run_step(bool last_batch) {
  if (!run_.trains()) return run_forward();
  if (!run_.context.module->automatic_optimization()) return run_manual();
  if (window_.batches == 0) window_.size = run_.accumulate_grad_batches();
  window_.ends = last_batch || window_.batches + 1 >= window_.size;
  return run_automatic();
}

bool Optimization::in_window() const {
  const auto& pending = run_.progress.pending_gradients;
  return window_.batches > 0 ||
         std::find(pending.begin(), pending.end(), PendingGradients::kIncomplete) != pending.end();
}

StepOutput Optimization::run_automatic() {
  if (window_.ends) {
    call_module(run_, module_hooks::optimizer_step, run_.progress.epoch, batch_idx_,
                *run_.context.optimizers.front().optimizer, step_closure_);
    window_.batches = 0;
  } else {
    compute_gradients();
  }
  return std::exchange(output_, StepOutput::skip());
}

StepOutput Optimization::run_forward() {
  LightningModule& module = *run_.context.module;
  run_.context.strategy->begin_window(module);
  StepOutput output = StepOutput::skip();
  {
    const auto phase = run_.phases.enter(kTrainingStep, run_.progress, run_.metrics.train,
                                         step_scope(*batch_, run_.progress.global_step));
    const auto precision = run_.context.precision->forward_context();
    const nn::SkipStatistics uncounted(batch_->is_padding());
    output = module.training_step(*batch_, batch_idx_);
  }
  count(output);
  if (!output.is_skip()) output.loss = output.loss.detach();
  return output;
}

void Optimization::compute_gradients() {
  LightningModule& module = *run_.context.module;
  torch::optim::Optimizer& optimizer = *run_.context.optimizers.front().optimizer;
  const bool begins_window = window_.batches++ == 0;
  if (begins_window) run_.context.strategy->begin_window(module);
  at::Tensor loss;
  {
    const auto phase = run_.phases.enter(kTrainingStep, run_.progress, run_.metrics.train,
                                         step_scope(*batch_, run_.progress.global_step + 1));
    const auto precision = run_.context.precision->forward_context();
    const nn::SkipStatistics uncounted(batch_->is_padding());
    output_ = module.training_step(*batch_, batch_idx_);
    if (!output_.is_skip()) {
      if (output_.weight.defined() && batch_->is_padding()) output_.weight = output_.weight * 0.0;
      loss = window_loss(output_);
    }
  }
  if (begins_window) {
    call_hooks(run_, hooks::on_before_zero_grad, optimizer);
    call_module(run_, module_hooks::optimizer_zero_grad, optimizer);
  }
  count(output_);
  if (output_.is_skip()) {
    // Other ranks may have a loss.
    run_.context.strategy->backward(run_backward_, loss, at::Tensor(), window_.ends);
    return;
  }
  run_.nonfinite.observe_loss(output_.loss, run_.progress.global_step + 1);
  // The graph isn't needed by those who only look at the loss.
  output_.loss = output_.loss.detach();

  loss = run_.context.precision->scale_loss(loss);
  call_hooks(run_, hooks::on_before_backward, loss);
  {
    const auto phase = run_.phases.enter(kBackward, run_.progress);
    run_.context.strategy->backward(run_backward_, loss, output_.weight, window_.ends);
  }
  call_hooks(run_, hooks::on_after_backward);
}

at::Tensor Optimization::window_loss(const StepOutput& output) const {
  LIGHTNING_CHECK(output.loss.numel() == 1, ConfigError,
                  "LightningModule: training_step() returned a loss of shape ", output.loss.sizes(),
                  ", expected a scalar. HINT: reduce it by mean() or sum().");
  LIGHTNING_CHECK(output.loss.requires_grad(), ConfigError,
                  "LightningModule: training_step() returned a loss without a graph, expected one "
                  "that depends on trainable parameters. HINT: don't detach() it, and don't freeze "
                  "every parameter; return StepOutput::skip() to leave a batch out.");
  if (output.weight.defined()) return output.loss * output.weight.to(output.loss.options());
  // Ranks whose batches differ in size at an epoch's ragged end count by their size.
  const double rank_weight = batch_->rank_weight();
  const at::Tensor loss = rank_weight == 1.0 ? output.loss : output.loss * rank_weight;
  return window_.size == 1 ? loss : loss / window_.size;
}

void Optimization::count(const StepOutput& output) {
  BatchCounts& counts = run_.batches;
  if (!output.is_skip()) {
    ++counts.trained;
  } else if (output.skipped_on_purpose()) {
    ++counts.skipped;
  } else if (counts.undefined++ == 0) {
    run_.warn(format(
        "LightningModule: training_step() returned an undefined tensor for batch {} of epoch {}, "
        "expected the loss; the batch is left out. HINT: return the loss, or "
        "StepOutput::skip() to leave a batch out on purpose.",
        batch_idx_, run_.progress.epoch));
  }
}

void Optimization::end_window() {
  if (!run_.context.strategy->window().has_data) return;
  // Without clipping the division is left to the optimizer's kernel.
  run_.context.precision->prepare_gradients(
      *run_.context.optimizers.front().optimizer, run_.context.strategy->window().weight,
      /*needed=*/run_.context.options.user.gradient_clip_val.has_value());
  step_optimizer(0, clip_);
  run_.context.precision->end_window();
}

void Optimization::step_optimizer(size_t index, const std::function<void()>& clip) {
  run_.context.throw_if_failed();
  torch::optim::Optimizer& optimizer = *run_.context.optimizers[index].optimizer;
  Precision& precision = *run_.context.precision;
  call_hooks(run_, hooks::on_before_optimizer_step, optimizer);
  // With loss scaling an overflow skips the step.
  if (run_.context.options.user.on_nonfinite != OnNonfinite::kIgnore && !precision.scales_loss()) {
    optim::collect_gradients(optimizer, gradients_);
    run_.nonfinite.observe_gradients(gradients_, run_.progress.global_step + 1);
    gradients_.clear();
  }
  if (clip) clip();
  const OptimizerStep step = {optimizer, index, precision.step(optimizer)};
  stepped_ = true;
  ++run_.progress.optimizer_steps[index];
  call_hooks(run_, hooks::on_after_optimizer_step, step);
}

}  // namespace lightning
