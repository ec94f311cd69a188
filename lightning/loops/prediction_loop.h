/// PredictionLoop: predict() streams the outputs of predict_step() to a sink, in order.
#pragma once

#include <lightning/loops/run_state.h>
#include <lightning/run/prediction_sink.h>

namespace lightning {

class PredictionLoop {
 public:
  explicit PredictionLoop(RunState& run) : run_(run) {}
  /// Over run.eval_loaders.
  void run(const PredictionSink& sink);

 private:
  void run_batches(const PredictionSink& sink);

  RunState& run_;
};

}  // namespace lightning
