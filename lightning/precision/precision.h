/// Precision: in which number formats a module computes, and what that takes around the forward
/// pass, the backward pass and the optimizer's step. One object per run. Public functions hold what
/// is common to all; subclasses implement the private ones (docs/extending.md).
///
/// A window (the micro-batches of one optimizer step) goes like this:
///   { auto context = precision.forward_context(); loss = training_step(...); }
///   backward(precision.scale_loss(loss));                          // of each micro-batch
///   precision.prepare_gradients(optimizer, weight, clipping);      // after the last backward
///   ... clip ...
///   precision.step(optimizer);                                     // of each optimizer
///   precision.end_window();
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>

#include <lightning/data/batch.h>
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
  virtual ~Precision();
  Precision(const Precision&) = delete;
  Precision& operator=(const Precision&) = delete;

  /// As trainer.precision names it.
  virtual std::string_view name() const = 0;
  at::Device device() const { return device_; }
  /// Whether inf and nan in gradients are dealt with by skipping steps.
  bool scales_loss() const { return do_scales_loss(); }
  /// The built-in dynamic loss scaler; nullptr but with 16-mixed.
  virtual const LossScaler* loss_scaler() const { return nullptr; }

  /// Brings parameters and buffers to their number format, in place, before optimizers are made.
  void convert_module(torch::nn::Module& module) const { do_convert_module(module); }
  /// The batch in the number format that the module takes; once per batch, before its transfer.
  Batch convert_batch(Batch batch) const { return do_convert_batch(std::move(batch)); }

  /// What holds around a forward pass for as long as it lives, in the thread that made it.
  class LIGHTNING_API ForwardContext {
   public:
    ForwardContext() = default;
    virtual ~ForwardContext();
    ForwardContext(const ForwardContext&) = delete;
    ForwardContext& operator=(const ForwardContext&) = delete;
  };
  /// To be kept while steps of the module run; may be null. Contexts may be nested. No casts of
  /// weights are kept from one operation to the next, so that weights may change inside.
  std::unique_ptr<ForwardContext> forward_context() const { return do_forward_context(); }

  /// Returns the (scaled) loss to call backward() on; pass loss * weight when weights are used.
  at::Tensor scale_loss(const at::Tensor& loss) const { return do_scale_loss(loss); }

  /// After the window's last backward: makes the gradients of the optimizer's parameters, in place,
  /// those of the window's mean loss by dividing by the loss scale and by `weight`, the summed
  /// weight of all micro-batches and ranks (one element; undefined: no weights). Unless they are
  /// `needed` before the step (clipping, hooks that look at them), a fused optimizer's kernel does
  /// the division where it can. A second call before the step changes nothing. No sync.
  void prepare_gradients(torch::optim::Optimizer& optimizer, const at::Tensor& weight, bool needed);

  /// Whether prepare_gradients() ran for the optimizer's next step.
  bool prepared(const torch::optim::Optimizer& optimizer);
  /// The gradients that prepare_gradients() dealt with are gone: no step comes of them.
  void discard_gradients(const torch::optim::Optimizer& optimizer);

  /// One step of the optimizer. It is skipped, leaving weights and optimizer state alone, when
  /// scaled gradients overflowed or the summed weight is 0. Returns one float32 element, 1 when it
  /// was skipped; undefined: it was certainly made.
  /// Sync: none with fused optimizers; others wait for the device with loss scaling.
  at::Tensor step(torch::optim::Optimizer& optimizer);
  /// After the steps of all optimizers: adjusts the loss scale to what they found. No sync.
  void end_window() { do_end_window(); }

  /// What a checkpoint holds of it; empty but with loss scaling. No sync.
  virtual StateDict state_dict() const { return {}; }
  /// An empty state (of a run without loss scaling) changes nothing.
  virtual void load_state_dict(const StateDict& /*state*/) {}

 protected:
  explicit Precision(at::Device device) : device_(device) {}
  /// The optimizer's step with what is left to divide and to skip: the body of do_step().
  void step_optimizer(torch::optim::Optimizer& optimizer);

 private:
  virtual void do_convert_module(torch::nn::Module& /*module*/) const {}
  virtual Batch do_convert_batch(Batch batch) const { return batch; }
  virtual std::unique_ptr<ForwardContext> do_forward_context() const { return nullptr; }
  virtual at::Tensor do_scale_loss(const at::Tensor& loss) const { return loss; }
  /// Whether do_scale_loss() scales, so that do_unscale() must run before each step.
  virtual bool do_scales_loss() const { return false; }
  /// Divides gradients in place by the loss scale, and by `divisor` (one element) when it is
  /// defined. Returns one float32 element on the gradients' device: 1 when the step must be skipped
  /// because a gradient holds inf or nan, else 0; undefined: never skip. Called once per optimizer
  /// and step, only with do_scales_loss().
  virtual at::Tensor do_unscale(const std::vector<at::Tensor>& gradients,
                                const at::Tensor& divisor);
  /// Calls step_optimizer(), and does what must follow a step.
  virtual void do_step(torch::optim::Optimizer& optimizer);
  virtual void do_end_window() {}

  struct PendingStep {
    const torch::optim::Optimizer* optimizer = nullptr;
    bool prepared = false;
    at::Tensor divisor;  // what is left for the kernel to divide by; undefined: nothing
    at::Tensor skip;     // one float32 element, 1: skip the step; undefined: don't
  };
  PendingStep& pending_step_of(const torch::optim::Optimizer& optimizer);

  at::Device device_;
  std::vector<PendingStep> pending_steps_;
  std::vector<at::Tensor> gradients_;  // used again from step to step
};

}  // namespace lightning
