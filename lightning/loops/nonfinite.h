/// What the Trainer does about losses and gradients that are not finite.
#pragma once

#include <lightning/loops/run_state.h>

namespace lightning {

/// Reads the guard and acts on on_nonfinite: throws DataError that names the first bad step, warns,
/// or does nothing. Sync: waits for the device, so it's called at the log interval and before each
/// checkpoint only.
void check_nonfinite(RunState& run);

}  // namespace lightning
