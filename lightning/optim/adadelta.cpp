#include <lightning/optim/adadelta.h>

#include <ATen/ATen.h>

#include <lightning/optim/detail/state_conversion.h>
#include <lightning/util/error.h>

namespace lightning::optim {
namespace {

using torch::optim::OptimizerOptions;
using torch::optim::OptimizerParamGroup;

const AdadeltaOptions& as_adadelta(const OptimizerOptions& options) {
  const auto* typed = dynamic_cast<const AdadeltaOptions*>(&options);
  LIGHTNING_CHECK(typed != nullptr, ConfigError,
                  "Adadelta: a parameter group has the options of a different optimizer, expected "
                  "lightning::optim::AdadeltaOptions. HINT: give the group options of that type.");
  return *typed;
}

void check(const AdadeltaOptions& o) {
  LIGHTNING_CHECK(o.lr() >= 0.0 && o.eps() >= 0.0 && o.weight_decay() >= 0.0, ConfigError,
                  "Adadelta: lr is ", o.lr(), ", eps ", o.eps(), " and weight_decay ",
                  o.weight_decay(), ", expected 0 or more of each.");
  LIGHTNING_CHECK(o.rho() >= 0.0 && o.rho() <= 1.0, ConfigError, "Adadelta: rho is ", o.rho(),
                  ", expected a number in [0, 1]. HINT: 0.9 is common.");
}

}  // namespace

Adadelta::Adadelta(const std::vector<OptimizerParamGroup>& groups, AdadeltaOptions defaults)
    : FusedOptimizer(groups, std::make_unique<AdadeltaOptions>(defaults)) {
  check(defaults);
  for (const auto& group : std::as_const(*this).param_groups()) check(as_adadelta(group.options()));
}

Adadelta::Adadelta(std::vector<at::Tensor> parameters, AdadeltaOptions defaults)
    : Adadelta({OptimizerParamGroup(std::move(parameters))}, std::move(defaults)) {}

bool Adadelta::uses_optional_state(const OptimizerOptions& /*options*/) const { return false; }

void Adadelta::append_state(Bucket& bucket, const at::Tensor& parameter,
                            const OptimizerOptions& /*options*/) {
  auto& state = state_[parameter.unsafeGetTensorImpl()];
  if (state == nullptr) state = std::make_unique<AdadeltaState>();
  auto& own = static_cast<AdadeltaState&>(*state);
  bucket.moments.push_back(fitted(own.square_avg, parameter));
  bucket.second_moments.push_back(fitted(own.acc_delta, parameter));
}

void Adadelta::run_kernel(Bucket& bucket, const OptimizerOptions& options,
                          const std::optional<at::Tensor>& grad_scale,
                          const std::optional<at::Tensor>& found_inf) {
  const AdadeltaOptions& o = as_adadelta(options);
  if (found_inf && found_inf->item<float>() != 0.0F) return;
  if (grad_scale) at::_foreach_div_(bucket.grads, grad_scale->reshape({}));
  std::vector<at::Tensor> grads = bucket.grads;
  if (o.weight_decay() != 0.0) grads = at::_foreach_add(grads, bucket.params, o.weight_decay());

  const std::vector<at::Tensor>& square_avgs = bucket.moments;
  const std::vector<at::Tensor>& acc_deltas = bucket.second_moments;
  at::_foreach_mul_(square_avgs, o.rho());
  at::_foreach_addcmul_(square_avgs, grads, grads, 1.0 - o.rho());
  const std::vector<at::Tensor> deviations = at::_foreach_add(square_avgs, o.eps());
  at::_foreach_sqrt_(deviations);
  const std::vector<at::Tensor> deltas = at::_foreach_add(acc_deltas, o.eps());
  at::_foreach_sqrt_(deltas);
  at::_foreach_div_(deltas, deviations);
  at::_foreach_mul_(deltas, grads);
  at::_foreach_mul_(acc_deltas, o.rho());
  at::_foreach_addcmul_(acc_deltas, deltas, deltas, 1.0 - o.rho());
  at::_foreach_add_(bucket.params, deltas, -o.lr());
}

}  // namespace lightning::optim
