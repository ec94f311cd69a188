/// Strategy: where the replicas of a module live and how they stay equal. The loops never ask which
/// one it is. Public functions hold what is common to all; subclasses implement the private ones.
///
/// A window (the micro-batches of one optimizer step) goes like this:
///   strategy.begin_window(module);                             // before its first forward
///   strategy.backward(module, loss, weight, last_in_window);   // of each micro-batch
///   if (strategy.window().has_data) ...                        // after its last backward
#pragma once

#include <cstdint>
#include <string_view>

#include <ATen/core/Tensor.h>

#include <lightning/core/lightning_module.h>
#include <lightning/data/batch.h>
#include <lightning/util/export.h>

namespace lightning {

/// What the micro-batches of a window come to, over all ranks.
struct AccumulationWindow {
  /// Whether any of them had a loss. Without one the optimizer has nothing to do.
  bool has_data = false;
  /// What the gradients are to be divided by, on the device, one floating-point element: they are
  /// sums over losses times weights. Undefined without weights.
  at::Tensor weight;
};

class LIGHTNING_API Strategy {
 public:
  virtual ~Strategy();
  virtual std::string_view name() const = 0;

  at::Device root_device() const { return root_device_; }
  virtual int64_t global_rank() const { return 0; }
  virtual int64_t local_rank() const { return 0; }
  virtual int64_t node_rank() const { return 0; }
  virtual int64_t world_size() const { return 1; }
  /// Memory, beside the gradients', for what is sent of them; 0 before the first window.
  virtual int64_t bucket_bytes() const { return 0; }

  /// Brings the module to its device(s) and makes the replicas equal (rank 0's), before optimizers
  /// are made. Every rank must call it. Throws ConfigError when the ranks' modules differ.
  void setup(LightningModule& module);
  /// Takes off the module what backward() needed, at the end of a run.
  void teardown();
  /// Runs the three transfer hooks of the module.
  Batch batch_to_device(LightningModule& module, Batch batch);

  /// Before the first forward of a window. Every rank must call it.
  void begin_window(LightningModule& module);
  /// Adds the gradients of a micro-batch; with the window's last one they become those of all ranks
  /// (the mean of the ranks' sums). Every rank must call it for its last one; others without data
  /// may be left out.
  ///
  /// `loss`: to be differentiated, multiplied by the weight where there is one; undefined for a
  /// micro-batch that is skipped. `weight`: one element; undefined: none, which must then be so for
  /// all micro-batches of the window on all ranks, else ConfigError.
  void backward(LightningModule& module, const at::Tensor& loss, const at::Tensor& weight,
                bool last_in_window);
  /// After the window's last backward().
  const AccumulationWindow& window() const { return window_; }

  /// Makes the buffers those of rank 0, for what looks at them between windows (validation). Every
  /// rank must call it.
  void synchronize_buffers();

  // Collectives: every rank must call them, in the same order.
  /// Sum over ranks, in place of `value`.
  void all_reduce_sum(at::Tensor& value);
  /// Rank `root`'s, in place of `value`.
  void broadcast(at::Tensor& value, int64_t root = 0);
  /// [world_size * n, ...] from [n, ...] of each rank, by rank.
  at::Tensor all_gather(const at::Tensor& value);
  /// Returns when every rank has called it.
  void barrier(std::string_view name);

 protected:
  explicit Strategy(at::Device root_device) : root_device_(root_device) {}

 private:
  virtual void do_setup(LightningModule& module);
  virtual void do_teardown() {}
  virtual void do_begin_window(LightningModule& /*module*/) {}
  /// `window` is what this rank has seen of it; with the last micro-batch it becomes that of all
  /// ranks.
  virtual void do_backward(LightningModule& module, const at::Tensor& loss, bool last_in_window,
                           AccumulationWindow& window);
  virtual void do_synchronize_buffers() {}
  virtual void do_all_reduce_sum(at::Tensor& /*value*/) {}
  virtual void do_broadcast(at::Tensor& /*value*/, int64_t /*root*/) {}
  virtual at::Tensor do_all_gather(const at::Tensor& value) { return value; }
  virtual void do_barrier(std::string_view /*name*/) {}

  void add_to_window(const at::Tensor& weight);

  at::Device root_device_;
  AccumulationWindow window_;
};

}  // namespace lightning
