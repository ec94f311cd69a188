// Trains what tests/golden/peers/record_peers.py trains with Lightning: peers_program DEVICES FILE.
// Rank 0 writes the lines of peers.txt.
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <lightning/lightning.h>

namespace {

using lightning::Batch;
using lightning::CombinedLoader;
using lightning::CombineMode;
using lightning::DataLoaders;

constexpr int64_t kSamples = 40;
constexpr int64_t kGlobalBatch = 4;

/// x [size, 3] and y [size, 1].
Batch samples(int64_t size, int64_t shift = 0) {
  const at::Tensor rows = torch::arange(size, torch::kFloat64) + shift;
  std::vector<at::Tensor> columns;
  for (int64_t j = 0; j < 3; ++j) columns.push_back((3 * rows + (j + 1)).sin());
  return Batch({{"x", torch::stack(columns, 1)}, {"y", rows.cos().unsqueeze(1)}});
}

std::shared_ptr<lightning::DataLoader> loader(int64_t size = kSamples, int64_t shift = 0) {
  return std::make_shared<lightning::DataLoader>(
      std::make_shared<lightning::TensorDataset>(samples(size, shift)),
      lightning::DataLoaderOptions{.global_batch_size = kGlobalBatch});
}

/// The recorder's module; `kind` is the name of its case.
class Net : public lightning::LightningModule {
 public:
  explicit Net(std::string kind) : kind_(std::move(kind)), all_(samples(kSamples)) {
    backbone = register_module("backbone", torch::nn::Linear(3, 4));
    head = register_module("head", torch::nn::Linear(4, 1));
    to(torch::kFloat64);
    const torch::NoGradGuard no_grad;
    int64_t i = 0;
    for (const at::Tensor& parameter : parameters()) {
      parameter.copy_(
          torch::arange(parameter.numel(), torch::kFloat64).add(++i).sin().view_as(parameter));
    }
    set_automatic_optimization(kind_ != "gan");
  }

  lightning::StepOutput training_step(const Batch& batch, int64_t) override {
    if (kind_ == "gan") return alternate(batch["x"], batch["y"]);
    if (batch.contains("x")) return loss(batch["x"], batch["y"]);
    at::Tensor sum = loss(batch["a/x"], batch["a/y"]);
    if (batch.contains("b/x")) sum = sum + loss(batch["b/x"], batch["b/y"]);
    return sum;
  }
  void on_train_batch_end(const lightning::StepOutput&, const Batch&, int64_t) override {
    const torch::NoGradGuard no_grad;
    losses.push_back(loss(all_["x"], all_["y"]).item<double>());
  }
  void validation_step(const Batch& batch, int64_t) override {
    log("val_loss", loss(batch["x"], batch["y"]));
  }
  lightning::OptimizerList configure_optimizers() override {
    using lightning::optim::SGD;
    const torch::optim::SGDOptions sgd = torch::optim::SGDOptions(0.05).momentum(0.5);
    if (kind_ == "gan") {
      return std::vector<lightning::OptimizerConfig>{
          {.optimizer = std::make_shared<lightning::optim::Adam>(backbone->parameters(),
                                                                 torch::optim::AdamOptions(0.01))},
          {.optimizer = std::make_shared<SGD>(head->parameters(), sgd)}};
    }
    const auto optimizer =
        std::make_shared<SGD>(kind_ == "finetuning" ? head->parameters() : parameters(), sgd);
    if (kind_ != "plateau") return optimizer;
    const auto schedule = std::make_shared<lightning::optim::ReduceLROnPlateau>(
        optimizer, lightning::optim::ReduceLROnPlateauOptions{
                       .factor = 0.5, .patience = 0, .threshold = 0.05});
    return lightning::OptimizerConfig{
        .optimizer = optimizer, .lr_scheduler = {{.scheduler = schedule, .monitor = "val_loss"}}};
  }

  std::vector<double> losses;  // of all samples, after each batch
  torch::nn::Linear backbone{nullptr};
  torch::nn::Linear head{nullptr};

