#pragma once

namespace lightning {

class TrainerContext;

namespace detail {

/// Throws ConfigError when a run has more than one callback that averages weights: each would take
/// the other's average for the trained weights.
void check_single_average(const TrainerContext& trainer);

}  // namespace detail
}  // namespace lightning
