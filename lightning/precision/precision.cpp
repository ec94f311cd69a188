#include <lightning/precision/precision.h>

#include <algorithm>

#include <ATen/ATen.h>
#include <torch/optim/optimizer.h>

#include <lightning/optim/grad_utils.h>
#include <lightning/optim/optimizers.h>
#include <lightning/util/error.h>

namespace lightning {
namespace {

/// What to divide by and whether to skip the step, for a summed weight that may be 0.
struct Division {
  at::Tensor divisor;  // undefined: nothing to divide by
  at::Tensor skip;     // undefined: don't skip
};

Division division_by(const at::Tensor& weight) {
  if (!weight.defined()) return {};
  LIGHTNING_CHECK(weight.numel() == 1, DataError, "Precision: the window's weight has ",
                  weight.numel(),
                  " elements, expected one. HINT: give StepOutput a scalar weight.");
  at::NoGradGuard no_grad;
  const at::Tensor sum = weight.detach().reshape({1});
  if (sum.is_cpu()) {
    if (sum.item<double>() != 0.0) return {sum, {}};
    return {{}, at::ones({1}, at::kFloat)};
  }
  const at::Tensor is_zero = at::eq(sum, 0).to(at::kFloat);
  return {sum + is_zero, is_zero};
}

}  // namespace

Precision::~Precision() = default;
Precision::ForwardContext::~ForwardContext() = default;

at::Tensor Precision::do_unscale(const std::vector<at::Tensor>& gradients,
                                 const at::Tensor& divisor) {
  if (divisor.defined()) optim::divide_(gradients, divisor);
  return {};
}

void Precision::do_step(torch::optim::Optimizer& optimizer) { step_optimizer(optimizer); }

Precision::PendingStep& Precision::pending_step_of(const torch::optim::Optimizer& optimizer) {
  const auto found =
      std::find_if(pending_steps_.begin(), pending_steps_.end(),
                   [&](const PendingStep& pending) { return pending.optimizer == &optimizer; });
  if (found != pending_steps_.end()) return *found;
  pending_steps_.emplace_back().optimizer = &optimizer;
  return pending_steps_.back();
}

void Precision::prepare_gradients(torch::optim::Optimizer& optimizer, const at::Tensor& weight,
                                  bool needed) {
  PendingStep& pending = pending_step_of(optimizer);
  if (pending.prepared) return;
  Division division = division_by(weight);
  pending.prepared = true;
  pending.skip = std::move(division.skip);
  pending.divisor.reset();
  const bool scaled = scales_loss();
  if (!scaled && !division.divisor.defined()) return;
  // With loss scaling the gradients must be looked at before the step in any case.
  const bool by_kernel = dynamic_cast<optim::FusedOptimizer*>(&optimizer) != nullptr;
  if (by_kernel && !needed && !scaled) {
    pending.divisor = std::move(division.divisor);
    return;
  }
  optim::collect_gradients(optimizer, gradients_);
  if (!scaled) {
    optim::divide_(gradients_, division.divisor);
  } else if (const at::Tensor found_inf = do_unscale(gradients_, division.divisor);
             found_inf.defined()) {
    pending.skip = pending.skip.defined() ? at::maximum(pending.skip, found_inf) : found_inf;
  }
  gradients_.clear();
}

bool Precision::prepared(const torch::optim::Optimizer& optimizer) {
  return pending_step_of(optimizer).prepared;
}

void Precision::discard_gradients(const torch::optim::Optimizer& optimizer) {
  PendingStep& pending = pending_step_of(optimizer);
  pending.prepared = false;
  pending.divisor.reset();
  pending.skip.reset();
}

at::Tensor Precision::step(torch::optim::Optimizer& optimizer) {
  if (!pending_step_of(optimizer).prepared) prepare_gradients(optimizer, {}, /*needed=*/false);
  do_step(optimizer);
  at::Tensor skipped = pending_step_of(optimizer).skip;
  discard_gradients(optimizer);
  return skipped;
}

void Precision::step_optimizer(torch::optim::Optimizer& optimizer) {
  const PendingStep& pending = pending_step_of(optimizer);
  if (auto* fused = dynamic_cast<optim::FusedOptimizer*>(&optimizer)) {
    fused->set_step_scaling(pending.divisor, pending.skip);
    fused->step();
    return;
  }
  // Sync: other optimizers can't skip a step on the device. On a GPU without loss scaling the
  // only reason to skip would be a weight of 0, whose gradients are 0: not worth waiting for.
  const bool may_skip = pending.skip.defined() && (scales_loss() || pending.skip.is_cpu());
  if (!may_skip || pending.skip.item<float>() == 0.0F) optimizer.step();
}

}  // namespace lightning
