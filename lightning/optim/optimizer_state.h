/// An optimizer's whole state by parameter name, so that it can be saved, moved and restored
/// exactly (torch::optim keys it by address).
#pragma once

#include <lightning/optim/parameter_groups.h>
#include <lightning/util/export.h>
#include <lightning/util/state_dict.h>

namespace torch::optim {
class Optimizer;
}

namespace lightning::optim {

/// Implemented by custom optimizers, beside torch::optim::Optimizer, so that they can be
/// saved and resumed.
class LIGHTNING_API StatefulOptimizer {
 public:
  virtual ~StatefulOptimizer();
  /// Everything that the next step depends on, group options included.
  virtual StateDict state_dict(const ParameterNames& names) const = 0;
  virtual void load_state_dict(const StateDict& state, const ParameterNames& names) = 0;
};

/// Throws ConfigError unless the optimizer's state can be saved: lightning::optim's, LibTorch's
/// SGD, Adam, AdamW, RMSprop and Adagrad (not their subclasses), or a StatefulOptimizer.
LIGHTNING_API void require_supported(const torch::optim::Optimizer& optimizer);

/// Name of the algorithm ("AdamW"), for messages and logs; "Optimizer" for unknown types.
LIGHTNING_API std::string optimizer_name(const torch::optim::Optimizer& optimizer);

/// Group options, moments and step counts. Tensors are shared with the optimizer, not copied: copy
/// them before the next step. lightning::optim::AdamW and torch::optim::AdamW (and so on) write and
/// read the same entries. No sync. Throws ConfigError for unsupported optimizers.
///   type                                 "AdamW"
///   groups/0/parameters, groups/0/lr ... names and options of each group
///   state/NAME/exp_avg ...               what there is for a parameter
LIGHTNING_API StateDict optimizer_state(const torch::optim::Optimizer& optimizer,
                                        const ParameterNames& names);

/// The settings of the parameter groups alone, the numbers among the entries "groups/0/lr" and so
/// on of optimizer_state(); of an optimizer of another type its learning rates.
LIGHTNING_API StateDict group_options(const torch::optim::Optimizer& optimizer);

/// The inverse of optimizer_state(); tensors are copied. Throws CheckpointError that names what
/// doesn't fit: type, number of groups, a missing or extra parameter, a shape. The optimizer is
/// unchanged then. `keep_options`: moments and step counts are loaded, the groups keep their
/// settings; a moment that these need and the state lacks (of amsgrad, momentum, centered) begins
/// at zero.
LIGHTNING_API void load_optimizer_state(torch::optim::Optimizer& optimizer, const StateDict& state,
                                        const ParameterNames& names, bool keep_options = false);

}  // namespace lightning::optim
