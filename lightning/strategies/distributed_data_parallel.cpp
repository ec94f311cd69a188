#include <lightning/strategies/distributed_data_parallel.h>

#include <utility>

#include <torch/nn/module.h>

#include <lightning/strategies/ddp.h>
#include <lightning/strategies/detail/single_device.h>
#include <lightning/util/error.h>

namespace lightning {
namespace {

std::unique_ptr<Strategy> make_strategy(World& world, const DDPOptions& options) {
  const StrategyContext context{world.device(), world.topology(), &world};
  if (world.size() == 1) return std::make_unique<SingleDeviceStrategy>(context);
  return std::make_unique<DDPStrategy>(context, options);
}

void run_backward(const at::Tensor& loss) { loss.backward(); }

}  // namespace

DistributedDataParallel::DistributedDataParallel(std::shared_ptr<torch::nn::Module> module,
                                                 World& world, const DDPOptions& options)
    : module_(std::move(module)), strategy_(make_strategy(world, options)) {
  LIGHTNING_CHECK(
      module_ != nullptr, ConfigError,
      "DistributedDataParallel: the module is null, expected a shared_ptr to one. HINT: "
      "give net.ptr() where Net is a TORCH_MODULE.");
  strategy_->setup(*module_);
  parameters_ = module_->parameters();
  trainable_ = trainable();
  strategy_->begin_window(*module_);
}

DistributedDataParallel::~DistributedDataParallel() = default;

std::vector<bool> DistributedDataParallel::trainable() const {
  std::vector<bool> all;
  for (const at::Tensor& parameter : parameters_) all.push_back(parameter.requires_grad());
  return all;
}

void DistributedDataParallel::backward(const at::Tensor& loss) {
  if (std::vector<bool> now = trainable(); now != trainable_) {
    trainable_ = std::move(now);
    strategy_->begin_window(*module_);
  }
  strategy_->backward(run_backward, loss, /*weight=*/at::Tensor(), /*last_in_window=*/true);
  // Here and not before the next forward, which needn't be announced then.
  strategy_->begin_window(*module_);
}

void DistributedDataParallel::accumulate(const at::Tensor& loss) {
  strategy_->backward(run_backward, loss, /*weight=*/at::Tensor(), /*last_in_window=*/false);
}

}  // namespace lightning
