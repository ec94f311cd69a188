#include <lightning/callbacks/registry.h>

#include <lightning/callbacks/early_stopping.h>
#include <lightning/callbacks/finetuning.h>
#include <lightning/callbacks/gradient_accumulation_scheduler.h>
#include <lightning/callbacks/learning_rate_monitor.h>
#include <lightning/callbacks/model_checkpoint.h>
#include <lightning/callbacks/model_pruning.h>
#include <lightning/callbacks/model_summary.h>
#include <lightning/callbacks/prediction_writer.h>
#include <lightning/callbacks/progress_bar.h>
#include <lightning/callbacks/spike_detection.h>
#include <lightning/callbacks/stochastic_weight_averaging.h>
#include <lightning/callbacks/timer.h>
#include <lightning/callbacks/weight_averaging.h>

namespace lightning {
namespace {

config::Registry<Callback> builtin_callbacks() {
  config::Registry<Callback> registry("callback");
  registry.add<BackboneFinetuning, BackboneFinetuningOptions>(
      "BackboneFinetuning", "trains a part of the module from a later epoch on");
  registry.add<EarlyStopping, EarlyStoppingOptions>(
      "EarlyStopping", "ends the fit when a metric no longer improves");
  registry.add<EMAWeightAveraging, EMAWeightAveragingOptions>(
      "EMAWeightAveraging", "validates and finishes with a moving average of the weights");
  registry.add<GradientAccumulationScheduler, GradientAccumulationSchedulerOptions>(
      "GradientAccumulationScheduler", "changes the batches of an optimizer step between epochs");
  registry.add<LearningRateMonitor, LearningRateMonitorOptions>("LearningRateMonitor",
                                                                "logs learning rates");
  registry.add<ModelCheckpoint, ModelCheckpointOptions>("ModelCheckpoint",
                                                        "writes and keeps checkpoints");
  registry.add<ModelPruning, ModelPruningOptions>("ModelPruning",
                                                  "sets the least important weights to 0");
  registry.add<ModelSummary, ModelSummaryOptions>("ModelSummary", "prints the table of layers");
  registry.add<PredictionWriter, PredictionWriterOptions>(
      "PredictionWriter", "writes predictions per batch or in order of the data");
  registry.add<ProgressBar, ProgressBarOptions>("ProgressBar", "shows progress on the terminal");
  registry.add<SpikeDetection, SpikeDetectionOptions>("SpikeDetection",
                                                      "ends the fit when the loss jumps");
  registry.add<StochasticWeightAveraging, StochasticWeightAveragingOptions>(
      "StochasticWeightAveraging", "averages the weights at the starts of the last epochs");
  registry.add<WeightAveraging, WeightAveragingOptions>(
      "WeightAveraging", "validates and finishes with the mean of the weights");
  registry.add<Timer, TimerOptions>("Timer", "measures time, and ends the fit when it is up");
  return registry;
}

}  // namespace

config::Registry<Callback>& callback_registry() {
  static config::Registry<Callback> registry = builtin_callbacks();
  return registry;
}

}  // namespace lightning
