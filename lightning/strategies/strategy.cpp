#include <lightning/strategies/strategy.h>

#include <utility>

#include <ATen/core/grad_mode.h>
#include <torch/nn/module.h>

#include <lightning/distributed/world.h>
#include <lightning/util/error.h>

namespace lightning {

Strategy::Strategy(StrategyContext context) : context_(std::move(context)) {
  LIGHTNING_CHECK(
      context_.world != nullptr || context_.topology.world_size == 1, ConfigError,
      "Strategy: there are ", context_.topology.world_size,
      " ranks and the world is null, expected the world that they have joined. HINT: pass on "
      "the StrategyContext that the strategy is made from.");
}

Strategy::~Strategy() = default;

void Strategy::setup(torch::nn::Module& module) { do_setup(module); }

void Strategy::teardown() { do_teardown(); }

void Strategy::begin_window(torch::nn::Module& module) {
  window_ = AccumulationWindow();
  do_begin_window(module);
}

void Strategy::backward(const RunBackward& run_backward, const at::Tensor& loss,
                        const at::Tensor& weight, bool last_in_window) {
  if (loss.defined()) add_to_window(weight);
  do_backward(run_backward, loss, last_in_window, window_);
}

void Strategy::add_to_window(const at::Tensor& weight) {
  LIGHTNING_CHECK(!window_.has_data || weight.defined() == window_.weight.defined(), ConfigError,
                  "LightningModule: training_step() gave a weight for some batches of an "
                  "accumulation window and none for others, expected the same for all.");
  window_.has_data = true;
  if (!weight.defined()) return;
  const at::NoGradGuard no_grad;
  const at::Tensor value =
      weight.detach().reshape({}).to(at::TensorOptions(root_device()).dtype(at::kDouble));
  window_.weight = window_.weight.defined() ? window_.weight + value : value;
}

void Strategy::synchronize_buffers() { do_synchronize_buffers(); }

void Strategy::barrier(std::string_view name) {
  if (world() != nullptr) world()->control().barrier(name);
}

void Strategy::do_setup(torch::nn::Module& module) { module.to(root_device()); }

void Strategy::do_backward(const RunBackward& run_backward, const at::Tensor& loss,
                           bool /*last_in_window*/, AccumulationWindow& /*window*/) {
  if (loss.defined()) run_backward(loss);
}

}  // namespace lightning
