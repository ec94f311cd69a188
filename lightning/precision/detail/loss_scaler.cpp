#include <lightning/precision/detail/loss_scaler.h>

#include <utility>

#include <ATen/ATen.h>

#include <lightning/optim/detail/tensor_lists.h>
#include <lightning/util/error.h>

namespace lightning {
namespace {

void check_options(const LossScalerOptions& options) {
  LIGHTNING_CHECK(options.init_scale > 0.0, ConfigError, "LossScaler: init_scale is ",
                  options.init_scale, ", expected a number above 0. HINT: 65536 is common.");
  LIGHTNING_CHECK(options.growth_factor > 1.0, ConfigError, "LossScaler: growth_factor is ",
                  options.growth_factor, ", expected a number above 1. HINT: 2 is common.");
  LIGHTNING_CHECK(options.backoff_factor > 0.0 && options.backoff_factor < 1.0, ConfigError,
                  "LossScaler: backoff_factor is ", options.backoff_factor,
                  ", expected a number between 0 and 1. HINT: 0.5 is common.");
  LIGHTNING_CHECK(options.growth_interval >= 1, ConfigError, "LossScaler: growth_interval is ",
                  options.growth_interval, ", expected 1 or more. HINT: 2000 is common.");
}

}  // namespace

LossScaler::LossScaler(at::Device device, const LossScalerOptions& options) : options_(options) {
  check_options(options);
  const auto on_device = at::TensorOptions().device(device);
  scale_ = at::full({1}, options.init_scale, on_device.dtype(at::kFloat));
  growth_tracker_ = at::zeros({1}, on_device.dtype(at::kInt));
  found_inf_ = at::zeros({1}, on_device.dtype(at::kFloat));
  last_found_inf_ = at::zeros_like(found_inf_);
}

at::Tensor LossScaler::scale_loss(const at::Tensor& loss) const {
  return loss * scale_.to(loss.device(), /*non_blocking=*/true).view(loss.sizes());
}

at::Tensor LossScaler::unscale_(std::span<const at::Tensor> gradients, const at::Tensor& divisor) {
  at::NoGradGuard no_grad;
  at::Tensor found = at::zeros_like(found_inf_);
  if (gradients.empty()) return found;
  // The reciprocal in float64, as GradScaler takes it.
  at::Tensor inverse = scale_.to(at::kDouble);
  if (divisor.defined()) {
    inverse = inverse * divisor.to(scale_.device(), at::kDouble, /*non_blocking=*/true);
  }
  inverse = inverse.reciprocal().to(at::kFloat).view({1});
  optim::for_each_kind(gradients, [&](at::TensorList same) {
    const at::Device device = same.front().device();
    at::Tensor found_here = found.to(device, /*non_blocking=*/true);
    at::_amp_foreach_non_finite_check_and_unscale_(same, found_here,
                                                   inverse.to(device, /*non_blocking=*/true));
    if (!found_here.is_same(found)) {
      found = at::maximum(found, found_here.to(found.device(), /*non_blocking=*/true));
    }
  });
  at::maximum_out(found_inf_, found_inf_, found);
  checked_ = true;
  return found;
}

void LossScaler::update() {
  if (!checked_) return;
  at::NoGradGuard no_grad;
  at::_amp_update_scale_(scale_, growth_tracker_, found_inf_, options_.growth_factor,
                         options_.backoff_factor, options_.growth_interval);
  std::swap(found_inf_, last_found_inf_);
  found_inf_.zero_();
  checked_ = false;
}

StateDict LossScaler::state_dict() const {
  StateDict state;
  state.set("scale", scale_);
  state.set("growth_tracker", growth_tracker_);
  state.set("growth_factor", options_.growth_factor);
  state.set("backoff_factor", options_.backoff_factor);
  state.set("growth_interval", options_.growth_interval);
  return state;
}

void LossScaler::load_state_dict(const StateDict& state) {
  LossScalerOptions options;
  options.init_scale = options_.init_scale;
  options.growth_factor = state.get<double>("growth_factor");
  options.backoff_factor = state.get<double>("backoff_factor");
  options.growth_interval = state.get<int64_t>("growth_interval");
  const auto& scale = state.get<at::Tensor>("scale");
  const auto& growth_tracker = state.get<at::Tensor>("growth_tracker");
  LIGHTNING_CHECK(
      scale.numel() == 1 && growth_tracker.numel() == 1, CheckpointError,
      "LossScaler: scale and growth_tracker in the checkpoint have ", scale.numel(), " and ",
      growth_tracker.numel(),
      " elements, expected one each. HINT: the checkpoint is damaged; use a different one.");
  check_options(options);
  options_ = options;
  scale_.copy_(scale.view({1}));
  growth_tracker_.copy_(growth_tracker.view({1}));
  found_inf_.zero_();
  last_found_inf_.zero_();
  checked_ = false;
}

}  // namespace lightning
