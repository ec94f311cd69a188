/// The states of torch's default generators, of the CPU and of a GPU.
#pragma once

#include <ATen/core/Tensor.h>

#include <lightning/util/export.h>
#include <lightning/util/state_dict.h>

namespace lightning {

/// Sync: reading or setting a GPU's generator doesn't wait for its stream.
class LIGHTNING_API GeneratorState {
 public:
  static GeneratorState capture();
  void restore() const;

  StateDict state_dict() const { return states_; }
  static GeneratorState from_state_dict(const StateDict& state);

 private:
  StateDict states_;  // "cpu", "cuda/0", ...
};

/// Gives a rank separate streams, which depend on the seed of seed_everything(), on the step and
/// on the rank alone.
LIGHTNING_API void seed_rank_generators(int64_t global_step, int64_t rank);

}  // namespace lightning
