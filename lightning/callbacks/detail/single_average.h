#pragma once

namespace lightning {

class TrainerContext;

namespace detail {

/// Throws ConfigError when a run has more than one callback that averages weights: each would take
/// the other's average for the trained weights. Also when it has a ModelPruning beside one: the
/// average has weights of before a pruning where the pruned ones are 0.
void check_single_average(const TrainerContext& trainer);

}  // namespace detail
}  // namespace lightning
