/// Strategy: where the replicas of a module live and how they stay equal. The loops never ask which
/// one it is. Public functions hold what is common to all; subclasses implement the private ones.
#pragma once

#include <cstdint>
#include <string_view>

#include <ATen/core/Tensor.h>

#include <lightning/core/lightning_module.h>
#include <lightning/data/batch.h>
#include <lightning/util/export.h>

namespace lightning {

class LIGHTNING_API Strategy {
 public:
  virtual ~Strategy();
  virtual std::string_view name() const = 0;

  at::Device root_device() const { return root_device_; }
  virtual int64_t global_rank() const { return 0; }
  virtual int64_t local_rank() const { return 0; }
  virtual int64_t node_rank() const { return 0; }
  virtual int64_t world_size() const { return 1; }

  /// Brings the module to its device(s), before optimizers are made. Every rank must call it.
  void setup(LightningModule& module);
  /// Runs the three transfer hooks of the module.
  Batch batch_to_device(LightningModule& module, Batch batch);
  /// Adds the gradients of `loss`; on the window's last micro-batch they are reduced over ranks.
  void backward(LightningModule& module, const at::Tensor& loss, bool last_in_window);
  /// Sum over ranks, in place of `value`. Every rank must call it.
  void all_reduce_sum(at::Tensor& value);
  /// Returns when every rank has called it.
  void barrier(std::string_view name);

 protected:
  explicit Strategy(at::Device root_device) : root_device_(root_device) {}

 private:
  virtual void do_setup(LightningModule& module);
  virtual void do_backward(LightningModule& module, const at::Tensor& loss, bool last_in_window);
  virtual void do_all_reduce_sum(at::Tensor& /*value*/) {}
  virtual void do_barrier(std::string_view /*name*/) {}

  at::Device root_device_;
};

}  // namespace lightning
