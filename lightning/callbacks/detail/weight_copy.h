/// WeightCopy: a second set of a module's weights, for callbacks that average them.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>

#include <lightning/checkpoint/detail/tensor_identity.h>
#include <lightning/util/state_dict.h>

namespace torch::nn {
class Module;
}

namespace lightning::detail {

/// What of a module a copy has.
enum class CopiedWeights {
  kParameters,
  kParametersAndBuffers,
};

/// Tied tensors are one, under the first of their names. Nothing here waits for the device; the
/// module's tensors keep their memory, so that optimizers and reducers see the same ones.
class WeightCopy {
 public:
  /// Which tensors of the module it is a copy of, from here on: in on_fit_start(), when they are on
  /// their device. A copy that is there follows them to the device. `average_buffers`: lerp()
  /// averages floating-point buffers; it takes other buffers as they are.
  void attach(const torch::nn::Module& module, CopiedWeights what, bool average_buffers);

  /// Whether there is a copy; attach() makes none.
  bool exists() const { return !copies_.empty(); }
  void drop();
  /// Becomes what the module has. The first time this allocates.
  void copy_from_module();
  void copy_to_module() const;
  /// The module gets the copy, the copy what the module had. Allocates the size of the largest
  /// tensor.
  void exchange_with_module();
  /// copy += weight * (module - copy), in one operation for all tensors of a type where the device
  /// has one.
  void lerp(double weight);
  /// The same with a weight on the device, of one floating-point element; 0 leaves a copy as it is
  /// and 1 makes it the module's, both exactly.
  void lerp(const at::Tensor& weight);

  /// The number of a tensor of the module; nothing for others.
  std::optional<size_t> find(const at::Tensor& of_module) const;
  const std::string& name(size_t index) const { return names_[index]; }
  const at::Tensor& copy(size_t index) const { return copies_[index]; }

  /// The copy by name; it shares its memory.
  StateDict state_dict() const;
  /// Makes the copy of what state_dict() gave. Throws CheckpointError that names `owner` for other
  /// names, shapes and types than the module's.
  void load_state_dict(const StateDict& state, std::string_view owner);

 private:
  void add(const std::string& name, const at::Tensor& tensor, bool averaged);
  void allocate();
  void list_pairs();
  /// Buffers that aren't averaged.
  void take_the_rest();

  std::vector<std::string> names_;
  std::vector<at::Tensor> weights_;  // the module's
  std::vector<bool> averaged_;
  std::map<TensorIdentity, size_t> index_;
  std::vector<at::Tensor> copies_;

  // The same tensors as the kernels take them, listed once: a step allocates nothing.
  struct Pairs {
    std::vector<at::Tensor> copies;
    std::vector<at::Tensor> weights;
  };
  Pairs to_average_;
  Pairs to_copy_;
  std::vector<at::Tensor> lerp_weights_;
};

}  // namespace lightning::detail
