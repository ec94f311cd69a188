/// The smallest module and data that can be trained, for tests.
#pragma once

#include <memory>
#include <vector>

#include <torch/torch.h>

#include <lightning/core/lightning_module.h>
#include <lightning/data/data_loader.h>
#include <lightning/data/dataset.h>
#include <lightning/optim/optimizers.h>

/// One linear layer from 2 to 1; the loss is the mean of its squared output.
class BoringModule : public lightning::LightningModule {
 public:
  BoringModule() { layer = register_module("layer", torch::nn::Linear(2, 1)); }

  lightning::StepOutput training_step(const lightning::Batch& batch, int64_t) override {
    return layer->forward(batch["x"]).square().mean();
  }
  void validation_step(const lightning::Batch& batch, int64_t) override {
    log("val_loss", layer->forward(batch["x"]).square().mean());
  }
  void test_step(const lightning::Batch& batch, int64_t) override {
    log("test_loss", layer->forward(batch["x"]).square().mean());
  }
  lightning::Batch predict_step(const lightning::Batch& batch, int64_t) override {
    return lightning::Batch({{"y", layer->forward(batch["x"])}});
  }
  lightning::OptimizerList configure_optimizers() override {
    return std::make_shared<lightning::optim::SGD>(parameters(), torch::optim::SGDOptions(0.1));
  }

  torch::nn::Linear layer{nullptr};
};

/// `samples` rows of x [2], the same for the same seed, in batches of 2.
inline std::shared_ptr<lightning::DataLoader> boring_loader(int64_t samples = 6,
                                                            lightning::DataLoaderOptions options = {
                                                                .batch_size = 2}) {
  const auto generator = at::detail::createCPUGenerator(7);
  const auto data = std::make_shared<lightning::TensorDataset>(
      lightning::Batch({{"x", torch::randn({samples, 2}, generator)}}));
  return std::make_shared<lightning::DataLoader>(data, options);
}

/// A Trainer's options that print and write nothing.
inline lightning::TrainerOptions quiet_options() {
  lightning::TrainerOptions options;
  options.accelerator = "cpu";
  options.enable_progress_bar = false;
  options.enable_model_summary = false;
  options.enable_checkpointing = false;
  return options;
}
