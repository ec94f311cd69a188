#include <lightning/strategies/distributed_data_parallel.h>

#include <utility>

#include <lightning/strategies/detail/single_device.h>
#include <lightning/util/error.h>

namespace lightning {
namespace {

std::unique_ptr<Strategy> make_strategy(World& world, const DDPOptions& options) {
  if (world.size() == 1) return std::make_unique<SingleDeviceStrategy>(world.device());
  return std::make_unique<DDPStrategy>(world.device(), world.topology(), world.group(),
                                       world.control(), options);
}

}  // namespace

DistributedDataParallel::DistributedDataParallel(std::shared_ptr<torch::nn::Module> module,
                                                 World& world, const DDPOptions& options)
    : replica_(std::make_shared<LightningModule>()), strategy_(make_strategy(world, options)) {
  LIGHTNING_CHECK(
      module != nullptr, ConfigError,
      "DistributedDataParallel: the module is null, expected a shared_ptr to one. HINT: "
      "give net.ptr() where Net is a TORCH_MODULE.");
  // As PyTorch's wrapper names it.
  replica_->register_module("module", std::move(module));
  strategy_->setup(*replica_);
  parameters_ = replica_->parameters();
  trainable_ = trainable();
  strategy_->begin_window(*replica_);
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
    strategy_->begin_window(*replica_);
  }
  strategy_->backward(*replica_, loss, /*weight=*/at::Tensor(), /*last_in_window=*/true);
  // Here and not before the next forward, which needn't be announced then.
  strategy_->begin_window(*replica_);
}

void DistributedDataParallel::accumulate(const at::Tensor& loss) {
  strategy_->backward(*replica_, loss, /*weight=*/at::Tensor(), /*last_in_window=*/false);
}

}  // namespace lightning
