#include <lightning/strategies/strategy.h>

namespace lightning {

Strategy::~Strategy() = default;

void Strategy::setup(LightningModule& module) { do_setup(module); }

Batch Strategy::batch_to_device(LightningModule& module, Batch batch) {
  batch = module.on_before_batch_transfer(std::move(batch));
  batch = module.transfer_batch_to_device(std::move(batch), root_device_);
  return module.on_after_batch_transfer(std::move(batch));
}

void Strategy::backward(LightningModule& module, const at::Tensor& loss, bool last_in_window) {
  do_backward(module, loss, last_in_window);
}

void Strategy::all_reduce_sum(at::Tensor& value) { do_all_reduce_sum(value); }

void Strategy::barrier(std::string_view name) { do_barrier(name); }

void Strategy::do_setup(LightningModule& module) { module.to(root_device_); }

void Strategy::do_backward(LightningModule& module, const at::Tensor& loss,
                           bool /*last_in_window*/) {
  module.backward(loss);
}

}  // namespace lightning
