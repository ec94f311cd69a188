#pragma once

#include <lightning/callbacks/callback.h>
#include <lightning/config/registry.h>
#include <lightning/util/export.h>

namespace lightning {

/// The classes that trainer.callbacks may name: BackboneFinetuning, EarlyStopping,
/// GradientAccumulationScheduler, LearningRateMonitor, ModelCheckpoint, ModelPruning, ModelSummary,
/// PredictionWriter, ProgressBar, SpikeDetection, Timer, and those that the program adds in main().
LIGHTNING_API config::Registry<Callback>& callback_registry();

}  // namespace lightning
