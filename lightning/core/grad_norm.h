/// grad_norm(): the sizes of a module's gradients, to be logged.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include <ATen/core/Tensor.h>

#include <lightning/util/export.h>

namespace torch::nn {
class Module;
}

namespace lightning {

/// The norm of each parameter's gradient, as "grad_2.0_norm/layer.weight", and that of all
/// together, "grad_2.0_norm_total"; 0-dim, on the device of the gradients. `norm_type` is the p of
/// the p-norm, > 0; infinity: the greatest absolute value ("grad_inf_norm/..."). Parameters without
/// a gradient are left out; empty without any. Names are those of Lightning's grad_norm().
///
/// To be called in on_before_optimizer_step(), where gradients are equal on all ranks; what they
/// are there is in docs/hooks.md ("Gradients in hooks"). No sync. Throws ConfigError unless
/// norm_type > 0.
LIGHTNING_API std::map<std::string, at::Tensor> grad_norm(const torch::nn::Module& module,
                                                          double norm_type,
                                                          std::string_view group_separator = "/");

}  // namespace lightning
