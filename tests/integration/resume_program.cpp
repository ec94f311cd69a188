// A program with everything that a resume must get right: dropout, random augmentation in workers,
// accumulation, schedules per step and per epoch, validation inside epochs, values and metrics over
// epochs, bf16.
#include <csignal>
#include <cstdio>
#include <thread>

#include <lightning/lightning.h>
#include <lightning/util/error.h>

struct ResumeModelOptions {
  double learning_rate = 0.01;
  /// lightning's: adam, adamw, sgd; LibTorch's: torch_adam, torch_adamw, torch_sgd, torch_rmsprop,
  /// torch_adagrad.
  std::string optimizer = "adamw";
  /// step: linear warmup and decay; epoch: halved every second epoch; plateau: three schedules of
  /// one optimizer, two of which watch a metric; rank_plateau: one that watches a metric of each
  /// rank.
  std::string schedule = "step";
  /// Sends SIGINT or SIGTERM to itself in this step; 0: never.
  int64_t signal_step = 0;
  /// The same in this batch of all validations, the sanity check's 2 included; 0: never.
  int64_t signal_validation_batch = 0;
  int64_t signal = 2;
  /// Says "stalled" on stdout in this step and then hangs for minutes; 0: never.
  int64_t stall_step = 0;
};
LIGHTNING_FIELDS(ResumeModelOptions, LIGHTNING_FIELD(learning_rate, "learning rate"),
                 LIGHTNING_FIELD(optimizer, "which optimizer"),
                 LIGHTNING_FIELD(schedule, "step, epoch, plateau or rank_plateau"),
                 LIGHTNING_FIELD(signal_step, "step in which a signal comes"),
                 LIGHTNING_FIELD(signal_validation_batch, "validation batch in which it comes"),
                 LIGHTNING_FIELD(signal, "number of that signal"),
                 LIGHTNING_FIELD(stall_step, "step that hangs"))

class ResumeModel : public lightning::LightningModule {
 public:
  using Options = ResumeModelOptions;
  explicit ResumeModel(Options options) : options_(std::move(options)) {
    using namespace torch::nn;
    net_ = register_module("net", Sequential(Linear(8, 16), GELU(), Dropout(0.3), Linear(16, 1)));
    save_hyperparameters(options_);
  }

  lightning::StepOutput training_step(const lightning::Batch& batch, int64_t) override {
    // In the first micro-batch of the window.
    if (options_.signal_step > 0 && global_step() + 1 == options_.signal_step &&
        !std::exchange(signalled_, true)) {
      ::raise(static_cast<int>(options_.signal));
    }
    if (options_.stall_step > 0 && global_step() + 1 == options_.stall_step) {
      std::puts("stalled");
      std::fflush(stdout);
      std::this_thread::sleep_for(std::chrono::minutes(5));
    }
    const at::Tensor output = net_->forward(batch["x"]).to(torch::kFloat);
    const auto loss = torch::mse_loss(output, batch["y"]);
    train_error_->update(output.detach(), batch["y"]);
    log("train_error", train_error_, {.on_step = true, .on_epoch = true});
    log("train_loss", loss, {.on_step = true, .on_epoch = true, .prog_bar = true});
    if (options_.schedule == "rank_plateau") {
      // Falls on rank 0, rises on others.
      const auto step = static_cast<double>(global_step());
      log("rank_loss", trainer().is_global_zero() ? 1.0 / (1.0 + step) : 1.0 + step);
    }
    return loss;
  }
  void validation_step(const lightning::Batch& batch, int64_t) override {
    if (++validation_batches_ == options_.signal_validation_batch) {
      ::raise(static_cast<int>(options_.signal));
    }
    const at::Tensor output = net_->forward(batch["x"]).to(torch::kFloat);
    log("val_loss", torch::mse_loss(output, batch["y"]), {.on_step = true});
    val_auroc_->update(output, (batch["y"] > 0.0).to(torch::kLong));
    log("val_auroc", val_auroc_);
  }
  lightning::OptimizerList configure_optimizers() override {
    const std::shared_ptr<torch::optim::Optimizer> optimizer = make_optimizer();
    if (options_.schedule.ends_with("plateau")) {
      return lightning::OptimizerConfig{.optimizer = optimizer,
                                        .lr_scheduler = plateaus(optimizer)};
    }
    if (options_.schedule == "epoch") {
      return lightning::OptimizerConfig{
          .optimizer = optimizer,
          .lr_scheduler = {
              {.scheduler = std::make_shared<lightning::optim::StepLR>(optimizer, 1, 0.5),
               .interval = lightning::Interval::kEpoch,
               .frequency = 2}}};
    }
    return lightning::OptimizerConfig{
        .optimizer = optimizer,
        .lr_scheduler = {{.scheduler = std::make_shared<lightning::optim::LinearWarmupLR>(
                              optimizer, 2, trainer().estimated_stepping_batches()),
                          .interval = lightning::Interval::kStep}}};
  }

