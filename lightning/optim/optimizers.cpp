#include <lightning/optim/optimizers.h>

#include <ATen/ATen.h>

#include <lightning/optim/detail/state_conversion.h>
#include <lightning/util/error.h>

namespace lightning::optim {
namespace {

using torch::optim::AdamOptions;
using torch::optim::AdamWOptions;
using torch::optim::OptimizerOptions;
using torch::optim::OptimizerParamGroup;
using torch::optim::SGDOptions;
using torch::optim::SGDParamState;
using OptionalTensor = std::optional<at::Tensor>;

void check_not_negative(const char* optimizer, const char* option, double value) {
  LIGHTNING_CHECK(value >= 0.0, ConfigError, optimizer, ": ", option, " is ", value,
                  ", expected 0 or more. HINT: correct ", option, ".");
}

template <typename Options>
const Options& as(const OptimizerOptions& options, const char* optimizer) {
  const auto* typed = dynamic_cast<const Options*>(&options);
  LIGHTNING_CHECK(
      typed != nullptr, ConfigError, optimizer,
      ": a parameter group has the options of a different optimizer, expected torch::optim::",
      optimizer, "Options. HINT: give the group options of that type.");
  return *typed;
}

template <typename Options>
void check_adam(const Options& options, const char* optimizer) {
  check_not_negative(optimizer, "lr", options.lr());
  check_not_negative(optimizer, "eps", options.eps());
  check_not_negative(optimizer, "weight_decay", options.weight_decay());
  const auto [beta1, beta2] = options.betas();
  LIGHTNING_CHECK(beta1 >= 0.0 && beta1 < 1.0 && beta2 >= 0.0 && beta2 < 1.0, ConfigError,
                  optimizer, ": betas are ", beta1, " and ", beta2,
                  ", expected both in [0, 1). HINT: 0.9 and 0.999 are common.");
}

void check_sgd(const SGDOptions& options) {
  check_not_negative("SGD", "lr", options.lr());
  check_not_negative("SGD", "momentum", options.momentum());
  check_not_negative("SGD", "weight_decay", options.weight_decay());
  LIGHTNING_CHECK(!options.nesterov() || (options.momentum() > 0.0 && options.dampening() == 0.0),
                  ConfigError, "SGD: nesterov is true with momentum ", options.momentum(),
                  " and dampening ", options.dampening(),
                  ", expected a momentum and no dampening. HINT: set momentum to 0.9.");
}

/// The parameter's state of that type; a new one when there is none.
template <typename State>
State& state_of(ska::flat_hash_map<void*, std::unique_ptr<torch::optim::OptimizerParamState>>& all,
                const at::Tensor& parameter) {
  auto& state = all[parameter.unsafeGetTensorImpl()];
  if (state == nullptr) state = std::make_unique<State>();
  return static_cast<State&>(*state);
}

const at::Tensor& fitted_step(at::Tensor& step, const at::Tensor& parameter) {
  if (!step.defined()) {
    step = at::zeros({}, at::TensorOptions().dtype(at::kFloat).device(parameter.device()));
  } else if (step.device() != parameter.device()) {
    step = step.to(parameter.device());
  }
  return step;
}

template <typename Bucket>
void append_adam_state(Bucket& bucket, AdamState& state, const at::Tensor& parameter,
                       bool amsgrad) {
  bucket.steps.push_back(fitted_step(state.step, parameter));
  bucket.moments.push_back(fitted(state.exp_avg, parameter));
  bucket.second_moments.push_back(fitted(state.exp_avg_sq, parameter));
  if (amsgrad) bucket.max_second_moments.push_back(fitted(state.max_exp_avg_sq, parameter));
}

}  // namespace

Adam::Adam(const std::vector<OptimizerParamGroup>& groups, AdamOptions defaults)
    : FusedOptimizer(groups, std::make_unique<AdamOptions>(defaults)) {
  check_adam(defaults, "Adam");
  for (const auto& group : std::as_const(*this).param_groups()) {
    check_adam(as<AdamOptions>(group.options(), "Adam"), "Adam");
  }
}

Adam::Adam(std::vector<at::Tensor> parameters, AdamOptions defaults)
    : Adam({OptimizerParamGroup(std::move(parameters))}, std::move(defaults)) {}

bool Adam::uses_optional_state(const OptimizerOptions& options) const {
  return as<AdamOptions>(options, "Adam").amsgrad();
}

void Adam::append_state(Bucket& bucket, const at::Tensor& parameter,
                        const OptimizerOptions& options) {
  append_adam_state(bucket, state_of<AdamState>(state_, parameter), parameter,
                    uses_optional_state(options));
}

void Adam::run_kernel(Bucket& bucket, const OptimizerOptions& options,
                      const OptionalTensor& grad_scale, const OptionalTensor& found_inf) {
  const auto& o = as<AdamOptions>(options, "Adam");
  at::_fused_adam_(bucket.params, bucket.grads, bucket.moments, bucket.second_moments,
                   bucket.max_second_moments, bucket.steps, o.lr(), std::get<0>(o.betas()),
                   std::get<1>(o.betas()), o.weight_decay(), o.eps(), o.amsgrad(),
                   /*maximize=*/false, grad_scale, found_inf);
}

AdamW::AdamW(const std::vector<OptimizerParamGroup>& groups, AdamWOptions defaults)
    : FusedOptimizer(groups, std::make_unique<AdamWOptions>(defaults)) {
  check_adam(defaults, "AdamW");
  for (const auto& group : std::as_const(*this).param_groups()) {
    check_adam(as<AdamWOptions>(group.options(), "AdamW"), "AdamW");
  }
}

AdamW::AdamW(std::vector<at::Tensor> parameters, AdamWOptions defaults)
    : AdamW({OptimizerParamGroup(std::move(parameters))}, std::move(defaults)) {}

bool AdamW::uses_optional_state(const OptimizerOptions& options) const {
  return as<AdamWOptions>(options, "AdamW").amsgrad();
}

void AdamW::append_state(Bucket& bucket, const at::Tensor& parameter,
                         const OptimizerOptions& options) {
  append_adam_state(bucket, state_of<AdamState>(state_, parameter), parameter,
                    uses_optional_state(options));
}

void AdamW::run_kernel(Bucket& bucket, const OptimizerOptions& options,
                       const OptionalTensor& grad_scale, const OptionalTensor& found_inf) {
  const auto& o = as<AdamWOptions>(options, "AdamW");
  at::_fused_adamw_(bucket.params, bucket.grads, bucket.moments, bucket.second_moments,
                    bucket.max_second_moments, bucket.steps, o.lr(), std::get<0>(o.betas()),
                    std::get<1>(o.betas()), o.weight_decay(), o.eps(), o.amsgrad(),
                    /*maximize=*/false, grad_scale, found_inf);
}

SGD::SGD(const std::vector<OptimizerParamGroup>& groups, SGDOptions defaults)
    : FusedOptimizer(groups, std::make_unique<SGDOptions>(defaults)) {
  check_sgd(defaults);
  for (const auto& group : std::as_const(*this).param_groups()) {
    check_sgd(as<SGDOptions>(group.options(), "SGD"));
  }
}

SGD::SGD(std::vector<at::Tensor> parameters, SGDOptions defaults)
    : SGD({OptimizerParamGroup(std::move(parameters))}, std::move(defaults)) {}

bool SGD::uses_optional_state(const OptimizerOptions& options) const {
  return as<SGDOptions>(options, "SGD").momentum() != 0.0;
}

bool SGD::is_first_step(const at::Tensor& parameter, const OptimizerOptions& options) const {
  // The first step takes the whole gradient as momentum. Without dampening so does any step that
  // finds a momentum of zero, which needs no knowledge of whether a step was skipped.
  const auto& o = as<SGDOptions>(options, "SGD");
  if (o.momentum() == 0.0 || o.dampening() == 0.0) return false;
  const auto found = state_.find(parameter.unsafeGetTensorImpl());
  return found == state_.end() ||
         !static_cast<const SGDParamState&>(*found->second).momentum_buffer().defined();
}

void SGD::append_state(Bucket& bucket, const at::Tensor& parameter,
                       const OptimizerOptions& options) {
  if (!uses_optional_state(options)) return;
  if (bucket.is_first_step) {
    bucket.moments.push_back(at::zeros_like(parameter));
  } else {
    auto& state = state_of<SGDParamState>(state_, parameter);
    bucket.moments.push_back(fitted(state.momentum_buffer(), parameter));
  }
}

void SGD::run_kernel(Bucket& bucket, const OptimizerOptions& options,
                     const OptionalTensor& grad_scale, const OptionalTensor& found_inf) {
  const auto& o = as<SGDOptions>(options, "SGD");
  // Sync: whether the first step was made must be known for the second one.
  if (bucket.is_first_step && found_inf && found_inf->item<float>() != 0.0F) return;
  at::_fused_sgd_(bucket.params, bucket.grads, bucket.moments, o.weight_decay(), o.momentum(),
                  o.lr(), o.dampening(), o.nesterov(), /*maximize=*/false, bucket.is_first_step,
                  grad_scale, found_inf);
  if (!bucket.is_first_step) return;
  for (size_t i = 0; i < bucket.params.size(); ++i) {
    state_of<SGDParamState>(state_, bucket.params[i]).momentum_buffer(bucket.moments[i]);
  }
}

}  // namespace lightning::optim
