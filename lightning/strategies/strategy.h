/// Strategy: where the replicas of a module live and how they stay equal. The loops never ask which
/// one it is. Public functions hold what is common to all; subclasses implement the private ones
/// (docs/extending.md).
///
/// A window (the micro-batches of one optimizer step) goes like this:
///   strategy.begin_window(module);                                   // before its first forward
///   strategy.backward(run_backward, loss, weight, last_in_window);   // of each micro-batch
///   if (strategy.window().has_data) ...                              // after its last backward
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include <ATen/core/Tensor.h>

#include <lightning/cluster/topology.h>
#include <lightning/util/export.h>

namespace torch::nn {
class Module;
}

namespace lightning {

class World;

/// What a strategy is made from.
struct StrategyContext {
  /// The device of this rank.
  at::Device device = at::Device(at::kCPU);
  Topology topology = {};
  /// The ranks' process group and control plane; null with one rank. Outlives the strategy.
  World* world = nullptr;
};

/// What the micro-batches of a window come to, over all ranks.
struct AccumulationWindow {
  /// Whether any of them had a loss. Without one the optimizer has nothing to do.
  bool has_data = false;
  /// What the gradients must be divided by, on the device, one floating-point element: they are
  /// sums over losses times weights. Undefined without weights.
  at::Tensor weight;
};

/// What every rank must call throws DistributedError when a rank fails.
class LIGHTNING_API Strategy {
 public:
  /// The module's backward(): adds the gradients of the tensor that it is given.
  using RunBackward = std::function<void(const at::Tensor&)>;

  virtual ~Strategy();
  /// As trainer.strategy names it.
  virtual std::string_view name() const = 0;

  at::Device root_device() const { return context_.device; }
  const Topology& topology() const { return context_.topology; }
  int64_t global_rank() const { return context_.topology.global_rank; }
  int64_t world_size() const { return context_.topology.world_size; }
  /// Memory, beside the gradients', for what is sent of them; 0 before the first window.
  virtual int64_t bucket_bytes() const { return 0; }

  /// Brings the module to its device(s) and makes the replicas equal (rank 0's), before optimizers
  /// are made. Every rank must call it. Throws ConfigError when the ranks' modules differ.
  void setup(torch::nn::Module& module);
  /// Removes from the module what backward() needed, at the end of a run.
  void teardown();

  /// Before the first forward of a window. Every rank must call it.
  void begin_window(torch::nn::Module& module);
  /// Adds the gradients of a micro-batch; with the window's last one they become those of all ranks
  /// (the mean of the ranks' sums). Every rank must call it for its last one; others without data
  /// may be left out.
  ///
  /// `loss`: to be differentiated by `run_backward`, multiplied by the weight where there is one;
  /// undefined for a micro-batch that is skipped. `weight`: one element; undefined: none, which
  /// must then be so for all micro-batches of the window on all ranks, else ConfigError.
  void backward(const RunBackward& run_backward, const at::Tensor& loss, const at::Tensor& weight,
                bool last_in_window);
  /// After the window's last backward().
  const AccumulationWindow& window() const { return window_; }

  /// Makes the buffers those of rank 0, for what looks at them between windows (validation). Every
  /// rank must call it.
  void synchronize_buffers();
  /// Returns when every rank has called it with the same name.
  void barrier(std::string_view name);

 protected:
  explicit Strategy(StrategyContext context);
  /// Null with one rank.
  World* world() const { return context_.world; }

 private:
  /// Brings the module to root_device(). With several ranks also to the same values.
  virtual void do_setup(torch::nn::Module& module);
  virtual void do_teardown() {}
  virtual void do_begin_window(torch::nn::Module& /*module*/) {}
  /// Runs `run_backward` on the loss where there is one, and makes the gradients the means over the
  /// ranks when this is the window's last micro-batch. `window` is what this rank has seen of it;
  /// with the last micro-batch it becomes that of all ranks: has_data that of any, weight the mean
  /// over the ranks (0 of one without data). One rank: nothing to do but `run_backward`.
  virtual void do_backward(const RunBackward& run_backward, const at::Tensor& loss,
                           bool last_in_window, AccumulationWindow& window);
  virtual void do_synchronize_buffers() {}

  void add_to_window(const at::Tensor& weight);

  StrategyContext context_;
  AccumulationWindow window_;
};

}  // namespace lightning
