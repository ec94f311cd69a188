/// Gradients that a step of manual optimization is still to use: part of what a checkpoint holds,
/// as they may be carried from one batch to the next.
#pragma once

#include <lightning/loops/run_state.h>

namespace lightning {

/// Those of this rank by parameter name, of the optimizers with pending gradients; shared, not
/// copied.
StateDict pending_gradients(const RunState& run);
/// `ranks`: what the ranks of the checkpoint saved. With another number of ranks each gets the
/// mean, from which the same step comes. Throws CheckpointError for what doesn't fit the
/// parameters.
void restore_pending_gradients(RunState& run, const StateDict& ranks);

}  // namespace lightning
