// Everything that has a state at once, in a training that is killed at one of its hooks
// (kill_test.py): several schedules, metrics over ranks, three validation loaders, a window that
// changes between epochs, and whatever callbacks the config names. Optimized automatically, by one
// optimizer whose backbone is added later, or manually, by two.
#include <csignal>
#include <cstdio>

#include <lightning/lightning.h>

namespace metrics = lightning::metrics;

struct KillModelOptions {
  bool manual = false;
  double dropout = 0.0;
  /// Number of the hook, counted in this process from 1, in which SIGKILL comes; 0: never.
  int64_t kill_at = 0;
};
LIGHTNING_FIELDS(KillModelOptions, LIGHTNING_FIELD(manual, "optimize manually"),
                 LIGHTNING_FIELD(dropout, "probability"),
                 LIGHTNING_FIELD(kill_at, "number of the hook in which SIGKILL comes"))

class KillModel : public lightning::LightningModule {
 public:
  using Options = KillModelOptions;
  explicit KillModel(const Options& options) : options_(options) {
    using namespace torch::nn;
    save_hyperparameters(options_);
    set_automatic_optimization(!options_.manual);
    backbone_ =
        register_module("backbone", Sequential(Linear(8, 16), GELU(), Dropout(options_.dropout)));
    head_ = register_module("head", Linear(16, 1));
    for (size_t i = 0; i < validation_errors_.size(); ++i) {
      validation_errors_[i] = register_metric("validation_error_" + std::to_string(i),
                                              std::make_shared<metrics::MeanAbsoluteError>());
    }
  }

  lightning::StepOutput training_step(const lightning::Batch& batch, int64_t batch_idx) override {
    pass();
    const at::Tensor predicted = predict(batch);
    const at::Tensor loss = torch::mse_loss(predicted, batch["y"]);
    error_->update(predicted.detach(), batch["y"]);
    log("train_error", error_, {.on_step = true, .on_epoch = true});
    log("train_loss", loss, {.on_step = true, .on_epoch = true, .sync_dist = true});
    if (options_.manual) optimize(loss, batch_idx);
    return loss;
  }
  void validation_step(const lightning::Batch& batch, int64_t) override {
    pass();
    const at::Tensor predicted = predict(batch);
    const auto& error = validation_errors_[static_cast<size_t>(batch.dataloader_idx())];
    error->update(predicted, batch["y"]);
    log("val_error", error);
    log("val_loss", torch::mse_loss(predicted, batch["y"]));
  }
  void on_train_batch_end(const lightning::StepOutput&, const lightning::Batch&, int64_t) override {
    pass();
  }
  void on_validation_epoch_end() override { pass(); }
  void on_save_checkpoint(lightning::StateDict&) override { pass(); }
  void on_train_epoch_end() override {
    pass();
    if (!options_.manual) return;
    lr_scheduler(1).step(trainer().callback_metrics().at("val_loss/dataloader_idx_1"));
  }
  void on_train_end() override { std::printf("hooks %lld\n", static_cast<long long>(hooks_)); }

  lightning::OptimizerList configure_optimizers() override {
    using lightning::Interval;
    const lightning::optim::ReduceLROnPlateauOptions plateau{.factor = 0.5, .patience = 0};
    if (options_.manual) {
      const auto first = std::make_shared<lightning::optim::AdamW>(
          backbone_->parameters(), torch::optim::AdamWOptions(0.02));
      const auto second = std::make_shared<lightning::optim::SGD>(
          head_->parameters(), torch::optim::SGDOptions(0.05).momentum(0.9));
      return std::vector<lightning::OptimizerConfig>{
          {.optimizer = first,
           .lr_scheduler = std::make_shared<lightning::optim::ExponentialLR>(first, 0.95)},
          {.optimizer = second,
           .lr_scheduler = std::make_shared<lightning::optim::ReduceLROnPlateau>(second, plateau)}};
    }
    std::vector<at::Tensor> trained;
    for (const at::Tensor& parameter : parameters()) {
      if (parameter.requires_grad()) trained.push_back(parameter);
    }
    const auto optimizer =
        std::make_shared<lightning::optim::AdamW>(trained, torch::optim::AdamWOptions(0.02));
    return lightning::OptimizerConfig{
        .optimizer = optimizer,
        .lr_scheduler = {
            {.scheduler = std::make_shared<lightning::optim::ExponentialLR>(optimizer, 0.95),
             .interval = Interval::kStep},
            {.scheduler = std::make_shared<lightning::optim::ReduceLROnPlateau>(optimizer, plateau),
             .monitor = "val_loss/dataloader_idx_1"}}};
  }

 private:
  at::Tensor predict(const lightning::Batch& batch) {
    return head_->forward(backbone_->forward(batch["x"]));
  }

  /// Two batches of a step from the second epoch on.
  void optimize(const at::Tensor& loss, int64_t batch_idx) {
    const int64_t window = current_epoch() == 0 ? 1 : 2;
    const int64_t batches = trainer().num_training_batches().value();
    const bool is_last = (batch_idx + 1) % window == 0 || batch_idx + 1 == batches;
    manual_backward(loss / static_cast<double>(window),
                    is_last ? lightning::Sync::kLast : lightning::Sync::kMoreFollow);
    if (!is_last) return;
    for (size_t i = 0; i < 2; ++i) {
      optimizer(i).clip_gradients(1.0);
      optimizer(i).step();
      optimizer(i).zero_grad();
    }
    lr_scheduler(0).step();
  }

  void pass() {
    if (++hooks_ == options_.kill_at) ::raise(SIGKILL);
  }

  Options options_;
  torch::nn::Sequential backbone_{nullptr};
  torch::nn::Linear head_{nullptr};
  std::shared_ptr<metrics::MeanSquaredError> error_ =
      register_metric("train_error", std::make_shared<metrics::MeanSquaredError>());
  std::array<std::shared_ptr<metrics::MeanAbsoluteError>, 3> validation_errors_;
  int64_t hooks_ = 0;
};

/// A line with noise that is new in each epoch.
class NoisyLine : public lightning::Dataset {
 public:
  explicit NoisyLine(int64_t size) : size_(size) {}
  int64_t size() const override { return size_; }
  lightning::Batch get(int64_t index, lightning::SampleContext& context) override {
    const at::Tensor x =
        torch::linspace(-1, 1, 8, torch::kFloat64) * (static_cast<double>(index) / 10.0) +
        0.1 * torch::randn({8}, context.generator(), torch::kFloat64);
    return lightning::Batch({{"x", x}, {"y", x.sum().sin().reshape({1})}});
  }

 private:
  int64_t size_;
};

struct KillDataOptions {
  int64_t num_workers = 1;
};
LIGHTNING_FIELDS(KillDataOptions, LIGHTNING_FIELD(num_workers, "threads"))

class KillData : public lightning::LightningDataModule {
 public:
  using Options = KillDataOptions;
  explicit KillData(Options options) : options_(options) { save_hyperparameters(options); }
  lightning::DataLoaders train_dataloader() override { return loader(40, true); }
  lightning::DataLoaders val_dataloader() override {
    return std::vector{loader(12, false), loader(7, false), loader(6, false)};
  }

 private:
  std::shared_ptr<lightning::DataLoader> loader(int64_t size, bool shuffle) const {
    return std::make_shared<lightning::DataLoader>(
        std::make_shared<NoisyLine>(size),
        lightning::DataLoaderOptions{
            .global_batch_size = 6, .shuffle = shuffle, .num_workers = options_.num_workers});
  }

  Options options_;
};

int main(int argc, char** argv) { return lightning::cli_main<KillModel, KillData>(argc, argv); }
