/// Precision: in which number formats a module computes, and what that takes around the forward
/// pass, the backward pass and the optimizer's step. One object per Trainer.
///
/// A window (the micro-batches of one optimizer step) goes like this:
///   { auto context = precision.forward_context(); loss = training_step(...); }
///   backward(precision.scale_loss(loss));                          // of each micro-batch
///   precision.prepare_gradients(optimizer, weight, clipping);      // after the last backward
///   ... clip ...
///   precision.step(optimizer);
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include <lightning/data/batch.h>
#include <lightning/precision/precision_mode.h>
#include <lightning/util/export.h>
#include <lightning/util/state_dict.h>

namespace torch::nn {
class Module;
}
namespace torch::optim {
class Optimizer;
}

namespace lightning {

class LossScaler;

class LIGHTNING_API Precision {
 public:
  /// On the CPU 16-mixed becomes bf16-mixed, with one warning.
  static std::unique_ptr<Precision> create(PrecisionMode mode, at::Device device,
                                           const PrecisionOptions& options = {});
  /// The mode that create() will use.
  static PrecisionMode effective_mode(PrecisionMode mode, at::Device device);
  ~Precision();

  PrecisionMode mode() const { return mode_; }
  /// nullptr but with 16-mixed.
  const LossScaler* loss_scaler() const { return scaler_.get(); }

  /// 64-true: floating-point parameters and buffers become float64, in place.
  void convert_module(torch::nn::Module& module) const;
  /// 64-true: a copy whose floating-point tensors are float64.
  Batch convert_batch(Batch batch) const;

  /// Autocast for as long as it lives, in the thread that made it; contexts may be nested. No casts
  /// of weights are kept from one operation to the next, so that weights may change inside.
  class LIGHTNING_API ForwardContext {
   public:
    ~ForwardContext();
    ForwardContext(const ForwardContext&) = delete;
    ForwardContext& operator=(const ForwardContext&) = delete;

   private:
    friend class Precision;
    ForwardContext(at::DeviceType device, std::optional<at::ScalarType> dtype);

    at::DeviceType device_;
    bool active_;
    bool was_enabled_ = false;
    bool was_cache_enabled_ = false;
    at::ScalarType previous_dtype_ = at::kFloat;
  };
  ForwardContext forward_context() const;

  /// What backward() must run on. With weights, give it loss * weight.
  at::Tensor scale_loss(const at::Tensor& loss) const;

  /// After the window's last backward: makes the gradients of the optimizer's parameters, in place,
  /// those of the window's mean loss by dividing by the loss scale and by `weight`, the summed
  /// weight of all micro-batches and ranks (one element; undefined: no weights). Unless they are
  /// `needed` before the step (clipping, hooks that look at them), a fused optimizer's kernel does
  /// the division where it can. No sync.
  void prepare_gradients(torch::optim::Optimizer& optimizer, const at::Tensor& weight, bool needed);

  /// One step of the optimizer. It is skipped, leaving weights and optimizer state alone, when
  /// scaled gradients overflowed or the summed weight is 0. Several optimizers that share one
  /// backward: give `ends_window` with the last of them only; the loss scale is adjusted then.
  /// Sync: none with fused optimizers; others wait for the device with 16-mixed.
  void step(torch::optim::Optimizer& optimizer, bool ends_window = true);

  /// Empty but with 16-mixed. No sync.
  StateDict state_dict() const;
  /// An empty state (of a run without loss scaling) changes nothing.
  void load_state_dict(const StateDict& state);

 private:
  struct PendingStep {
    const torch::optim::Optimizer* optimizer = nullptr;
    bool prepared = false;
    at::Tensor divisor;  // what is left for the kernel to divide by; undefined: nothing
    at::Tensor skip;     // one float32 element, 1: skip the step; undefined: don't
  };

  Precision(PrecisionMode mode, at::Device device, const PrecisionOptions& options);
  PendingStep& window_of(const torch::optim::Optimizer& optimizer);
  std::optional<at::ScalarType> autocast_dtype() const;

  PrecisionMode mode_;
  at::Device device_;
  std::unique_ptr<LossScaler> scaler_;
  std::vector<PendingStep> windows_;
  std::vector<at::Tensor> gradients_;  // used again from step to step
};

}  // namespace lightning
