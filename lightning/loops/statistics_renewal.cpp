#include <lightning/loops/statistics_renewal.h>

#include <utility>

#include <c10/core/GradMode.h>
#include <torch/nn/modules/batchnorm.h>

#include <lightning/nn/batch_norm.h>

namespace lightning {
namespace {

template <typename Layer, typename Visit>
bool visit_as(torch::nn::Module& module, const Visit& visit) {
  auto* layer = dynamic_cast<Layer*>(&module);
  if (layer == nullptr || !layer->running_mean.defined()) return false;
  visit(*layer);
  return true;
}

/// Calls `visit` with every BatchNorm layer that tracks statistics, in its own class.
template <typename Visit>
void for_each_layer(torch::nn::Module& module, const Visit& visit) {
  module.apply([&](torch::nn::Module& one) {
    visit_as<nn::BatchNormImpl>(one, visit) || visit_as<torch::nn::BatchNorm1dImpl>(one, visit) ||
        visit_as<torch::nn::BatchNorm2dImpl>(one, visit) ||
        visit_as<torch::nn::BatchNorm3dImpl>(one, visit);
  });
}

}  // namespace

bool StatisticsRenewal::has_layers() const {
  bool found = false;
  for_each_layer(module_, [&](auto&) { found = true; });
  return found;
}

void StatisticsRenewal::begin(bool anew) {
  end();
  const at::NoGradGuard no_grad;
  for_each_layer(module_, [&](auto& layer) {
    // Frozen: it would get no statistics in place of those it has.
    if (!layer.is_training() || layer.options.momentum() == 0.0) return;
    if (anew) {
      layer.running_mean.zero_();
      layer.running_var.fill_(1.0);
      layer.num_batches_tracked.zero_();
    }
    // Without a momentum a layer takes the mean over all batches.
    std::optional<double> momentum = std::exchange(layer.options.momentum(), std::nullopt);
    restore_momentum_.push_back([&layer, momentum] { layer.options.momentum() = momentum; });
  });
}

void StatisticsRenewal::end() {
  for (const auto& restore : restore_momentum_) restore();
  restore_momentum_.clear();
}

}  // namespace lightning
