/// Optimizers whose step is one fused kernel per parameter group and device. They are
/// torch::optim::Optimizers with torch's own options, so that everything that works on those works
/// on these; gradient scaling and skipping happen inside the kernel, without host syncs.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include <torch/optim/adam.h>
#include <torch/optim/adamw.h>
#include <torch/optim/optimizer.h>
#include <torch/optim/sgd.h>

#include <lightning/util/export.h>

namespace lightning::optim {

class LIGHTNING_API FusedOptimizer : public torch::optim::Optimizer {
 public:
  ~FusedOptimizer() override;

  /// Updates every parameter that has a gradient. With a closure: calls it first, with gradients
  /// enabled, and returns its loss. No host sync (one exception: see SGD). Throws ConfigError for
  /// sparse gradients and for parameters that are complex or whose memory overlaps.
  at::Tensor step(LossClosure closure = nullptr) override;

  /// For the next step() only. Both are 0-dim or one-element floating tensors, or undefined:
  /// `grad_scale` divides the gradients (in place) inside the kernel; a `found_inf` of 1 (not 0)
  /// leaves weights, moments and step counts as they are.
  virtual void set_step_scaling(at::Tensor grad_scale, at::Tensor found_inf);

  /// Call it after state() was changed from outside.
  void state_changed();

 protected:
  FusedOptimizer(const std::vector<torch::optim::OptimizerParamGroup>& groups,
                 std::unique_ptr<torch::optim::OptimizerOptions> defaults);

  /// Tensors that one kernel call updates: same group, device, dtype and stage.
  struct Bucket {
    size_t group = 0;
    bool is_first_step = false;
    std::vector<at::Tensor> params;
    std::vector<at::Tensor> grads;  // filled for the length of a step only
    /// One list for each kind of state, in the kernel's order; empty lists for what isn't used.
    std::vector<at::Tensor> steps;
    std::vector<at::Tensor> moments;
    std::vector<at::Tensor> second_moments;
    std::vector<at::Tensor> max_second_moments;
  };

  /// Whether the options ask for the optional state (amsgrad, momentum).
  virtual bool uses_optional_state(const torch::optim::OptimizerOptions& options) const = 0;
  /// Whether the parameter's next step differs from all later ones.
  virtual bool is_first_step(const at::Tensor& parameter,
                             const torch::optim::OptimizerOptions& options) const;
  /// Appends the parameter's state to the bucket, making it when there is none.
  virtual void append_state(Bucket& bucket, const at::Tensor& parameter,
                            const torch::optim::OptimizerOptions& options) = 0;
  virtual void run_kernel(Bucket& bucket, const torch::optim::OptimizerOptions& options,
                          const std::optional<at::Tensor>& grad_scale,
                          const std::optional<at::Tensor>& found_inf) = 0;

 private:
  struct Slot;  // where a parameter's tensors are in the buckets

  bool gather_gradients();
  void release_gradients();
  void rebuild();
  void add_to_bucket(Slot& slot, size_t group, const at::Tensor& parameter);
  void run(Bucket& bucket);

  std::vector<Bucket> buckets_;
  std::vector<Slot> slots_;
  std::vector<bool> group_uses_optional_state_;
  size_t num_states_ = 0;
  at::Tensor grad_scale_;
  at::Tensor found_inf_;
};

/// State of one parameter of Adam and AdamW.
struct LIGHTNING_API AdamState : torch::optim::OptimizerCloneableParamState<AdamState> {
  at::Tensor step;  // 0-dim float32 on the parameter's device: counted without host syncs
  at::Tensor exp_avg;
  at::Tensor exp_avg_sq;
  at::Tensor max_exp_avg_sq;  // undefined without amsgrad
};

/// Adam with L2 regularisation (torch.optim.Adam).
class LIGHTNING_API Adam : public FusedOptimizer {
 public:
  /// Throws ConfigError for options out of range. Groups without options take `defaults`.
  explicit Adam(const std::vector<torch::optim::OptimizerParamGroup>& groups,
                torch::optim::AdamOptions defaults = {});
  explicit Adam(std::vector<at::Tensor> parameters, torch::optim::AdamOptions defaults = {});

 private:
  bool uses_optional_state(const torch::optim::OptimizerOptions& options) const override;
  void append_state(Bucket& bucket, const at::Tensor& parameter,
                    const torch::optim::OptimizerOptions& options) override;
  void run_kernel(Bucket& bucket, const torch::optim::OptimizerOptions& options,
                  const std::optional<at::Tensor>& grad_scale,
                  const std::optional<at::Tensor>& found_inf) override;
};

/// Adam with decoupled weight decay (torch.optim.AdamW).
class LIGHTNING_API AdamW : public FusedOptimizer {
 public:
  /// Throws ConfigError for options out of range. Groups without options take `defaults`.
  explicit AdamW(const std::vector<torch::optim::OptimizerParamGroup>& groups,
                 torch::optim::AdamWOptions defaults = {});
  explicit AdamW(std::vector<at::Tensor> parameters, torch::optim::AdamWOptions defaults = {});

 private:
  bool uses_optional_state(const torch::optim::OptimizerOptions& options) const override;
  void append_state(Bucket& bucket, const at::Tensor& parameter,
                    const torch::optim::OptimizerOptions& options) override;
  void run_kernel(Bucket& bucket, const torch::optim::OptimizerOptions& options,
                  const std::optional<at::Tensor>& grad_scale,
                  const std::optional<at::Tensor>& found_inf) override;
};

/// Stochastic gradient descent with momentum (torch.optim.SGD); its state is
/// torch::optim::SGDParamState.
/// Sync: with dampening, a step on a GPU that is given found_inf waits for it as long as a
/// parameter hasn't made its first step.
class LIGHTNING_API SGD : public FusedOptimizer {
 public:
  /// Throws ConfigError for options out of range. Groups without options take `defaults`.
  SGD(const std::vector<torch::optim::OptimizerParamGroup>& groups,
      torch::optim::SGDOptions defaults);
  SGD(std::vector<at::Tensor> parameters, torch::optim::SGDOptions defaults);

 private:
  bool uses_optional_state(const torch::optim::OptimizerOptions& options) const override;
  bool is_first_step(const at::Tensor& parameter,
                     const torch::optim::OptimizerOptions& options) const override;
  void append_state(Bucket& bucket, const at::Tensor& parameter,
                    const torch::optim::OptimizerOptions& options) override;
  void run_kernel(Bucket& bucket, const torch::optim::OptimizerOptions& options,
                  const std::optional<at::Tensor>& grad_scale,
                  const std::optional<at::Tensor>& found_inf) override;
};

}  // namespace lightning::optim
