/// Parameters as optimizers and checkpoints see them: named, tied ones once, and split into those
/// that decay and those that don't.
#pragma once

#include <concepts>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>
#include <torch/optim/optimizer.h>

#include <lightning/util/export.h>

namespace torch::nn {
class Module;
}

namespace lightning::optim {

/// The names of a module's parameters, by identity. A tied parameter has the first of its names.
class LIGHTNING_API ParameterNames {
 public:
  ParameterNames() = default;
  explicit ParameterNames(const torch::nn::Module& module);

  /// The name, or nullptr for a tensor that is not a parameter of the module.
  const std::string* find(const at::Tensor& parameter) const;

 private:
  std::unordered_map<const c10::TensorImpl*, std::string> names_;
};

struct ParameterSplit {
  std::vector<at::Tensor> decay;
  std::vector<at::Tensor> no_decay;
};

/// Splits the module's trainable parameters for weight decay, each in named order. No decay for
/// biases (last part of the name is "bias" or ends in "_bias") and for the own parameters of
/// normalisation layers (type name holds "Norm": LayerNorm, BatchNorm2d, your RMSNorm). Frozen
/// parameters are left out; a tied one appears once, under its first name.
LIGHTNING_API ParameterSplit split_for_weight_decay(const torch::nn::Module& module);

/// The parameter groups of an optimizer whose weight decay is given in `options` and leaves out
/// the groups of split_for_weight_decay(): AdamW(weight_decay_groups(*this, options), options).
template <typename Options>
requires std::derived_from<Options, torch::optim::OptimizerOptions>
    std::vector<torch::optim::OptimizerParamGroup> weight_decay_groups(
        const torch::nn::Module& module, const Options& options) {
  ParameterSplit split = split_for_weight_decay(module);
  std::vector<torch::optim::OptimizerParamGroup> groups;
  if (!split.decay.empty()) {
    groups.emplace_back(std::move(split.decay), std::make_unique<Options>(options));
  }
  if (!split.no_decay.empty()) {
    auto no_decay = std::make_unique<Options>(options);
    no_decay->weight_decay(0.0);
    groups.emplace_back(std::move(split.no_decay), std::move(no_decay));
  }
  return groups;
}

/// Makes an optimizer's groups valid before training: a tensor that stands in one group twice (tied
/// weights from parameters()) is kept once. Warns about parameters that aren't the module's. Throws
/// ConfigError when no parameter is trainable or one stands in two groups.
LIGHTNING_API void validate_parameters(torch::optim::Optimizer& optimizer,
                                       const torch::nn::Module& module);

}  // namespace lightning::optim
