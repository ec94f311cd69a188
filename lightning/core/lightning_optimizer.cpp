#include <lightning/core/lightning_optimizer.h>

namespace lightning {

Toggle::Toggle(const std::vector<at::Tensor>& parameters) {
  for (const at::Tensor& parameter : parameters) {
    if (!parameter.requires_grad()) continue;
    parameter.set_requires_grad(false);
    frozen_.push_back(parameter);
  }
}

Toggle::~Toggle() {
  for (const at::Tensor& parameter : frozen_) parameter.set_requires_grad(true);
}

LightningOptimizer::~LightningOptimizer() = default;

}  // namespace lightning
