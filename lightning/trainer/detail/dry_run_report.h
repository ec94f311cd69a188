/// What a dry run prints at its end.
#pragma once

#include <lightning/loops/run_state.h>

namespace lightning {

/// Ranks, their parts of the data, memory of each, and what each sends; before the teardown.
/// `before`: the progress when the run began. Sync: waits for the device.
void print_dry_run(const RunState& run, const Progress& before);

}  // namespace lightning
