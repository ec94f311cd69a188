#include <lightning/callbacks/lambda_callback.h>

namespace lightning {
namespace {

template <typename... Parameters, typename... Arguments>
void call(const std::function<void(Parameters...)>& hook, Arguments&&... arguments) {
  if (hook) hook(std::forward<Arguments>(arguments)...);
}

}  // namespace

void LambdaCallback::setup(TrainerContext& trainer, LightningModule& module, Stage stage) {
  call(hooks_.setup, trainer, module, stage);
}

void LambdaCallback::teardown(TrainerContext& trainer, LightningModule& module, Stage stage) {
  call(hooks_.teardown, trainer, module, stage);
}

void LambdaCallback::on_fit_start(TrainerContext& trainer, LightningModule& module) {
  call(hooks_.on_fit_start, trainer, module);
}

void LambdaCallback::on_fit_end(TrainerContext& trainer, LightningModule& module) {
  call(hooks_.on_fit_end, trainer, module);
}

void LambdaCallback::on_sanity_check_start(TrainerContext& trainer, LightningModule& module) {
  call(hooks_.on_sanity_check_start, trainer, module);
}

void LambdaCallback::on_sanity_check_end(TrainerContext& trainer, LightningModule& module) {
  call(hooks_.on_sanity_check_end, trainer, module);
}

void LambdaCallback::on_train_start(TrainerContext& trainer, LightningModule& module) {
  call(hooks_.on_train_start, trainer, module);
}

void LambdaCallback::on_train_end(TrainerContext& trainer, LightningModule& module) {
  call(hooks_.on_train_end, trainer, module);
}

void LambdaCallback::on_train_epoch_start(TrainerContext& trainer, LightningModule& module) {
  call(hooks_.on_train_epoch_start, trainer, module);
}

void LambdaCallback::on_train_epoch_end(TrainerContext& trainer, LightningModule& module) {
  call(hooks_.on_train_epoch_end, trainer, module);
}

void LambdaCallback::on_train_batch_start(TrainerContext& trainer, LightningModule& module,
                                          const Batch& batch, int64_t batch_idx) {
  call(hooks_.on_train_batch_start, trainer, module, batch, batch_idx);
}

void LambdaCallback::on_train_batch_end(TrainerContext& trainer, LightningModule& module,
                                        const StepOutput& output, const Batch& batch,
                                        int64_t batch_idx) {
  call(hooks_.on_train_batch_end, trainer, module, output, batch, batch_idx);
}

void LambdaCallback::on_validation_start(TrainerContext& trainer, LightningModule& module) {
  call(hooks_.on_validation_start, trainer, module);
}

void LambdaCallback::on_validation_end(TrainerContext& trainer, LightningModule& module) {
  call(hooks_.on_validation_end, trainer, module);
}

void LambdaCallback::on_validation_epoch_start(TrainerContext& trainer, LightningModule& module) {
  call(hooks_.on_validation_epoch_start, trainer, module);
}

void LambdaCallback::on_validation_epoch_end(TrainerContext& trainer, LightningModule& module) {
  call(hooks_.on_validation_epoch_end, trainer, module);
}

void LambdaCallback::on_validation_batch_start(TrainerContext& trainer, LightningModule& module,
                                               const Batch& batch, int64_t batch_idx) {
  call(hooks_.on_validation_batch_start, trainer, module, batch, batch_idx);
}

void LambdaCallback::on_validation_batch_end(TrainerContext& trainer, LightningModule& module,
                                             const Batch& batch, int64_t batch_idx) {
  call(hooks_.on_validation_batch_end, trainer, module, batch, batch_idx);
}

void LambdaCallback::on_test_start(TrainerContext& trainer, LightningModule& module) {
  call(hooks_.on_test_start, trainer, module);
}

void LambdaCallback::on_test_end(TrainerContext& trainer, LightningModule& module) {
  call(hooks_.on_test_end, trainer, module);
}

void LambdaCallback::on_test_epoch_start(TrainerContext& trainer, LightningModule& module) {
  call(hooks_.on_test_epoch_start, trainer, module);
}

void LambdaCallback::on_test_epoch_end(TrainerContext& trainer, LightningModule& module) {
  call(hooks_.on_test_epoch_end, trainer, module);
}

void LambdaCallback::on_test_batch_start(TrainerContext& trainer, LightningModule& module,
                                         const Batch& batch, int64_t batch_idx) {
  call(hooks_.on_test_batch_start, trainer, module, batch, batch_idx);
}

void LambdaCallback::on_test_batch_end(TrainerContext& trainer, LightningModule& module,
                                       const Batch& batch, int64_t batch_idx) {
  call(hooks_.on_test_batch_end, trainer, module, batch, batch_idx);
}

void LambdaCallback::on_predict_start(TrainerContext& trainer, LightningModule& module) {
  call(hooks_.on_predict_start, trainer, module);
}

void LambdaCallback::on_predict_end(TrainerContext& trainer, LightningModule& module) {
  call(hooks_.on_predict_end, trainer, module);
}

void LambdaCallback::on_predict_epoch_start(TrainerContext& trainer, LightningModule& module) {
  call(hooks_.on_predict_epoch_start, trainer, module);
}

void LambdaCallback::on_predict_epoch_end(TrainerContext& trainer, LightningModule& module) {
  call(hooks_.on_predict_epoch_end, trainer, module);
}

void LambdaCallback::on_predict_batch_start(TrainerContext& trainer, LightningModule& module,
                                            const Batch& batch, int64_t batch_idx) {
  call(hooks_.on_predict_batch_start, trainer, module, batch, batch_idx);
}

void LambdaCallback::on_predict_batch_end(TrainerContext& trainer, LightningModule& module,
                                          const Batch& outputs, const Batch& batch,
                                          int64_t batch_idx) {
  call(hooks_.on_predict_batch_end, trainer, module, outputs, batch, batch_idx);
}

void LambdaCallback::on_before_backward(TrainerContext& trainer, LightningModule& module,
                                        const at::Tensor& loss) {
  call(hooks_.on_before_backward, trainer, module, loss);
}

void LambdaCallback::on_after_backward(TrainerContext& trainer, LightningModule& module) {
  call(hooks_.on_after_backward, trainer, module);
}

void LambdaCallback::on_before_zero_grad(TrainerContext& trainer, LightningModule& module,
                                         torch::optim::Optimizer& optimizer) {
  call(hooks_.on_before_zero_grad, trainer, module, optimizer);
}

void LambdaCallback::on_before_optimizer_step(TrainerContext& trainer, LightningModule& module,
                                              torch::optim::Optimizer& optimizer) {
  call(hooks_.on_before_optimizer_step, trainer, module, optimizer);
}

void LambdaCallback::on_after_optimizer_step(TrainerContext& trainer, LightningModule& module,
                                             const OptimizerStep& step) {
  call(hooks_.on_after_optimizer_step, trainer, module, step);
}

void LambdaCallback::on_exception(TrainerContext& trainer, LightningModule& module,
                                  const std::exception& exception) {
  call(hooks_.on_exception, trainer, module, exception);
}

void LambdaCallback::on_save_checkpoint(TrainerContext& trainer, LightningModule& module,
                                        Checkpoint& checkpoint) {
  call(hooks_.on_save_checkpoint, trainer, module, checkpoint);
}

void LambdaCallback::on_save_weights(TrainerContext& trainer, LightningModule& module,
                                     Checkpoint& checkpoint) {
  call(hooks_.on_save_weights, trainer, module, checkpoint);
}

void LambdaCallback::on_load_checkpoint(TrainerContext& trainer, LightningModule& module,
                                        const Checkpoint& checkpoint) {
  call(hooks_.on_load_checkpoint, trainer, module, checkpoint);
}

}  // namespace lightning
