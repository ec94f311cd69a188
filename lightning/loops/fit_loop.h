/// FitLoop: the epochs of a fit, from the sanity check to on_train_end.
#pragma once

#include <lightning/loops/checkpoint_connector.h>
#include <lightning/loops/evaluation_loop.h>
#include <lightning/loops/run_state.h>
#include <lightning/loops/statistics_renewal.h>
#include <lightning/loops/train_epoch_loop.h>

namespace lightning {

class FitLoop {
 public:
  FitLoop(RunState& run, EvaluationLoop& validation, CheckpointConnector& checkpoints);

  /// The sanity check and, of a run that resumes, the rest of its state: the last that can refuse
  /// the checkpoint. Changes nothing on the disk.
  void prepare();
  /// Returns when a limit was reached, a stop was requested, or a signal came.
  void run();

 private:
  /// Whether another epoch may begin; else run.end_reason says why not.
  bool has_epochs_left();
  void begin_epoch();
  void end_epoch(bool completed);
  /// Of an epoch that was done from its first batch on.
  void check_epoch(const Progress& before, const BatchCounts& counts);
  void count_epoch();
  void call_epoch_end_hooks();
  /// Unless checkpointing is off: the state with which a fit ends is on the disk, or a warning says
  /// why not.
  void save_last_state();

  RunState& run_;
  EvaluationLoop& validation_;
  CheckpointConnector& checkpoints_;
  TrainEpochLoop epoch_loop_;
  StatisticsRenewal renewal_;
};

/// Asks for the training loader once, checks it and the options that depend on its length. Several
/// become one CombinedLoader. Throws ConfigError.
void prepare_training_loader(RunState& run);
/// The same again at the beginning of an epoch for which reload_dataloaders_every_n_epochs asks for
/// it.
void reload_training_loader(RunState& run);

}  // namespace lightning