  void on_train_end() override {
    if (options_.schedule != "rank_plateau") return;
    const double rate = lr_scheduler().get_last_lr().front();
    for (const std::string& other : trainer().all_gather_bytes("rates", std::to_string(rate))) {
      if (other != std::to_string(rate)) throw lightning::DataError("ranks have different rates");
    }
  }

 private:
  lightning::LRSchedulers plateaus(const std::shared_ptr<torch::optim::Optimizer>& optimizer) {
    const auto plateau = [&](lightning::Interval interval, const std::string& monitor) {
      return lightning::LRSchedulerConfig{
          .scheduler = std::make_shared<lightning::optim::ReduceLROnPlateau>(
              optimizer, lightning::optim::ReduceLROnPlateauOptions{.factor = 0.8, .patience = 0}),
          .interval = interval,
          .monitor = monitor};
    };
    if (options_.schedule == "rank_plateau") {
      return plateau(lightning::Interval::kStep, "rank_loss");
    }
    return {{.scheduler = std::make_shared<lightning::optim::LinearLR>(optimizer, 0.1, 1.0, 8),
             .interval = lightning::Interval::kStep},
            plateau(lightning::Interval::kStep, "val_loss_epoch"),
            plateau(lightning::Interval::kEpoch, "train_loss_epoch")};
  }

  std::shared_ptr<torch::optim::Optimizer> make_optimizer() {
    using namespace torch::optim;
    const double lr = options_.learning_rate;
    if (options_.optimizer == "torch_adam") {
      return std::make_shared<Adam>(parameters(), AdamOptions(lr));
    }
    if (options_.optimizer == "torch_adamw") {
      return std::make_shared<AdamW>(parameters(), AdamWOptions(lr));
    }
    if (options_.optimizer == "torch_sgd") {
      return std::make_shared<SGD>(parameters(), SGDOptions(lr).momentum(0.9));
    }
    if (options_.optimizer == "torch_rmsprop") {
      return std::make_shared<RMSprop>(parameters(), RMSpropOptions(lr));
    }
    if (options_.optimizer == "torch_adagrad") {
      return std::make_shared<Adagrad>(parameters(), AdagradOptions(lr));
    }
    if (options_.optimizer == "adam") {
      return std::make_shared<lightning::optim::Adam>(parameters(), AdamOptions(lr));
    }
    if (options_.optimizer == "sgd") {
      return std::make_shared<lightning::optim::SGD>(parameters(), SGDOptions(lr).momentum(0.9));
    }
    if (options_.optimizer == "adamw") {
      return std::make_shared<lightning::optim::AdamW>(parameters(), AdamWOptions(lr));
    }
    throw lightning::ConfigError("unknown optimizer " + options_.optimizer);
  }

  Options options_;
  torch::nn::Sequential net_{nullptr};
  std::shared_ptr<lightning::metrics::MeanAbsoluteError> train_error_ =
      register_metric("train_error", std::make_shared<lightning::metrics::MeanAbsoluteError>());
  std::shared_ptr<lightning::metrics::AUROC> val_auroc_ = register_metric(
      "val_auroc", std::make_shared<lightning::metrics::AUROC>(lightning::metrics::AUROCOptions{}));
  bool signalled_ = false;
  int64_t validation_batches_ = 0;
};

/// Samples are made from their index and random noise of their own in each epoch.
class NoisyLine : public lightning::Dataset {
 public:
  explicit NoisyLine(int64_t size) : size_(size) {}
  int64_t size() const override { return size_; }
  lightning::Batch get(int64_t index, lightning::SampleContext& context) override {
    const auto x = torch::linspace(-1, 1, 8) * (static_cast<double>(index) / 10.0) +
                   0.1 * torch::randn({8}, context.generator());
    return lightning::Batch({{"x", x}, {"y", x.sum().sin().reshape({1})}});
  }

 private:
  int64_t size_;
};

struct ResumeDataOptions {
  int64_t num_workers = 2;
};
LIGHTNING_FIELDS(ResumeDataOptions, LIGHTNING_FIELD(num_workers, "threads"))

class ResumeData : public lightning::LightningDataModule {
 public:
  using Options = ResumeDataOptions;
  explicit ResumeData(Options options) : options_(options) { save_hyperparameters(options); }
  lightning::DataLoaders train_dataloader() override { return loader(22, true); }
  lightning::DataLoaders val_dataloader() override { return loader(6, false); }

 private:
  lightning::DataLoaders loader(int64_t size, bool shuffle) const {
    return std::make_shared<lightning::DataLoader>(
        std::make_shared<NoisyLine>(size),
        lightning::DataLoaderOptions{
            .batch_size = 2, .shuffle = shuffle, .num_workers = options_.num_workers});
  }

  Options options_;
};

int main(int argc, char** argv) { return lightning::cli_main<ResumeModel, ResumeData>(argc, argv); }
