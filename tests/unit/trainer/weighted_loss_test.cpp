// Means over accumulation windows: weighted ones are exact, unweighted ones are Lightning's.
#include <catch2/catch.hpp>

#include <lightning/trainer/trainer.h>

#include "support/boring_module.h"

namespace {

/// Batches of unequal sizes: 3, 3, 1 rows.
class Regression : public lightning::LightningModule {
 public:
  explicit Regression(bool weighted) : weighted_(weighted) {
    layer = register_module("layer", torch::nn::Linear(2, 1));
    torch::NoGradGuard no_grad;
    layer->weight.fill_(0.5);
    layer->bias.fill_(-0.25);
    layer->to(torch::kFloat64);
  }
  lightning::StepOutput training_step(const lightning::Batch& batch, int64_t) override {
    const at::Tensor loss = layer->forward(batch["x"]).square().mean();
    if (!weighted_) return loss;
    return {loss, static_cast<double>(batch.batch_size())};
  }
  lightning::OptimizerList configure_optimizers() override {
    return std::make_shared<lightning::optim::SGD>(parameters(), torch::optim::SGDOptions(0.1));
  }

  torch::nn::Linear layer{nullptr};

 private:
  bool weighted_;
};

at::Tensor rows() { return torch::arange(14, torch::kFloat64).reshape({7, 2}).mul(0.3).sin(); }

/// The weights after one step over all 7 rows in micro-batches of `batch_size`.
at::Tensor weights_after_step(bool weighted, int64_t batch_size, std::optional<double> clip) {
  lightning::TrainerOptions options = quiet_options();
  options.max_epochs = 1;
  options.accumulate_grad_batches = 7;
  options.gradient_clip_val = clip;
  lightning::Trainer trainer(options, {}, lightning::Loggers{});
  const auto module = std::make_shared<Regression>(weighted);
  const auto data = std::make_shared<lightning::TensorDataset>(lightning::Batch({{"x", rows()}}));
  trainer.fit(module, std::make_shared<lightning::DataLoader>(
                          data, lightning::DataLoaderOptions{.batch_size = batch_size}));
  CHECK(trainer.global_step() == 1);
  return torch::cat({module->layer->weight.detach().flatten(), module->layer->bias.detach()});
}

}  // namespace

TEST_CASE("A weighted window equals one batch of all its rows", "[trainer]") {
  for (const std::optional<double> clip : {std::optional<double>(), std::optional<double>(0.05)}) {
    const at::Tensor whole = weights_after_step(/*weighted=*/true, /*batch_size=*/7, clip);
    const at::Tensor parts = weights_after_step(/*weighted=*/true, /*batch_size=*/3, clip);
    CHECK(torch::allclose(whole, parts, /*rtol=*/1e-13, /*atol=*/1e-14));
  }
}

TEST_CASE("An unweighted window divides by accumulate_grad_batches", "[trainer]") {
  const at::Tensor actual = weights_after_step(/*weighted=*/false, /*batch_size=*/3, std::nullopt);
  // By hand: the gradient of the sum of the three batch means over 7.
  const auto module = std::make_shared<Regression>(false);
  const at::Tensor x = rows();
  const at::Tensor loss = (module->layer->forward(x.narrow(0, 0, 3)).square().mean() +
                           module->layer->forward(x.narrow(0, 3, 3)).square().mean() +
                           module->layer->forward(x.narrow(0, 6, 1)).square().mean()) /
                          7;
  loss.backward();
  const torch::NoGradGuard no_grad;
  const at::Tensor expected =
      torch::cat({(module->layer->weight - 0.1 * module->layer->weight.grad()).flatten(),
                  module->layer->bias - 0.1 * module->layer->bias.grad()});
  CHECK(torch::allclose(actual, expected, /*rtol=*/1e-12, /*atol=*/1e-14));
}
