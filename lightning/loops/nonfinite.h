/// What the Trainer does about losses and gradients that are not finite.
#pragma once

#include <lightning/loops/run_state.h>

namespace lightning {

/// Reads the guard and acts on on_nonfinite: throws DataError that names the first bad step, warns,
/// or does nothing. Sync: waits for the device, so it's called at the log interval and before each
/// checkpoint only.
void check_nonfinite(RunState& run);

/// The module's backward(). With detect_anomaly an operation that gives nan is a DataError that
/// names it, with the step and the epoch; other exceptions pass.
void run_backward(RunState& run, const at::Tensor& loss);

}  // namespace lightning
