#include <lightning/precision/detail/modes.h>

#include <utility>

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <torch/nn/module.h>

#include <lightning/precision/registry.h>
#include <lightning/util/log.h>

namespace lightning {
namespace {

class Autocast final : public Precision::ForwardContext {
 public:
  Autocast(at::DeviceType device, at::ScalarType dtype)
      : device_(device),
        was_enabled_(at::autocast::is_autocast_enabled(device)),
        was_cache_enabled_(at::autocast::is_autocast_cache_enabled()),
        previous_dtype_(at::autocast::get_autocast_dtype(device)) {
    at::autocast::increment_nesting();
    at::autocast::set_autocast_enabled(device, true);
    at::autocast::set_autocast_dtype(device, dtype);
    // Kept casts of weights are silently stale when weights change inside the context, as they do
    // in manual optimization; all they save is the cast of a weight that one forward uses twice.
    at::autocast::set_autocast_cache_enabled(false);
  }
  ~Autocast() override {
    if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(device_, was_enabled_);
    at::autocast::set_autocast_dtype(device_, previous_dtype_);
    at::autocast::set_autocast_cache_enabled(was_cache_enabled_);
  }

 private:
  at::DeviceType device_;
  bool was_enabled_;
  bool was_cache_enabled_;
  at::ScalarType previous_dtype_;
};

config::Registry<Precision, at::Device> builtin_precisions() {
  config::Registry<Precision, at::Device> registry("precision");
  registry.add<Float32Precision>("32-true", "float32 throughout");
  registry.add<BFloat16MixedPrecision>("bf16-mixed", "float32 weights, bfloat16 where it is safe");
  registry.add<Float16MixedPrecision, Float16MixedOptions>(
      "16-mixed", "float32 weights, float16 where it is safe, with loss scaling");
  registry.add<Float64Precision>("64-true", "float64 weights and inputs");
  registry.add<BFloat16TruePrecision>("bf16-true", "bfloat16 weights and inputs");
  registry.add<Float16TruePrecision>("16-true", "float16 weights and inputs, no loss scaling");
  for (const auto& [alias, name] : {std::pair("32", "32-true"),
                                    {"bf16", "bf16-mixed"},
                                    {"16", "16-mixed"},
                                    {"64", "64-true"}}) {
    registry.add_alias(alias, name);
  }
  return registry;
}

}  // namespace

void TruePrecision::do_convert_module(torch::nn::Module& module) const {
  at::NoGradGuard no_grad;
  // Not module.to(dtype): that converts integer buffers as well.
  const auto convert = [this](at::Tensor tensor) {
    if (tensor.defined() && tensor.is_floating_point()) tensor.set_data(tensor.to(dtype_));
  };
  for (const at::Tensor& parameter : module.parameters()) convert(parameter);
  for (const at::Tensor& buffer : module.buffers()) convert(buffer);
}

std::unique_ptr<Precision::ForwardContext> BFloat16MixedPrecision::do_forward_context() const {
  return std::make_unique<Autocast>(device().type(), at::kBFloat16);
}

void BFloat16MixedPrecision::do_step(torch::optim::Optimizer& optimizer) {
  step_optimizer(optimizer);
  // For an autocast context of the user's own, with a cache, that may be around.
  at::autocast::clear_cache();
}

Float16MixedPrecision::Float16MixedPrecision(at::Device device, const Float16MixedOptions& options)
    : Precision(device) {
  if (device.is_cpu() && !options.force_float16) {
    log_warning("precision is 16-mixed, but the CPU is slow at float16: using bf16-mixed instead");
  } else {
    scaler_.emplace(device, options.loss_scaler);
  }
}

std::unique_ptr<Precision::ForwardContext> Float16MixedPrecision::do_forward_context() const {
  return std::make_unique<Autocast>(device().type(), scaler_ ? at::kHalf : at::kBFloat16);
}

at::Tensor Float16MixedPrecision::do_scale_loss(const at::Tensor& loss) const {
  return scaler_ ? scaler_->scale_loss(loss) : loss;
}

at::Tensor Float16MixedPrecision::do_unscale(const std::vector<at::Tensor>& gradients,
                                             const at::Tensor& divisor) {
  return scaler_->unscale_(gradients, divisor);
}

void Float16MixedPrecision::do_step(torch::optim::Optimizer& optimizer) {
  step_optimizer(optimizer);
  // As in bf16-mixed.
  at::autocast::clear_cache();
}

void Float16MixedPrecision::do_end_window() {
  if (scaler_) scaler_->update();
}

StateDict Float16MixedPrecision::state_dict() const {
  return scaler_ ? scaler_->state_dict() : StateDict();
}

void Float16MixedPrecision::load_state_dict(const StateDict& state) {
  if (scaler_ && !state.empty()) scaler_->load_state_dict(state);
}

config::Registry<Precision, at::Device>& precision_registry() {
  static config::Registry<Precision, at::Device> registry = builtin_precisions();
  return registry;
}

}  // namespace lightning
