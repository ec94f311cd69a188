/// A loaded batch on its way to a step of the module.
#pragma once

#include <lightning/data/batch.h>
#include <lightning/loops/run_state.h>
#include <lightning/util/export.h>

namespace lightning {

/// `loaded` in the run's number format, then through the three transfer hooks, each of the data
/// module where it overrides it and else of the module, to the run's device.
LIGHTNING_API Batch transfer_batch(RunState& run, const Batch& loaded);

}  // namespace lightning
