#include <cstdlib>
#include <iostream>
#include <memory>
#include <string_view>

#include <lightning/lightning.h>

#include "classes.h"
#include "sink.h"

/// y = x0 + x1 + x2. It leaves the optimizer to the config.
struct LinearFit : lightning::LightningModule {
  torch::nn::Linear layer{register_module("layer", torch::nn::Linear(3, 1))};

  lightning::DataLoaders train_dataloader() override {
    torch::manual_seed(1);
    const auto x = torch::randn({256, 3});
    const auto data = std::make_shared<lightning::TensorDataset>(
        lightning::Batch{{"x", x}, {"y", x.sum(1, true)}});
    return std::make_shared<lightning::DataLoader>(data,
                                                   lightning::DataLoaderOptions{.batch_size = 16});
  }
  lightning::StepOutput training_step(const lightning::Batch& batch, int64_t) override {
    const auto loss = torch::mse_loss(layer->forward(batch["x"]), batch["y"]);
    log("train_loss", loss);
    return loss;
  }
  double error() const { return (layer->weight - 1).abs().max().item<double>(); }
  void on_fit_end() override {
    print("largest error of a weight: " + std::to_string(error()));
    if (error() > 0.1) throw lightning::Error("the fit did not converge");
  }
};

void register_classes() {
  lightning::strategy_registry().add<Averaging, AveragingOptions>("averaging",
                                                                  "averages one by one");
  lightning::precision_registry().add<RoundedInputs>("rounded", "inputs rounded to bfloat16");
  lightning::cluster_registry().add<Pair>("pair", "ranks that PAIR_RANK numbers");
  lightning::callback_registry().add<BatchCounter>("BatchCounter", "counts batches");
  lightning::logger_registry().add<TextLogger, TextLoggerOptions>("TextLogger", "writes lines");
  lightning::profiler_registry().add<ActionCounter>("ActionCounter", "counts actions");
  lightning::optim::optimizer_registry().add<SignSGD, SignSGDOptions>("SignSGD", "goes by signs");
  lightning::optim::lr_scheduler_registry().add<InverseLR, InverseLROptions>("InverseLR",
                                                                             "1 / (1 + decay * n)");
}

/// The same without a config: objects, functions that make them, and classes by their names.
int fit_with_objects(lightning::CliContext&) {
  lightning::TrainerParts parts;
  parts.callbacks = {std::make_shared<BatchCounter>()};
  parts.loggers = lightning::Loggers{std::make_shared<TextLogger>(TextLoggerOptions{})};
  parts.profiler = std::make_shared<ActionCounter>();
  parts.strategy = [](const lightning::StrategyContext& context) {
    return std::make_shared<Averaging>(context, AveragingOptions{.in_double = true});
  };
  parts.precision = [](at::Device device) { return std::make_shared<RoundedInputs>(device); };
  parts.cluster = std::make_shared<Pair>();
  parts.optimizers.optimizer = "{class_path: SignSGD, init_args: {lr: 0.2}}";
  parts.optimizers.lr_scheduler = "{class_path: InverseLR, init_args: {decay: 0.2}}";
  lightning::Trainer trainer({.accelerator = "cpu", .max_epochs = 5, .log_every_n_steps = 1},
                             std::move(parts));
  trainer.fit(std::make_shared<LinearFit>());
  return 0;
}

int main(int argc, char** argv) {
  register_classes();
  add_sink();
  const int code = lightning::cli_main<LinearFit>(
      argc, argv,
      {.commands = {
           lightning::make_command("fit_with_objects", "the same from C++", fit_with_objects)}});
  if (code != 0 || argc < 2 || !std::string_view(argv[1]).starts_with("fit")) return code;
  const char* rank = std::getenv("PAIR_RANK");
  const bool is_rank_zero = rank == nullptr || std::string_view(rank) == "0";
  bool complete = true;
  for (const char* kind : {"strategy", "precision", "cluster", "logger", "callback", "optimizer",
                           "lr_scheduler", "profiler"}) {
    // Only rank 0 writes logs.
    if (traces().contains(kind) || (kind == std::string_view("logger") && !is_rank_zero)) continue;
    std::cerr << "not used: " << kind << "\n";
    complete = false;
  }
  if (!sink_got_messages()) {
    std::cerr << "not used: the spdlog sink\n";
    complete = false;
  }
  return complete ? 0 : 3;
}
