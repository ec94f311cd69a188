#include <iostream>
#include <memory>

#include <lightning/lightning.h>

struct LinearFit : lightning::LightningModule {
  torch::nn::Linear layer{register_module("layer", torch::nn::Linear(3, 1))};

  lightning::StepOutput training_step(const lightning::Batch& batch, int64_t) override {
    auto loss = torch::mse_loss(layer->forward(batch["x"]), batch["y"]);
    log("train_loss", loss);
    return loss;
  }
  lightning::OptimizerList configure_optimizers() override {
    return std::make_shared<lightning::optim::SGD>(parameters(), torch::optim::SGDOptions(0.1));
  }
};

int main() {
  lightning::seed_everything(1);
  auto x = torch::randn({256, 3});
  auto y = x.sum(1, true);
  auto data = std::make_shared<lightning::TensorDataset>(lightning::Batch{{"x", x}, {"y", y}});
  auto loader =
      std::make_shared<lightning::DataLoader>(data, lightning::DataLoaderOptions{.batch_size = 16});
  auto model = std::make_shared<LinearFit>();
  lightning::Trainer trainer({.max_epochs = 5, .enable_checkpointing = false});
  trainer.fit(model, loader);
  const double error = (model->layer->weight - 1).abs().max().item<double>();
  std::cout << "largest error of a weight: " << error << "\n";
  return error < 1e-3 ? 0 : 1;
}
