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

}  // namespace lightning
