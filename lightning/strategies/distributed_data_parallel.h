/// DistributedDataParallel: DDP for any torch::nn::Module in a custom training loop, without the
/// Trainer.
///
///   const auto world = lightning::join_world();
///   Net net;
///   lightning::DistributedDataParallel ddp(net.ptr(), *world);
///   for each batch of this rank:
///     optimizer.zero_grad();
///     ddp.backward(loss(net->forward(x), y));
///     optimizer.step();
#pragma once

#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include <lightning/distributed/world.h>
#include <lightning/strategies/ddp_options.h>
#include <lightning/strategies/strategy.h>
#include <lightning/util/export.h>

namespace lightning {

class LIGHTNING_API DistributedDataParallel {
 public:
  /// Moves the module to the world's device and makes it rank 0's on all ranks; to be done before
  /// the optimizer is made. The module is used as before, also inside forward(). In a world of one
  /// backward() is torch's own. Every rank must call it. Throws ConfigError when the ranks' modules
  /// differ (DDPStrategy), or for options out of range.
  DistributedDataParallel(std::shared_ptr<torch::nn::Module> module, World& world,
                          const DDPOptions& options = {});
  ~DistributedDataParallel();
  DistributedDataParallel(const DistributedDataParallel&) = delete;
  DistributedDataParallel& operator=(const DistributedDataParallel&) = delete;

  /// Adds the gradients of `loss`, and makes all that the parameters hold the mean over the ranks;
  /// then buffers become those of rank 0. requires_grad may change from one call to the next, on
  /// all ranks alike. Every rank must call it; one that has no data gives an undefined tensor and
  /// counts as zero. Where parts of a batch differ in size, multiply the loss by
  /// Batch::rank_weight() to get the mean over the samples. Throws ConfigError naming trainable
  /// parameters that did not contribute to the loss (unless find_unused_parameters),
  /// DistributedError when a rank fails.
  void backward(const at::Tensor& loss);
  /// Adds the gradients of a micro-batch on this rank alone: the next backward() reduces them along
  /// with its own.
  void accumulate(const at::Tensor& loss);

 private:
  std::vector<bool> trainable() const;

  std::shared_ptr<torch::nn::Module> module_;
  std::vector<at::Tensor> parameters_;
  std::vector<bool> trainable_;  // as the strategy knows them
  std::unique_ptr<Strategy> strategy_;
};

}  // namespace lightning
