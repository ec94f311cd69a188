#include <lightning/precision/precision.h>

#include <algorithm>

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <torch/nn/module.h>
#include <torch/optim/optimizer.h>

#include <lightning/optim/grad_utils.h>
#include <lightning/optim/optimizers.h>
#include <lightning/precision/detail/loss_scaler.h>
#include <lightning/util/error.h>
#include <lightning/util/log.h>

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

PrecisionMode Precision::effective_mode(PrecisionMode mode, at::Device device) {
  return mode == PrecisionMode::k16Mixed && device.is_cpu() ? PrecisionMode::kBf16Mixed : mode;
}

std::unique_ptr<Precision> Precision::create(PrecisionMode mode, at::Device device,
                                             const PrecisionOptions& options) {
  if (!options.force_float16 && effective_mode(mode, device) != mode) {
    log_warning("precision is 16-mixed, but the CPU is slow at float16: using bf16-mixed instead");
    mode = effective_mode(mode, device);
  }
  return std::unique_ptr<Precision>(new Precision(mode, device, options));
}

Precision::Precision(PrecisionMode mode, at::Device device, const PrecisionOptions& options)
    : mode_(mode), device_(device) {
  if (mode == PrecisionMode::k16Mixed) {
    scaler_ = std::make_unique<LossScaler>(device, options.loss_scaler);
  }
}

Precision::~Precision() = default;

std::optional<at::ScalarType> Precision::autocast_dtype() const {
  if (mode_ == PrecisionMode::kBf16Mixed) return at::kBFloat16;
  if (mode_ == PrecisionMode::k16Mixed) return at::kHalf;
  return std::nullopt;
}

void Precision::convert_module(torch::nn::Module& module) const {
  if (mode_ != PrecisionMode::k64True) return;
  at::NoGradGuard no_grad;
  // Not module.to(dtype): that converts integer buffers as well.
  const auto convert = [](at::Tensor tensor) {
    if (tensor.defined() && tensor.is_floating_point()) tensor.set_data(tensor.to(at::kDouble));
  };
  for (const at::Tensor& parameter : module.parameters()) convert(parameter);
  for (const at::Tensor& buffer : module.buffers()) convert(buffer);
}

Batch Precision::convert_batch(Batch batch) const {
  return mode_ == PrecisionMode::k64True ? batch.to(at::kDouble) : batch;
}

Precision::ForwardContext Precision::forward_context() const {
  return ForwardContext(device_.type(), autocast_dtype());
}

Precision::ForwardContext::ForwardContext(at::DeviceType device,
                                          std::optional<at::ScalarType> dtype)
    : device_(device), active_(dtype.has_value()) {
  if (!active_) return;
  was_enabled_ = at::autocast::is_autocast_enabled(device);
  previous_dtype_ = at::autocast::get_autocast_dtype(device);
  was_cache_enabled_ = at::autocast::is_autocast_cache_enabled();
  at::autocast::increment_nesting();
  at::autocast::set_autocast_enabled(device, true);
  at::autocast::set_autocast_dtype(device, *dtype);
  // Kept casts of weights are silently stale when weights change inside the context, as they do in
  // manual optimization; all they save is the cast of a weight that one forward uses twice.
  at::autocast::set_autocast_cache_enabled(false);
}

Precision::ForwardContext::~ForwardContext() {
  if (!active_) return;
  if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
  at::autocast::set_autocast_enabled(device_, was_enabled_);
  at::autocast::set_autocast_dtype(device_, previous_dtype_);
  at::autocast::set_autocast_cache_enabled(was_cache_enabled_);
}

at::Tensor Precision::scale_loss(const at::Tensor& loss) const {
  return scaler_ ? scaler_->scale_loss(loss) : loss;
}

Precision::PendingStep& Precision::window_of(const torch::optim::Optimizer& optimizer) {
  const auto found = std::find_if(windows_.begin(), windows_.end(), [&](const PendingStep& window) {
    return window.optimizer == &optimizer;
  });
  if (found != windows_.end()) return *found;
  windows_.emplace_back().optimizer = &optimizer;
  return windows_.back();
}

void Precision::prepare_gradients(torch::optim::Optimizer& optimizer, const at::Tensor& weight,
                                  bool needed) {
  PendingStep& window = window_of(optimizer);
  Division division = division_by(weight);
  window.prepared = true;
  window.skip = std::move(division.skip);
  window.divisor.reset();
  if (!scaler_ && !division.divisor.defined()) return;
  // With loss scaling the gradients must be looked at before the step in any case.
  const bool by_kernel = dynamic_cast<optim::FusedOptimizer*>(&optimizer) != nullptr;
  if (by_kernel && !needed && !scaler_) {
    window.divisor = std::move(division.divisor);
    return;
  }
  optim::collect_gradients(optimizer, gradients_);
  if (scaler_) {
    const at::Tensor found_inf = scaler_->unscale_(gradients_, division.divisor);
    window.skip = window.skip.defined() ? at::maximum(window.skip, found_inf) : found_inf;
  } else {
    optim::divide_(gradients_, division.divisor);
  }
  gradients_.clear();
}

void Precision::step(torch::optim::Optimizer& optimizer, bool ends_window) {
  if (!window_of(optimizer).prepared) prepare_gradients(optimizer, {}, /*needed=*/false);
  PendingStep& window = window_of(optimizer);
  if (auto* fused = dynamic_cast<optim::FusedOptimizer*>(&optimizer)) {
    fused->set_step_scaling(window.divisor, window.skip);
    fused->step();
  } else {
    // Sync: other optimizers can't skip a step on the device. On a GPU without loss scaling the
    // only reason to skip would be a weight of 0, whose gradients are 0: not worth waiting for.
    const bool may_skip = window.skip.defined() && (scaler_ || window.skip.is_cpu());
    if (!may_skip || window.skip.item<float>() == 0.0F) optimizer.step();
  }
  // For an autocast context of the user's own, with a cache, that may be around.
  if (autocast_dtype()) at::autocast::clear_cache();
  window.prepared = false;
  window.divisor.reset();
  window.skip.reset();
  if (ends_window && scaler_) scaler_->update();
}

StateDict Precision::state_dict() const { return scaler_ ? scaler_->state_dict() : StateDict(); }

void Precision::load_state_dict(const StateDict& state) {
  if (scaler_ && !state.empty()) scaler_->load_state_dict(state);
}

}  // namespace lightning
