/// Internal: for the sources of optimizers only.
#pragma once

#include <ATen/ATen.h>

namespace lightning::optim {

/// A state tensor fit for the kernels: zeros when undefined, moved when the parameter was moved.
inline const at::Tensor& fitted(at::Tensor& state, const at::Tensor& parameter) {
  if (!state.defined()) {
    state = at::zeros_like(parameter);
  } else if (state.device() != parameter.device() ||
             state.scalar_type() != parameter.scalar_type()) {
    state = at::empty_like(parameter).copy_(state);
  }
  return state;
}

}  // namespace lightning::optim
