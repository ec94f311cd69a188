#include <lightning/loops/optimization.h>

#include <utility>

#include <ATen/Functions.h>

#include <lightning/loops/hooks.h>
#include <lightning/nn/batch_norm.h>
#include <lightning/optim/grad_utils.h>
#include <lightning/precision/precision.h>
#include <lightning/util/error.h>

namespace lightning {

Optimization::Optimization(RunState& run)
    : run_(run),
      run_backward_([&run](const at::Tensor& loss) { run.context.module->backward(loss); }) {
  step_closure_ = [this] {
    compute_gradients(*batch_, batch_idx_, /*ends_window=*/true);
    step_optimizer();
  };
}

StepOutput Optimization::run_batch(const Batch& batch, int64_t batch_idx, bool ends_window) {
  stepped_ = false;
  if (ends_window) {
    batch_ = &batch;
    batch_idx_ = batch_idx;
    call_module(run_, module_hooks::optimizer_step, run_.progress.epoch, batch_idx,
                *run_.context.optimizers.front().optimizer, step_closure_);
  } else {
    compute_gradients(batch, batch_idx, /*ends_window=*/false);
  }
  if (ends_window) window_ = {};
  return std::exchange(output_, StepOutput::skip());
}

void Optimization::compute_gradients(const Batch& batch, int64_t batch_idx, bool ends_window) {
  LightningModule& module = *run_.context.module;
  torch::optim::Optimizer& optimizer = *run_.context.optimizers.front().optimizer;
  const bool begins_window = window_.batches++ == 0;
  if (begins_window) {
    window_.is_cut = batch_idx % run_.context.options.user.accumulate_grad_batches != 0;
    run_.context.strategy->begin_window(module);
  }
  at::Tensor loss;
  {
    const auto phase = run_.phases.enter(kTrainingStep, run_.progress, run_.metrics.train,
                                         step_scope(batch, run_.progress.global_step + 1));
    const auto precision = run_.context.precision->forward_context();
    const nn::SkipStatistics uncounted(batch.is_padding());
    output_ = module.training_step(batch, batch_idx);
    if (!output_.is_skip()) {
      if (output_.weight.defined() && batch.is_padding()) output_.weight = output_.weight * 0.0;
      loss = window_loss(output_, batch.rank_weight());
    }
  }
  if (begins_window) {
    call_hooks(run_, hooks::on_before_zero_grad, optimizer);
    call_module(run_, module_hooks::optimizer_zero_grad, optimizer);
  }
  count(output_, batch_idx);
  if (output_.is_skip()) {
    // Other ranks may have a loss.
    run_.context.strategy->backward(run_backward_, loss, at::Tensor(), ends_window);
    return;
  }
  run_.nonfinite.observe_loss(output_.loss, run_.progress.global_step + 1);
  // The graph isn't needed by those who only look at the loss.
  output_.loss = output_.loss.detach();

  loss = run_.context.precision->scale_loss(loss);
  call_hooks(run_, hooks::on_before_backward, loss);
  {
    const auto phase = run_.phases.enter(kBackward, run_.progress);
    run_.context.strategy->backward(run_backward_, loss, output_.weight, ends_window);
  }
  call_hooks(run_, hooks::on_after_backward);
}

at::Tensor Optimization::window_loss(const StepOutput& output, double rank_weight) const {
  LIGHTNING_CHECK(output.loss.numel() == 1, ConfigError,
                  "LightningModule: training_step() returned a loss of shape ", output.loss.sizes(),
                  ", expected a scalar. HINT: reduce it by mean() or sum().");
  LIGHTNING_CHECK(output.loss.requires_grad(), ConfigError,
                  "LightningModule: training_step() returned a loss without a graph, expected one "
                  "that depends on trainable parameters. HINT: don't detach() it, and don't freeze "
                  "every parameter; return StepOutput::skip() to leave a batch out.");
  if (output.weight.defined()) return output.loss * output.weight.to(output.loss.options());
  // Ranks whose batches differ in size at an epoch's ragged end count by their size.
  const at::Tensor loss = rank_weight == 1.0 ? output.loss : output.loss * rank_weight;
  const int64_t accumulate = run_.context.options.user.accumulate_grad_batches;
  return accumulate == 1 || window_.is_cut ? loss : loss / accumulate;
}

void Optimization::count(const StepOutput& output, int64_t batch_idx) {
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
        batch_idx, run_.progress.epoch));
  }
}

at::Tensor Optimization::divisor() const {
  const at::Tensor& weight = run_.context.strategy->window().weight;
  if (weight.defined() || !window_.is_cut) return weight;
  return at::full({}, static_cast<double>(window_.batches),
                  at::TensorOptions(run_.context.strategy->root_device()).dtype(at::kDouble));
}

void Optimization::step_optimizer() {
  if (!run_.context.strategy->window().has_data) return;
  run_.context.throw_if_failed();
  torch::optim::Optimizer& optimizer = *run_.context.optimizers.front().optimizer;
  const TrainerOptions& options = run_.context.options.user;
  // Without clipping the division is left to the optimizer's kernel.
  run_.context.precision->prepare_gradients(optimizer, divisor(),
                                            /*needed=*/options.gradient_clip_val.has_value());
  call_hooks(run_, hooks::on_before_optimizer_step, optimizer);
  // With loss scaling an overflow skips the step.
  if (options.on_nonfinite != OnNonfinite::kIgnore && !run_.context.precision->scales_loss()) {
    optim::collect_gradients(optimizer, gradients_);
    run_.nonfinite.observe_gradients(gradients_, run_.progress.global_step + 1);
    gradients_.clear();
  }
  call_module(run_, module_hooks::configure_gradient_clipping, optimizer, options.gradient_clip_val,
              options.gradient_clip_algorithm);
  run_.context.precision->step(optimizer);
  stepped_ = true;
}

}  // namespace lightning
