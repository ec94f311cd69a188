// A program that names LibTorch before the library, as LibTorch's own documents have it: its
// checkpoints come and go all the same. Usage: torch_first FOLDER
#include <lightning/lightning.h>

namespace {

class Line : public lightning::LightningModule {
 public:
  Line() { layer_ = register_module("layer", torch::nn::Linear(2, 1)); }
  lightning::StepOutput training_step(const lightning::Batch& batch, int64_t) override {
    return layer_->forward(batch["x"]).square().mean();
  }
  lightning::OptimizerList configure_optimizers() override {
    return std::make_shared<lightning::optim::SGD>(parameters(), torch::optim::SGDOptions(0.1));
  }

 private:
  torch::nn::Linear layer_{nullptr};
};

void fit(const char* folder, int64_t epochs, const std::string& checkpoint) {
  lightning::TrainerOptions options;
  options.accelerator = "cpu";
  options.default_root_dir = folder;
  options.max_epochs = epochs;
  lightning::Trainer trainer(options);
  const auto data =
      std::make_shared<lightning::TensorDataset>(lightning::Batch{{"x", torch::ones({4, 2})}});
  trainer.fit(std::make_shared<Line>(),
              std::make_shared<lightning::DataLoader>(data, lightning::DataLoaderOptions{}), {},
              {.ckpt_path = checkpoint});
  const auto kept = lightning::list_checkpoints(trainer.run_dir() / "checkpoints");
  if (kept.size() != 1) throw lightning::Error("an old checkpoint is still there");
}

}  // namespace

int main(int argc, char** argv) {
  return lightning::run_main([&] {
    if (argc != 2) return 2;
    fit(argv[1], 3, "");
    fit(argv[1], 5, "last");
    return 0;
  });
}
