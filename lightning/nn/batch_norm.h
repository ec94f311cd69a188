#pragma once

#include <iosfwd>
#include <memory>

#include <ATen/core/Tensor.h>
#include <torch/nn/cloneable.h>
#include <torch/nn/options/batchnorm.h>
#include <torch/nn/pimpl.h>

#include <lightning/util/export.h>

namespace lightning {

class ProcessGroup;

namespace nn {

using BatchNormOptions = torch::nn::BatchNormOptions;

/// While one that is active lives, what this thread gives to synchronised BatchNorm layers in
/// training doesn't count in their statistics: a batch that stands in for one because this rank has
/// run out of data (Batch::is_padding()), so that the others' collectives find it there.
class LIGHTNING_API SkipStatistics {
 public:
  explicit SkipStatistics(bool active = true);
  ~SkipStatistics();
  SkipStatistics(const SkipStatistics&) = delete;
  SkipStatistics& operator=(const SkipStatistics&) = delete;

 private:
  bool before_;
};

/// Batch normalisation (Ioffe and Szegedy, 2015) with the options, parameters and buffers of
/// torch::nn::BatchNorm1d, 2d and 3d, whose weights it loads; one class for any number of
/// dimensions. Unlike those, its statistics can be those of the global batch (sync_batchnorm).
class LIGHTNING_API BatchNormImpl : public torch::nn::Cloneable<BatchNormImpl> {
 public:
  explicit BatchNormImpl(const BatchNormOptions& options_);

  void reset() override;
  void reset_parameters();
  void pretty_print(std::ostream& stream) const override;

  /// Shapes: [N, C] or [N, C, ...].
  /// Ranks:  with a process group and in training mode every rank must call it equally often (its
  ///         batch may be smaller than the others', or empty), and run backward equally often.
  /// Throws: ConfigError for inputs of other shapes; DataError in training mode, without a process
  ///         group, for a batch with one value per channel.
  at::Tensor forward(const at::Tensor& input);

  /// From here on statistics in training mode are over all ranks of the group: one all_reduce in
  /// forward and one in backward. Null: over this rank only.
  void set_process_group(std::shared_ptr<ProcessGroup> group);
  /// The group whose ranks share statistics; null when they don't.
  const std::shared_ptr<ProcessGroup>& process_group() const { return group_; }

  BatchNormOptions options;
  at::Tensor weight;               // [C]; undefined without affine
  at::Tensor bias;                 // [C]; undefined without affine
  at::Tensor running_mean;         // [C]; undefined without track_running_stats
  at::Tensor running_var;          // [C]; undefined without track_running_stats
  at::Tensor num_batches_tracked;  // 0-dim; undefined without track_running_stats

 private:
  double next_momentum();
  at::Tensor forward_on_all_ranks(const at::Tensor& input, double momentum);

  std::shared_ptr<ProcessGroup> group_;
};

TORCH_MODULE(BatchNorm);

}  // namespace nn
}  // namespace lightning
