// The part that all fused optimizers share: lists of tensors for the kernels, kept from step to
// step for as long as the same parameters have gradients.
#include <algorithm>
#include <unordered_set>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <lightning/optim/optimizers.h>
#include <lightning/util/error.h>

namespace lightning::optim {
namespace {

constexpr size_t kNoBucket = static_cast<size_t>(-1);

/// The groups, unless they hold undefined tensors, whose refusal by torch is hard to understand.
const std::vector<torch::optim::OptimizerParamGroup>& defined(
    const std::vector<torch::optim::OptimizerParamGroup>& groups) {
  for (const auto& group : groups) {
    for (const at::Tensor& parameter : group.params()) {
      LIGHTNING_CHECK(parameter.defined(), ConfigError,
                      "FusedOptimizer: a parameter is undefined, expected a tensor. HINT: make the "
                      "optimizer after the layers.");
    }
  }
  return groups;
}

void check_parameter(const at::Tensor& parameter) {
  LIGHTNING_CHECK(
      !parameter.is_complex(), ConfigError,
      "FusedOptimizer: a parameter is complex, expected a floating-point one. HINT: use "
      "torch::optim::Adam.");
  LIGHTNING_CHECK(parameter.is_non_overlapping_and_dense(), ConfigError,
                  "FusedOptimizer: the memory of a parameter of ", parameter.sizes(),
                  " overlaps or has gaps, expected a dense tensor. HINT: register a contiguous "
                  "copy of it.");
}

/// The gradient as the kernels need it: laid out in memory like its parameter.
at::Tensor matching_gradient(const at::Tensor& gradient, const at::Tensor& parameter) {
  LIGHTNING_CHECK(gradient.layout() == at::kStrided, ConfigError, "FusedOptimizer: a gradient of ",
                  gradient.sizes(),
                  " is sparse, expected a dense one. HINT: use torch::optim::SGD for layers with "
                  "sparse gradients.");
  const bool same_layout = (gradient.is_contiguous() && parameter.is_contiguous()) ||
                           gradient.strides() == parameter.strides();
  if (same_layout && gradient.scalar_type() == parameter.scalar_type()) return gradient;
  return at::empty_like(parameter).copy_(gradient);
}

bool is_set(const at::Tensor& found_inf) { return found_inf.item<double>() != 0.0; }

at::Tensor float32_on(const at::Tensor& value, at::Device device) {
  return value.to(device, at::kFloat, /*non_blocking=*/true);
}

}  // namespace

struct FusedOptimizer::Slot {
  const c10::TensorImpl* parameter = nullptr;
  size_t bucket = kNoBucket;
  at::ScalarType dtype = at::kFloat;
  /// Stands a second time in the groups (a tied weight): stepped where it stands first.
  bool is_repeated = false;
};

FusedOptimizer::FusedOptimizer(const std::vector<torch::optim::OptimizerParamGroup>& groups,
                               std::unique_ptr<torch::optim::OptimizerOptions> defaults)
    : torch::optim::Optimizer(defined(groups), std::move(defaults)) {}

FusedOptimizer::~FusedOptimizer() = default;

at::Tensor FusedOptimizer::step(LossClosure closure) {
  at::Tensor loss;
  if (closure) {
    at::AutoGradMode with_gradients(true);
    loss = closure();
  }
  at::NoGradGuard no_grad;
  struct Cleanup {
    FusedOptimizer& optimizer;
    ~Cleanup() {
      optimizer.release_gradients();
      optimizer.grad_scale_.reset();
      optimizer.found_inf_.reset();
    }
  } cleanup{*this};

  // On the CPU there is nothing to wait for.
  if (found_inf_.defined() && found_inf_.is_cpu()) {
    if (is_set(found_inf_)) return loss;
    found_inf_.reset();
  }
  if (!gather_gradients()) {
    release_gradients();
    rebuild();
    gather_gradients();
  }
  bool any_first_step = false;
  for (Bucket& bucket : buckets_) {
    run(bucket);
    any_first_step = any_first_step || bucket.is_first_step;
  }
  if (any_first_step) state_changed();
  return loss;
}

void FusedOptimizer::set_step_scaling(at::Tensor grad_scale, at::Tensor found_inf) {
  grad_scale_ = std::move(grad_scale);
  found_inf_ = std::move(found_inf);
}

void FusedOptimizer::state_changed() {
  slots_.clear();
  buckets_.clear();
}

/// Fills the buckets' gradient lists; false when the buckets no longer fit the parameters.
bool FusedOptimizer::gather_gradients() {
  if (state_.size() != num_states_) return false;
  if (param_groups_.size() != group_uses_optional_state_.size()) return false;
  size_t next = 0;
  for (size_t group = 0; group < param_groups_.size(); ++group) {
    if (uses_optional_state(param_groups_[group].options()) != group_uses_optional_state_[group]) {
      return false;
    }
    for (const at::Tensor& parameter : param_groups_[group].params()) {
      if (next == slots_.size()) return false;
      const Slot& slot = slots_[next++];
      if (slot.parameter != parameter.unsafeGetTensorImpl()) return false;
      if (slot.is_repeated) continue;
      const at::Tensor& gradient = parameter.grad();
      if (gradient.defined() != (slot.bucket != kNoBucket)) return false;
      if (!gradient.defined()) continue;
      Bucket& bucket = buckets_[slot.bucket];
      if (parameter.scalar_type() != slot.dtype) return false;
      if (parameter.device() != bucket.params.front().device()) return false;
      bucket.grads.push_back(matching_gradient(gradient, parameter));
    }
  }
  return next == slots_.size();
}

/// Gradients must not outlive zero_grad() in here; the lists keep their capacity.
void FusedOptimizer::release_gradients() {
  for (Bucket& bucket : buckets_) bucket.grads.clear();
}

void FusedOptimizer::rebuild() {
  buckets_.clear();
  slots_.clear();
  group_uses_optional_state_.clear();
  std::unordered_set<const c10::TensorImpl*> seen;
  for (size_t group = 0; group < param_groups_.size(); ++group) {
    group_uses_optional_state_.push_back(uses_optional_state(param_groups_[group].options()));
    for (const at::Tensor& parameter : param_groups_[group].params()) {
      Slot& slot = slots_.emplace_back();
      slot.parameter = parameter.unsafeGetTensorImpl();
      slot.dtype = parameter.scalar_type();
      slot.is_repeated = !seen.insert(slot.parameter).second;
      if (!slot.is_repeated && parameter.grad().defined()) add_to_bucket(slot, group, parameter);
    }
  }
  num_states_ = state_.size();
}

void FusedOptimizer::add_to_bucket(Slot& slot, size_t group, const at::Tensor& parameter) {
  check_parameter(parameter);
  const auto& options = param_groups_[group].options();
  const bool first = is_first_step(parameter, options);
  const auto fits = [&](const Bucket& bucket) {
    const at::Tensor& other = bucket.params.front();
    return bucket.group == group && bucket.is_first_step == first &&
           other.device() == parameter.device() && other.scalar_type() == parameter.scalar_type();
  };
  slot.bucket =
      static_cast<size_t>(std::find_if(buckets_.begin(), buckets_.end(), fits) - buckets_.begin());
  if (slot.bucket == buckets_.size()) {
    Bucket& fresh = buckets_.emplace_back();
    fresh.group = group;
    fresh.is_first_step = first;
  }
  Bucket& bucket = buckets_[slot.bucket];
  bucket.params.push_back(parameter);
  append_state(bucket, parameter, options);
}

void FusedOptimizer::run(Bucket& bucket) {
  const at::Device device = bucket.params.front().device();
  std::optional<at::Tensor> grad_scale;
  std::optional<at::Tensor> found_inf;
  if (grad_scale_.defined()) {
    if (bucket.params.front().scalar_type() == at::kDouble) {
      // The kernels read the scale as float32, which would cost the gradients half their digits.
      at::_foreach_div_(bucket.grads,
                        grad_scale_.reshape({}).to(device, at::kDouble, /*non_blocking=*/true));
    } else {
      grad_scale = float32_on(grad_scale_, device);
    }
  }
  if (found_inf_.defined()) found_inf = float32_on(found_inf_, device);

  if (device.is_cpu()) {
    for (const at::Tensor& step : bucket.steps) *step.data_ptr<float>() += 1.0F;
  } else if (found_inf && !bucket.steps.empty()) {
    at::_foreach_add_(bucket.steps, 1.0 - found_inf->reshape({}));
  } else if (!bucket.steps.empty()) {
    at::_foreach_add_(bucket.steps, 1.0);
  }
  run_kernel(bucket, param_groups_[bucket.group].options(), grad_scale, found_inf);
  // The kernels don't: a backward through the old values must be noticed.
  for (const at::Tensor& param : bucket.params) param.unsafeGetTensorImpl()->bump_version();
}

bool FusedOptimizer::is_first_step(const at::Tensor& /*parameter*/,
                                   const torch::optim::OptimizerOptions& /*options*/) const {
  return false;
}

}  // namespace lightning::optim
