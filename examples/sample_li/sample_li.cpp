// A small autoencoder on MNIST: the whole of a program that trains, resumes and is driven by YAML.
#include <lightning/lightning.h>

#include "examples/callbacks/register.h"
#include "mnist_data_module.h"

struct LitAutoEncoderOptions {
  double learning_rate = 1e-3;
};
LIGHTNING_FIELDS(LitAutoEncoderOptions, LIGHTNING_FIELD(learning_rate, "learning rate of Adam"))

class LitAutoEncoder : public lightning::LightningModule {
 public:
  using Options = LitAutoEncoderOptions;

  explicit LitAutoEncoder(Options options) : options_(options) {
    using namespace torch::nn;
    encoder_ = register_module("encoder", Sequential(Linear(28 * 28, 64), ReLU(), Linear(64, 3)));
    decoder_ = register_module("decoder", Sequential(Linear(3, 64), ReLU(), Linear(64, 28 * 28)));
    save_hyperparameters(options);
  }

  lightning::StepOutput training_step(const lightning::Batch& batch, int64_t) override {
    auto loss = reconstruction_loss(batch);
    log("train_loss", loss, {.prog_bar = true});
    return loss;
  }

  void validation_step(const lightning::Batch& batch, int64_t) override {
    log("val_loss", reconstruction_loss(batch));
  }

  void test_step(const lightning::Batch& batch, int64_t) override {
    log("test_loss", reconstruction_loss(batch));
  }

  lightning::Batch predict_step(const lightning::Batch& batch, int64_t) override {
    return {{"code", encoder_->forward(batch["image"].flatten(1))}};  // [B, 3]
  }

  lightning::OptimizerList configure_optimizers() override {
    return std::make_shared<lightning::optim::Adam>(
        parameters(), torch::optim::AdamOptions(options_.learning_rate));
  }

 private:
  torch::Tensor reconstruction_loss(const lightning::Batch& batch) {
    auto x = batch["image"].flatten(1);  // [B, 28, 28] -> [B, 784]
    return torch::mse_loss(decoder_->forward(encoder_->forward(x)), x);
  }

  Options options_;
  torch::nn::Sequential encoder_{nullptr}, decoder_{nullptr};
};

int main(int argc, char** argv) {
  register_example_callbacks();
  return lightning::cli_main<LitAutoEncoder, MnistDataModule>(argc, argv);
}
