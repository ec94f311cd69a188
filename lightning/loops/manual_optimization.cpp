#include <algorithm>
#include <unordered_set>
#include <utility>

#include <torch/optim/optimizer.h>

#include <lightning/loops/hooks.h>
#include <lightning/loops/manual_optimizer.h>
#include <lightning/nn/batch_norm.h>
#include <lightning/util/error.h>

namespace lightning {
namespace {

std::vector<at::Tensor> parameters_of(const torch::optim::Optimizer& optimizer) {
  std::vector<at::Tensor> parameters;
  for (const auto& group : optimizer.param_groups()) {
    parameters.insert(parameters.end(), group.params().begin(), group.params().end());
  }
  return parameters;
}

bool any_trainable(const torch::optim::Optimizer& optimizer) {
  const auto& groups = optimizer.param_groups();
  return std::any_of(groups.begin(), groups.end(), [](const auto& group) {
    return std::any_of(group.params().begin(), group.params().end(),
                       [](const at::Tensor& parameter) { return parameter.requires_grad(); });
  });
}

}  // namespace

StepOutput Optimization::run_manual() {
  LightningModule& module = *run_.context.module;
  backwards_ = 0;
  run_.context.strategy->begin_window(module);
  StepOutput output = StepOutput::skip();
  {
    const auto phase = run_.phases.enter(kTrainingStep, run_.progress, run_.metrics.train,
                                         step_scope(*batch_, run_.progress.global_step + 1));
    forward_context_ = run_.context.precision->forward_context();
    const nn::SkipStatistics uncounted(batch_->is_padding());
    output = module.training_step(*batch_, batch_idx_);
    forward_context_.reset();
  }
  run_.context.precision->end_window();
  // Whatever was returned, the batch was trained on by its backwards.
  backwards_ > 0 ? ++run_.batches.trained : ++run_.batches.skipped;
  if (!output.is_skip()) output.loss = output.loss.detach();
  return output;
}

void Optimization::require_manual_step(std::string_view call) const {
  LIGHTNING_CHECK(
      !run_.context.module->automatic_optimization(), ConfigError, "LightningModule: ", call,
      " was called with automatic optimization, expected manual optimization. HINT: call "
      "set_automatic_optimization(false) in the module's constructor.");
  LIGHTNING_CHECK(batch_ != nullptr, ConfigError, "LightningModule: ", call,
                  " was called outside of training_step(), expected inside. HINT: move it there.");
}

LightningOptimizer& Optimization::manual_optimizer(size_t index) {
  LIGHTNING_CHECK(index < optimizers_.size(), ConfigError, "LightningModule: optimizer(", index,
                  ") was asked for, and configure_optimizers() gave ", optimizers_.size(),
                  ", expected an index below that. HINT: optimizers count from 0.");
  return *optimizers_[index];
}

void Optimization::manual_backward(const at::Tensor& loss, Sync sync) {
  require_manual_step("manual_backward()");
  LIGHTNING_CHECK(loss.defined() && loss.numel() == 1, ConfigError,
                  "LightningModule: manual_backward() was given ",
                  loss.defined() ? detail::concat("a loss of shape ", loss.sizes())
                                 : std::string("an undefined loss"),
                  ", expected a scalar. HINT: reduce it by mean() or sum().");
  LIGHTNING_CHECK(
      loss.requires_grad(), ConfigError,
      "LightningModule: manual_backward() was given a loss without a graph, expected one "
      "that depends on trainable parameters. HINT: it depends only on detached tensors, "
      "or on parameters that toggle() or the program has frozen.");
  Precision& precision = *run_.context.precision;
  auto& pending = run_.progress.pending_gradients;
  for (size_t i = 0; i < optimizers_.size(); ++i) {
    const torch::optim::Optimizer& optimizer = optimizers_[i]->optimizer();
    if (!any_trainable(optimizer)) continue;
    LIGHTNING_CHECK(
        !precision.scales_loss() || !precision.prepared(optimizer), ConfigError,
        "LightningModule: manual_backward() came after clip_gradients() of optimizer ", i,
        ", whose gradients are unscaled already, expected step() or zero_grad() between. "
        "HINT: clip after the last backward.");
    pending[i] = sync == Sync::kLast ? PendingGradients::kComplete : PendingGradients::kIncomplete;
  }
  ++backwards_;
  run_.nonfinite.observe_loss(loss.detach(), run_.progress.global_step + 1);
  const double rank_weight = batch_->rank_weight();
  const at::Tensor scaled = precision.scale_loss(rank_weight == 1.0 ? loss : loss * rank_weight);
  // As in automatic optimization backward and its hooks don't run in the context of the forward.
  forward_context_.reset();
  call_hooks(run_, hooks::on_before_backward, scaled);
  {
    const auto phase = run_.phases.enter(kBackward, run_.progress);
    run_.context.strategy->backward(run_backward_, scaled, /*weight=*/at::Tensor(),
                                    /*last_in_window=*/sync == Sync::kLast);
  }
  call_hooks(run_, hooks::on_after_backward);
  forward_context_ = precision.forward_context();
}

torch::optim::Optimizer& Optimization::ManualOptimizer::optimizer() const {
  return *owner_.run_.context.optimizers[index_].optimizer;
}

int64_t Optimization::ManualOptimizer::step_count() const {
  return owner_.run_.progress.optimizer_steps[index_];
}

void Optimization::ManualOptimizer::zero_grad() {
  owner_.require_manual_step("zero_grad()");
  optimizer().zero_grad(/*set_to_none=*/true);
  owner_.run_.context.precision->discard_gradients(optimizer());
  pending() = PendingGradients::kNone;
}

at::Tensor Optimization::ManualOptimizer::clip_gradients(double value,
                                                         GradientClipAlgorithm algorithm) {
  owner_.require_manual_step("clip_gradients()");
  owner_.run_.context.precision->prepare_gradients(optimizer(), /*weight=*/{}, /*needed=*/true);
  return lightning::clip_gradients(optimizer(), value, algorithm);
}

void Optimization::ManualOptimizer::step() {
  owner_.require_manual_step("step()");
  LIGHTNING_CHECK(
      pending() != PendingGradients::kIncomplete, ConfigError,
      "LightningModule: step() of optimizer ", index_,
      " came after manual_backward() with Sync::kMoreFollow, expected Sync::kLast before a "
      "step. HINT: give kMoreFollow to all but the last backward.");
  LIGHTNING_CHECK(pending() == PendingGradients::kComplete, ConfigError,
                  "LightningModule: step() of optimizer ", index_,
                  " came without a manual_backward() since its last step, expected one. HINT: call "
                  "manual_backward() while its parameters are trainable.");
  owner_.run_.context.precision->prepare_gradients(optimizer(), /*weight=*/{}, /*needed=*/false);
  owner_.step_optimizer(index_, /*clip=*/nullptr);
  pending() = PendingGradients::kNone;
}

Toggle Optimization::ManualOptimizer::toggle() {
  owner_.require_manual_step("toggle()");
  std::unordered_set<const c10::TensorImpl*> own;
  for (const at::Tensor& parameter : parameters_of(optimizer())) {
    own.insert(parameter.unsafeGetTensorImpl());
  }
  std::vector<at::Tensor> others;
  for (const auto& other : owner_.optimizers_) {
    for (const at::Tensor& parameter : parameters_of(other->optimizer())) {
      if (!own.contains(parameter.unsafeGetTensorImpl())) others.push_back(parameter);
    }
  }
  return Toggle(others);
}

}  // namespace lightning
