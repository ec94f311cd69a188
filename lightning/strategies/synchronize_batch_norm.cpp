#include <lightning/strategies/synchronize_batch_norm.h>

#include <torch/nn/modules/batchnorm.h>

#include <lightning/nn/batch_norm.h>
#include <lightning/util/error.h>

namespace lightning {
namespace {

bool is_torch_batch_norm(const torch::nn::Module& layer) {
  return dynamic_cast<const torch::nn::BatchNorm1dImpl*>(&layer) != nullptr ||
         dynamic_cast<const torch::nn::BatchNorm2dImpl*>(&layer) != nullptr ||
         dynamic_cast<const torch::nn::BatchNorm3dImpl*>(&layer) != nullptr;
}

}  // namespace

void synchronize_batch_norm(torch::nn::Module& module, const std::shared_ptr<ProcessGroup>& group) {
  const auto layers = module.named_modules("", /*include_self=*/false);
  for (const auto& layer : layers) {
    LIGHTNING_CHECK(group == nullptr || !is_torch_batch_norm(*layer.value()), ConfigError,
                    "sync_batchnorm: the layer ", layer.key(),
                    " is a torch::nn::BatchNorm, which cannot synchronize across ranks; expected a "
                    "lightning::nn::BatchNorm. HINT: use that class in the model: it takes the "
                    "same options and loads the same weights.");
  }
  for (const auto& layer : layers) {
    if (auto* norm = dynamic_cast<nn::BatchNormImpl*>(layer.value().get())) {
      norm->set_process_group(group);
    }
  }
}

}  // namespace lightning
