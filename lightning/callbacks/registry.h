#pragma once

#include <lightning/callbacks/callback.h>
#include <lightning/config/registry.h>
#include <lightning/util/export.h>

namespace lightning {

/// The callbacks that YAML may name: EarlyStopping, LearningRateMonitor, ModelCheckpoint,
/// ModelSummary and ProgressBar.
LIGHTNING_API void register_builtin_callbacks(config::Registry<Callback>& registry);

}  // namespace lightning
