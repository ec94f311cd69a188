/// PredictionFile: what the command `predict` does with a module's outputs.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include <lightning/core/trainer_context.h>
#include <lightning/data/batch.h>
#include <lightning/util/export.h>

namespace lightning {

/// Gathers the outputs of predict_step() in host memory, batch after batch along their first
/// dimension, and writes them as RUN/predictions.safetensors.
class LIGHTNING_API PredictionFile {
 public:
  /// Sync: waits for the device.
  void add(const Batch& outputs, const Batch& batch);
  /// Writes and prints where; with several ranks each writes predictions-rank=R.safetensors with
  /// its part of the data. Outputs whose batches differ in other dimensions can't be joined and are
  /// left out with a warning; without any there is no file. Every rank must call it.
  void write(TrainerContext& trainer) const;

 private:
  std::map<std::string, std::vector<at::Tensor>> outputs_;
};

}  // namespace lightning
