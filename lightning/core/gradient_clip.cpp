#include <lightning/core/gradient_clip.h>

#include <vector>

#include <lightning/optim/grad_utils.h>

namespace lightning {

at::Tensor clip_gradients(const torch::optim::Optimizer& optimizer, double value,
                          GradientClipAlgorithm algorithm) {
  std::vector<at::Tensor> gradients;
  optim::collect_gradients(optimizer, gradients);
  if (algorithm == GradientClipAlgorithm::kNorm) {
    return optim::clip_gradients_by_norm_(gradients, value);
  }
  optim::clip_gradients_by_value_(gradients, value);
  return {};
}

}  // namespace lightning
