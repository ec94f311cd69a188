#include <lightning/strategies/strategy.h>

#include <ATen/core/grad_mode.h>

#include <lightning/util/error.h>

namespace lightning {

Strategy::~Strategy() = default;

void Strategy::setup(LightningModule& module) { do_setup(module); }

void Strategy::teardown() { do_teardown(); }

Batch Strategy::batch_to_device(LightningModule& module, Batch batch) {
  const double rank_weight = batch.rank_weight();
  batch = module.on_before_batch_transfer(std::move(batch));
  batch = module.transfer_batch_to_device(std::move(batch), root_device_);
  batch = module.on_after_batch_transfer(std::move(batch));
  // A hook may have made a new one.
  batch.set_rank_weight(rank_weight);
  return batch;
}

void Strategy::begin_window(LightningModule& module) {
  window_ = AccumulationWindow();
  do_begin_window(module);
}

void Strategy::backward(LightningModule& module, const at::Tensor& loss, const at::Tensor& weight,
                        bool last_in_window) {
  if (loss.defined()) add_to_window(weight);
  do_backward(module, loss, last_in_window, window_);
}

void Strategy::add_to_window(const at::Tensor& weight) {
  LIGHTNING_CHECK(!window_.has_data || weight.defined() == window_.weight.defined(), ConfigError,
                  "LightningModule: training_step() gave a weight for some batches of an "
                  "accumulation window and none for others, expected the same for all.");
  window_.has_data = true;
  if (!weight.defined()) return;
  const at::NoGradGuard no_grad;
  const at::Tensor value =
      weight.detach().reshape({}).to(at::TensorOptions(root_device_).dtype(at::kDouble));
  window_.weight = window_.weight.defined() ? window_.weight + value : value;
}

void Strategy::synchronize_buffers() { do_synchronize_buffers(); }

void Strategy::all_reduce_sum(at::Tensor& value) { do_all_reduce_sum(value); }

void Strategy::broadcast(at::Tensor& value, int64_t root) { do_broadcast(value, root); }

at::Tensor Strategy::all_gather(const at::Tensor& value) { return do_all_gather(value); }

void Strategy::barrier(std::string_view name) { do_barrier(name); }

void Strategy::do_setup(LightningModule& module) { module.to(root_device_); }

void Strategy::do_backward(LightningModule& module, const at::Tensor& loss, bool /*last_in_window*/,
                           AccumulationWindow& /*window*/) {
  if (loss.defined()) module.backward(loss);
}

}  // namespace lightning
