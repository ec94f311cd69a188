/// What a unit (lightning/nn/unit.h) is besides its layer: where strategies plug in, and whether
/// its activations are computed again in backward.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include <lightning/util/export.h>

namespace torch::nn {
class Module;
}

namespace lightning {

/// Called around a unit's work, on the thread that does it. What they throw reaches the caller of
/// forward or backward. An after_ function isn't called when the work before it threw.
class LIGHTNING_API UnitHooks {
 public:
  virtual ~UnitHooks();
  virtual void before_forward() {}
  virtual void after_forward() {}
  /// Before activations are computed again and gradients are computed.
  virtual void before_backward() {}
  /// `parameters` and the gradients of this pass (undefined: none), one for each. Those that are
  /// left here are added to the parameters' own afterwards; a hook that takes one resets it.
  virtual void after_backward(const std::vector<at::Tensor>& /*parameters*/,
                              std::vector<at::Tensor>& /*gradients*/) {}
};

/// Base of every registered unit: dynamic_cast<UnitSlot*>(&module) finds it.
class LIGHTNING_API UnitSlot {
 public:
  virtual ~UnitSlot();

  /// Null: none.
  void set_hooks(std::shared_ptr<UnitHooks> hooks);
  const std::shared_ptr<UnitHooks>& hooks() const { return hooks_; }
  /// Whether forward keeps nothing but the unit's arguments and backward runs it again.
  void set_recomputes(bool recomputes);
  bool recomputes() const { return recomputes_; }
  /// False: a call is the layer's forward() and nothing else.
  bool is_active() const { return is_active_; }

 private:
  std::shared_ptr<UnitHooks> hooks_;
  bool recomputes_ = false;
  bool is_active_ = false;
};

/// Makes every n-th of the module's units recompute its activations in backward, and no other; 0:
/// none. Units inside others aren't counted. Call it between backward and the next forward.
/// Returns how many recompute. Throws ConfigError for a unit with a BatchNorm whose statistics
/// are those of several ranks, and for a negative `every_nth`.
LIGHTNING_API int64_t recompute_activations(torch::nn::Module& module, int64_t every_nth);

namespace detail {

/// A unit's forward() with everything but its tensors bound: tensors in, tensors out.
using UnitFunction = std::function<std::vector<at::Tensor>(const std::vector<at::Tensor>&)>;

/// Calls a unit that is active. `layer` is the module that the slot belongs to.
LIGHTNING_API std::vector<at::Tensor> call_unit(const std::shared_ptr<torch::nn::Module>& layer,
                                                const UnitSlot& slot,
                                                const std::vector<at::Tensor>& inputs,
                                                UnitFunction forward);

}  // namespace detail
}  // namespace lightning
