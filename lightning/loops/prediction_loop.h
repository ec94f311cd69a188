/// PredictionLoop: predict() streams the outputs of predict_step() to a sink, in order.
#pragma once

#include <lightning/loops/evaluation_loop.h>
#include <lightning/loops/run_state.h>
#include <lightning/run/prediction_sink.h>

namespace lightning {

class PredictionLoop {
 public:
  PredictionLoop(RunState& run, EvaluationLoop& evaluation) : run_(run), evaluation_(evaluation) {}
  /// Over run.loaders.evaluation.
  void run(const PredictionSink& sink);

 private:
  void run_batches(const PredictionSink& sink);
  void predict_batch(const Batch& batch, int64_t batch_idx, const PredictionSink& sink);

  RunState& run_;
  EvaluationLoop& evaluation_;  // gets the place
};

}  // namespace lightning
