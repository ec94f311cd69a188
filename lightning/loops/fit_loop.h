/// FitLoop: the epochs of a fit, from the sanity check to on_train_end.
#pragma once

#include <functional>

#include <lightning/loops/evaluation_loop.h>
#include <lightning/loops/run_state.h>
#include <lightning/loops/train_epoch_loop.h>

namespace lightning {

class FitLoop {
 public:
  /// `ready` is called before the first batch, when the training loader is there; `save_point`
  /// writes the checkpoints that were asked for.
  FitLoop(RunState& run, std::function<void()> ready, std::function<void()> save_point);

  /// Returns when a limit was reached, a stop was asked for, or a signal came.
  void run();

 private:
  bool has_epochs_left() const;
  void begin_epoch();
  void end_epoch(bool completed);

  RunState& run_;
  std::function<void()> ready_;
  std::function<void()> save_point_;
  EvaluationLoop validation_;
  TrainEpochLoop epoch_loop_;
};

/// Asks for the training loader once, checks it and the options that depend on its length.
/// Throws ConfigError.
void prepare_training_loader(RunState& run);

}  // namespace lightning
