#include <lightning/precision/detail/loss_scaler.h>

#include <limits>

#include <torch/torch.h>
#include <catch2/catch.hpp>

#include <lightning/optim/optimizers.h>
#include <lightning/precision/detail/modes.h>
#include <lightning/util/error.h>

#include "golden/optim/loss_scaler_goldens.h"

using lightning::LossScaler;
using lightning::LossScalerOptions;

namespace {

const at::Device kCpu(at::kCPU);
const double kInf = std::numeric_limits<double>::infinity();

LossScalerOptions golden_options() { return {.init_scale = 1024.0, .growth_interval = 3}; }

}  // namespace

TEST_CASE("scales and skipped steps are those of torch.amp.GradScaler", "[precision]") {
  const std::string marks = golden::kScalerSteps;
  for (const bool fused : {true, false}) {
    const auto precision = std::make_unique<lightning::Float16MixedPrecision>(
        kCpu,
        lightning::Float16MixedOptions{.loss_scaler = golden_options(), .force_float16 = true});
    at::Tensor weight = torch::ones({1}, torch::requires_grad());
    const torch::optim::SGDOptions options(0.01);
    std::unique_ptr<torch::optim::Optimizer> optimizer;
    if (fused) {
      optimizer = std::make_unique<lightning::optim::SGD>(std::vector<at::Tensor>{weight}, options);
    } else {
      optimizer = std::make_unique<torch::optim::SGD>(std::vector<at::Tensor>{weight}, options);
    }
    for (size_t i = 0; i < marks.size(); ++i) {
      optimizer->zero_grad();
      const at::Tensor loss = weight.sum() * (marks[i] == 'x' ? kInf : 1.0);
      precision->scale_loss(loss).backward();
      precision->step(*optimizer);
      precision->end_window();
      CAPTURE(fused, i);
      CHECK(precision->loss_scaler()->scale().item<double>() == golden::kScalerScales[i]);
      CHECK(weight.item<double>() == Approx(golden::kScalerWeights[i]).epsilon(1e-7));
    }
  }
}

TEST_CASE("unscale_ divides once by scale and divisor and finds overflow", "[precision]") {
  LossScaler scaler(kCpu, {.init_scale = 8.0});
  const std::vector<at::Tensor> gradients = {torch::full({3}, 48.0),
                                             torch::full({2}, 48.0, torch::kDouble)};
  at::Tensor found = scaler.unscale_(gradients, torch::full({1}, 3.0, torch::kDouble));
  CHECK(found.item<float>() == 0.0F);
  CHECK(gradients[0][0].item<float>() == Approx(2.0));
  CHECK(gradients[1][0].item<double>() == Approx(2.0));
  gradients[1][1] = kInf;
  found = scaler.unscale_(gradients);
  CHECK(found.item<float>() == 1.0F);
  CHECK(scaler.last_found_inf().item<float>() == 0.0F);
  scaler.update();
  CHECK(scaler.last_found_inf().item<float>() == 1.0F);
  CHECK(scaler.scale().item<float>() == 4.0F);
}

TEST_CASE("one overflowing optimizer of two lowers the scale", "[precision]") {
  LossScaler scaler(kCpu, {.init_scale = 8.0});
  CHECK(scaler.unscale_(std::vector<at::Tensor>{torch::full({1}, kInf)}).item<float>() == 1.0F);
  CHECK(scaler.unscale_(std::vector<at::Tensor>{torch::ones({1})}).item<float>() == 0.0F);
  scaler.update();
  CHECK(scaler.scale().item<float>() == 4.0F);
}

TEST_CASE("update without gradients leaves the scale alone", "[precision]") {
  LossScaler scaler(kCpu, {.init_scale = 8.0, .growth_interval = 1});
  scaler.update();
  scaler.unscale_({});
  scaler.update();
  CHECK(scaler.scale().item<float>() == 8.0F);
  scaler.unscale_(std::vector<at::Tensor>{torch::ones({1})});
  scaler.update();
  CHECK(scaler.scale().item<float>() == 16.0F);
}

TEST_CASE("a float16 loss is scaled in float32", "[precision]") {
  const LossScaler scaler(kCpu);
  const at::Tensor scaled = scaler.scale_loss(torch::full({}, 3.0, torch::kHalf));
  CHECK(scaled.item<double>() == 3.0 * 65536.0);
  CHECK(scaled.dim() == 0);
}

TEST_CASE("a scaler resumes from its saved state", "[precision]") {
  const std::vector<at::Tensor> good = {torch::ones({1})};
  LossScaler scaler(kCpu, golden_options());
  for (int i = 0; i < 5; ++i) {
    scaler.unscale_(good);
    scaler.update();
  }
  const lightning::StateDict state = scaler.state_dict();
  LossScaler resumed(kCpu);
  resumed.load_state_dict(state);
  CHECK(resumed.scale().item<float>() == 2048.0F);
  resumed.unscale_(good);
  resumed.update();  // the third good step since the scale grew
  CHECK(resumed.scale().item<float>() == 4096.0F);
}

TEST_CASE("a scaler refuses options out of range", "[precision]") {
  using lightning::ConfigError;
  CHECK_THROWS_AS(LossScaler(kCpu, {.init_scale = 0.0}), ConfigError);
  CHECK_THROWS_AS(LossScaler(kCpu, {.growth_factor = 1.0}), ConfigError);
  CHECK_THROWS_AS(LossScaler(kCpu, {.backoff_factor = 1.0}), ConfigError);
  CHECK_THROWS_AS(LossScaler(kCpu, {.growth_interval = 0}), ConfigError);
}
