/// Adadelta (torch.optim.Adadelta; Zeiler 2012), which LibTorch's C++ side doesn't have.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include <torch/arg.h>

#include <lightning/optim/optimizers.h>
#include <lightning/util/export.h>

namespace lightning::optim {

struct LIGHTNING_API AdadeltaOptions : torch::optim::OptimizerCloneableOptions<AdadeltaOptions> {
  AdadeltaOptions(double lr = 1.0) : lr_(lr) {}  // NOLINT: implicit as torch's are
  /// Factor on the steps that the algorithm determines.
  TORCH_ARG(double, lr);
  /// How slowly the running means of squares forget.
  TORCH_ARG(double, rho) = 0.9;
  TORCH_ARG(double, eps) = 1e-6;
  TORCH_ARG(double, weight_decay) = 0.0;

 public:
  double get_lr() const override { return lr(); }
  void set_lr(const double lr) override { this->lr(lr); }
};

/// State of one parameter.
struct LIGHTNING_API AdadeltaState : torch::optim::OptimizerCloneableParamState<AdadeltaState> {
  at::Tensor square_avg;
  at::Tensor acc_delta;
};

/// Runs over lists of tensors (torch has no fused kernel for it).
/// Sync: a step on a GPU that is given found_inf waits for it.
class LIGHTNING_API Adadelta : public FusedOptimizer {
 public:
  /// Throws ConfigError for options out of range. Groups without options take `defaults`.
  explicit Adadelta(const std::vector<torch::optim::OptimizerParamGroup>& groups,
                    AdadeltaOptions defaults = {});
  explicit Adadelta(std::vector<at::Tensor> parameters, AdadeltaOptions defaults = {});

 private:
  bool uses_optional_state(const torch::optim::OptimizerOptions& options) const override;
  void append_state(Bucket& bucket, const at::Tensor& parameter,
                    const torch::optim::OptimizerOptions& options) override;
  void run_kernel(Bucket& bucket, const torch::optim::OptimizerOptions& options,
                  const std::optional<at::Tensor>& grad_scale,
                  const std::optional<at::Tensor>& found_inf) override;
};

}  // namespace lightning::optim
