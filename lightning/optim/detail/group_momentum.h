/// Momentum of parameter groups, whichever optimizer they are of: SGD's and RMSprop's momentum,
/// beta1 of Adam and AdamW.
#pragma once

#include <optional>

namespace torch::optim {
class OptimizerOptions;
}

namespace lightning::optim {

/// Nothing for options that have none.
std::optional<double> get_momentum(const torch::optim::OptimizerOptions& options);
/// Does nothing for options that have none.
void set_momentum(torch::optim::OptimizerOptions& options, double momentum);

}  // namespace lightning::optim