 private:
  at::Tensor loss(const at::Tensor& x, const at::Tensor& y) {
    return (head->forward(backbone->forward(x).tanh()) - y).square().mean();
  }
  /// The head learns y from what the backbone makes, which wants it to say 1. Gradients are
  /// forgotten after each step: without the toggles each would take the other's along.
  at::Tensor alternate(const at::Tensor& x, const at::Tensor& y) {
    {
      auto& critic = optimizer(1);
      const auto toggle = critic.toggle();
      manual_backward(loss(x, y));
      critic.clip_gradients(0.3);
      critic.step();
      critic.zero_grad();
    }
    auto& generator = optimizer(0);
    const auto toggle = generator.toggle();
    const at::Tensor value = loss(x, torch::ones_like(y));
    manual_backward(value);
    generator.step();
    generator.zero_grad();
    return value;
  }

  std::string kind_;
  Batch all_;
};

class Cases {
 public:
  Cases(const std::string& devices, std::string file) : file_(std::move(file)) {
    options_.accelerator = "cpu";
    options_.devices = devices;
    options_.precision = "64-true";
    options_.max_epochs = 10;
    options_.num_sanity_val_steps = 0;
    options_.enable_progress_bar = options_.enable_model_summary = false;
    options_.enable_checkpointing = false;
  }

  void run() {
    lightning::TrainerOptions options = options_;
    options.accumulate_grad_batches = 2;
    options.max_epochs = 20;
    fit("accumulation", options);
    options = options_;
    options.gradient_clip_val = 0.2;
    fit("clip_norm", options);
    options.gradient_clip_val = 0.05;
    options.gradient_clip_algorithm = lightning::GradientClipAlgorithm::kValue;
    fit("clip_value", options);
    fit("gan", options_);
    fit("plateau", options_);
    run_callbacks();
    run_loaders();
  }

 private:
  void run_callbacks() {
    fit("ema", options_,
        {std::make_shared<lightning::EMAWeightAveraging>(
            lightning::EMAWeightAveragingOptions{.decay = 0.9})});
    fit("swa", options_,
        {std::make_shared<lightning::StochasticWeightAveraging>(
            lightning::StochasticWeightAveragingOptions{
                .swa_lrs = {0.01}, .swa_epoch_start = 0.5, .annealing_epochs = 4})});
    fit("finetuning", options_,
        {std::make_shared<lightning::BackboneFinetuning>(
            lightning::BackboneFinetuningOptions{.unfreeze_backbone_at_epoch = 3})});
  }
  void run_loaders() {
    fit("max_size_cycle", options_, {}, both(CombineMode::kMaxSizeCycle));
    lightning::TrainerOptions options = options_;
    options.max_epochs = 17;
    fit("min_size", options, {}, both(CombineMode::kMinSize));
    fit("max_size", options_, {}, both(CombineMode::kMaxSize));
    lightning::Trainer trainer(options_, {}, lightning::Loggers{});
    std::vector<double> losses;
    const auto net = std::make_shared<Net>("sequential");
    for (const auto& metrics : trainer.validate(net, both(CombineMode::kSequential))) {
      for (const auto& [name, value] : metrics) losses.push_back(value);
    }
    if (trainer.is_global_zero()) write("sequential losses", losses);
  }
  static DataLoaders both(CombineMode mode) {
    return std::make_shared<CombinedLoader>(
        CombinedLoader::Parts{{"a", loader()}, {"b", loader(24, 100)}}, mode);
  }
  void fit(const std::string& kind, const lightning::TrainerOptions& options,
           lightning::Callbacks callbacks = {}, DataLoaders train = loader()) {
    const auto net = std::make_shared<Net>(kind);
    lightning::Trainer trainer(options, std::move(callbacks), lightning::Loggers{});
    trainer.fit(net, std::move(train), loader());
    if (!trainer.is_global_zero()) return;
    std::vector<double> weights;
    for (const at::Tensor& parameter : net->parameters()) {
      const at::Tensor values = parameter.detach().contiguous();
      const double* data = values.const_data_ptr<double>();
      weights.insert(weights.end(), data, data + values.numel());
    }
    write(kind + " losses", net->losses);
    write(kind + " weights", weights);
  }
  void write(const std::string& name, const std::vector<double>& values) const {
    std::ofstream file(file_, std::ios::app);
    file.precision(std::numeric_limits<double>::max_digits10);
    file << name;
    for (const double value : values) file << ' ' << value;
    file << '\n';
  }

  std::string file_;
  lightning::TrainerOptions options_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fputs("usage: peers_program DEVICES FILE\n", stderr);
    return 2;
  }
  return lightning::run_main([&] {
    Cases(argv[1], argv[2]).run();
    return 0;
  });
}
