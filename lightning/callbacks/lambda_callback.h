/// LambdaCallback: hooks that a program gives as functions, without a class of its own.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <utility>

#include <lightning/callbacks/callback.h>
#include <lightning/util/export.h>

namespace lightning {

/// One function for each hook of Callback, with its name, its arguments and its place in
/// docs/hooks.md; empty ones are left out.
///
///   LambdaHooks{.on_train_epoch_end = [](TrainerContext& trainer, LightningModule&) { ... }}
struct LambdaHooks {
  template <typename... Arguments>
  using Hook = std::function<void(TrainerContext&, LightningModule&, Arguments...)>;

  Hook<Stage> setup = {};
  Hook<Stage> teardown = {};
  Hook<> on_fit_start = {};
  Hook<> on_fit_end = {};
  Hook<> on_sanity_check_start = {};
  Hook<> on_sanity_check_end = {};
  Hook<> on_train_start = {};
  Hook<> on_train_end = {};
  Hook<> on_train_epoch_start = {};
  Hook<> on_train_epoch_end = {};
  Hook<const Batch&, int64_t> on_train_batch_start = {};
  Hook<const StepOutput&, const Batch&, int64_t> on_train_batch_end = {};
  Hook<> on_validation_start = {};
  Hook<> on_validation_end = {};
  Hook<> on_validation_epoch_start = {};
  Hook<> on_validation_epoch_end = {};
  Hook<const Batch&, int64_t> on_validation_batch_start = {};
  Hook<const Batch&, int64_t> on_validation_batch_end = {};
  Hook<> on_test_start = {};
  Hook<> on_test_end = {};
  Hook<> on_test_epoch_start = {};
  Hook<> on_test_epoch_end = {};
  Hook<const Batch&, int64_t> on_test_batch_start = {};
  Hook<const Batch&, int64_t> on_test_batch_end = {};
  Hook<> on_predict_start = {};
  Hook<> on_predict_end = {};
  Hook<> on_predict_epoch_start = {};
  Hook<> on_predict_epoch_end = {};
  Hook<const Batch&, int64_t> on_predict_batch_start = {};
  Hook<const Batch&, const Batch&, int64_t> on_predict_batch_end = {};
  Hook<const at::Tensor&> on_before_backward = {};
  Hook<> on_after_backward = {};
  Hook<torch::optim::Optimizer&> on_before_zero_grad = {};
  Hook<torch::optim::Optimizer&> on_before_optimizer_step = {};
  Hook<const OptimizerStep&> on_after_optimizer_step = {};
  Hook<const std::exception&> on_exception = {};
  Hook<Checkpoint&> on_save_checkpoint = {};
  Hook<Checkpoint&> on_save_weights = {};
  Hook<const Checkpoint&> on_load_checkpoint = {};
};

/// Calls the functions. Every rank does. It has no state and no name in a config.
class LIGHTNING_API LambdaCallback final : public Callback {
 public:
  explicit LambdaCallback(LambdaHooks hooks) : hooks_(std::move(hooks)) {}

  void setup(TrainerContext& trainer, LightningModule& module, Stage stage) override;
  void teardown(TrainerContext& trainer, LightningModule& module, Stage stage) override;
  void on_fit_start(TrainerContext& trainer, LightningModule& module) override;
  void on_fit_end(TrainerContext& trainer, LightningModule& module) override;
  void on_sanity_check_start(TrainerContext& trainer, LightningModule& module) override;
  void on_sanity_check_end(TrainerContext& trainer, LightningModule& module) override;
  void on_train_start(TrainerContext& trainer, LightningModule& module) override;
  void on_train_end(TrainerContext& trainer, LightningModule& module) override;
  void on_train_epoch_start(TrainerContext& trainer, LightningModule& module) override;
  void on_train_epoch_end(TrainerContext& trainer, LightningModule& module) override;
  void on_train_batch_start(TrainerContext& trainer, LightningModule& module, const Batch& batch,
                            int64_t batch_idx) override;
  void on_train_batch_end(TrainerContext& trainer, LightningModule& module,
                          const StepOutput& output, const Batch& batch, int64_t batch_idx) override;
  void on_validation_start(TrainerContext& trainer, LightningModule& module) override;
  void on_validation_end(TrainerContext& trainer, LightningModule& module) override;
  void on_validation_epoch_start(TrainerContext& trainer, LightningModule& module) override;
  void on_validation_epoch_end(TrainerContext& trainer, LightningModule& module) override;
  void on_validation_batch_start(TrainerContext& trainer, LightningModule& module,
                                 const Batch& batch, int64_t batch_idx) override;
  void on_validation_batch_end(TrainerContext& trainer, LightningModule& module, const Batch& batch,
                               int64_t batch_idx) override;
  void on_test_start(TrainerContext& trainer, LightningModule& module) override;
  void on_test_end(TrainerContext& trainer, LightningModule& module) override;
  void on_test_epoch_start(TrainerContext& trainer, LightningModule& module) override;
  void on_test_epoch_end(TrainerContext& trainer, LightningModule& module) override;
  void on_test_batch_start(TrainerContext& trainer, LightningModule& module, const Batch& batch,
                           int64_t batch_idx) override;
  void on_test_batch_end(TrainerContext& trainer, LightningModule& module, const Batch& batch,
                         int64_t batch_idx) override;
  void on_predict_start(TrainerContext& trainer, LightningModule& module) override;
  void on_predict_end(TrainerContext& trainer, LightningModule& module) override;
  void on_predict_epoch_start(TrainerContext& trainer, LightningModule& module) override;
  void on_predict_epoch_end(TrainerContext& trainer, LightningModule& module) override;
  void on_predict_batch_start(TrainerContext& trainer, LightningModule& module, const Batch& batch,
                              int64_t batch_idx) override;
  void on_predict_batch_end(TrainerContext& trainer, LightningModule& module, const Batch& outputs,
                            const Batch& batch, int64_t batch_idx) override;
  void on_before_backward(TrainerContext& trainer, LightningModule& module,
                          const at::Tensor& loss) override;
  void on_after_backward(TrainerContext& trainer, LightningModule& module) override;
  void on_before_zero_grad(TrainerContext& trainer, LightningModule& module,
                           torch::optim::Optimizer& optimizer) override;
  void on_before_optimizer_step(TrainerContext& trainer, LightningModule& module,
                                torch::optim::Optimizer& optimizer) override;
  void on_after_optimizer_step(TrainerContext& trainer, LightningModule& module,
                               const OptimizerStep& step) override;
  void on_exception(TrainerContext& trainer, LightningModule& module,
                    const std::exception& exception) override;
  void on_save_checkpoint(TrainerContext& trainer, LightningModule& module,
                          Checkpoint& checkpoint) override;
  void on_save_weights(TrainerContext& trainer, LightningModule& module,
                       Checkpoint& checkpoint) override;
  void on_load_checkpoint(TrainerContext& trainer, LightningModule& module,
                          const Checkpoint& checkpoint) override;

 private:
  LambdaHooks hooks_;
};

}  // namespace lightning
