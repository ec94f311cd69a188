// The C++ of docs/, compiled: docs_test.py finds each block of the documents in a file like this
// one, line for line. What stands around the blocks makes them whole.
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <lightning/callbacks/registry.h>
#include <lightning/callbacks/weight_averaging.h>
#include <lightning/cli/lightning_cli.h>
#include <lightning/cli/parse_options.h>
#include <lightning/cli/run_main.h>
#include <lightning/config/class_spec.h>
#include <lightning/data/data_loader.h>
#include <lightning/distributed/join_world.h>
#include <lightning/strategies/distributed_data_parallel.h>
#include <torch/nn/functional/loss.h>
#include <torch/nn/modules/linear.h>
#include <torch/optim/sgd.h>

#include <lightning/core/lightning_module.h>
#include <lightning/optim/optimizers.h>

// docs/hooks.md
class Skipping : public lightning::LightningModule {
 public:
  void on_train_batch_start(const lightning::Batch&, int64_t batch_idx) override {
    if (batch_idx == batches_of_epoch(current_epoch())) trainer().skip_rest_of_epoch();
  }

 private:
  static int64_t batches_of_epoch(int64_t epoch) { return 10 + epoch; }
};

// docs/units.md
#include <lightning/nn/unit.h>

class Deep : public lightning::LightningModule {
 public:
  Deep() {
    layers_ = lightning::UnitList<torch::nn::Linear>(*this, "layers");
    for (int i = 0; i < 12; ++i) layers_.push_back(torch::nn::Linear(64, 64));
    head_ = lightning::register_unit(*this, "head", torch::nn::Linear(64, 1));
  }
  at::Tensor forward(at::Tensor x) const {
    for (const auto& layer : layers_) x = layer(x).relu();
    return head_(x);
  }

 private:
  lightning::UnitList<torch::nn::Linear> layers_;
  lightning::Unit<torch::nn::Linear> head_;
};

// docs/loaders.md
#include <lightning/core/lightning_data_module.h>
#include <lightning/data/combined_loader.h>

class TwoLoaders : public lightning::LightningDataModule {
 public:
  lightning::DataLoaders train_dataloader() override {
    return std::make_shared<lightning::CombinedLoader>(
        lightning::CombinedLoader::Parts{{"labelled", labelled_}, {"unlabelled", unlabelled_}},
        lightning::CombineMode::kMaxSizeCycle);
  }

 private:
  std::shared_ptr<lightning::DataLoader> labelled_;
  std::shared_ptr<lightning::DataLoader> unlabelled_;
};

class Scaling : public lightning::LightningDataModule {
 public:
  lightning::Batch on_after_batch_transfer(lightning::Batch batch) override {
    batch.set("image", batch["image"] / 255.0);  // on the device
    return batch;
  }
};

class HalfSupervised : public lightning::LightningModule {
 public:
  lightning::StepOutput training_step(const lightning::Batch& batch, int64_t) override {
    const at::Tensor supervised = loss(batch["labelled/image"], batch["labelled/label"]);
    return supervised + 0.1 * consistency(batch["unlabelled/image"]);
  }

 private:
  static at::Tensor loss(const at::Tensor& image, const at::Tensor& label) {
    return torch::nn::functional::cross_entropy(image.flatten(1), label);
  }
  static at::Tensor consistency(const at::Tensor& image) { return image.square().mean(); }
};

// docs/optimization.md
class Gan : public lightning::LightningModule {
 public:
  Gan() {
    register_module("generator", generator);
    register_module("critic", critic);
    set_automatic_optimization(false);
  }
  lightning::OptimizerList configure_optimizers() override {
    return std::vector<lightning::OptimizerConfig>{
        {.optimizer = std::make_shared<lightning::optim::Adam>(generator->parameters(),
                                                               torch::optim::AdamOptions(1e-3))},
        {.optimizer = std::make_shared<lightning::optim::Adam>(critic->parameters(),
                                                               torch::optim::AdamOptions(1e-3))}};
  }
  lightning::StepOutput training_step(const lightning::Batch& batch, int64_t) override {
    auto& generator_optimizer = optimizer(0);
    auto& critic_optimizer = optimizer(1);
    {
      const auto toggle = critic_optimizer.toggle();  // the generator is frozen in this scope
      critic_optimizer.zero_grad();
      manual_backward(-critic->forward(batch["x"]).mean(), lightning::Sync::kMoreFollow);
      manual_backward(critic->forward(generator->forward(batch["noise"])).mean());
      critic_optimizer.clip_gradients(1.0);
      critic_optimizer.step();
    }
    const auto toggle = generator_optimizer.toggle();
    generator_optimizer.zero_grad();
    const at::Tensor loss = -critic->forward(generator->forward(batch["noise"])).mean();
    manual_backward(loss);
    generator_optimizer.step();
    return loss;  // to be looked at by callbacks; nothing else is done with it
  }

 private:
  torch::nn::Linear generator{8, 2};
  torch::nn::Linear critic{2, 1};
};

// docs/checkpoint_format.md
#include <lightning/checkpoint/load_from_checkpoint.h>
#include <lightning/config/fields.h>

struct NetOptions {
  double dropout = 0.1;
};
LIGHTNING_FIELDS(NetOptions, LIGHTNING_FIELD(dropout, "probability"))

struct Net : lightning::LightningModule {
  using Options = NetOptions;
  explicit Net(const Options& options) { save_hyperparameters(options); }
};

at::Tensor with_other_options(const at::Tensor& input) {
  // clang-format off
  const auto model = lightning::load_from_checkpoint<Net>(
      "epoch=1-step=1200.ckpt", {.device = at::kCPU, .strict = false},
      [](NetOptions& options) { options.dropout = 0.0; });
  // clang-format on
  return model->predict_step(lightning::Batch({{"x", input}}), 0)["y"];
}

// docs/lr_schedules.md
#include <lightning/optim/lr_schedules.h>

class Scheduled : public lightning::LightningModule {
 public:
  lightning::OptimizerList configure_optimizers() override {
    namespace optim = lightning::optim;
    const auto optimizer =
        std::make_shared<optim::SGD>(parameters(), torch::optim::SGDOptions(0.1).momentum(0.9));
    const auto warmup = std::make_shared<optim::LinearLR>(optimizer, /*start_factor=*/0.1,
                                                          /*end_factor=*/1.0, /*total_iters=*/500);
    const auto plateau = std::make_shared<optim::ReduceLROnPlateau>(
        optimizer, optim::ReduceLROnPlateauOptions{.factor = 0.5, .patience = 2});
    return lightning::OptimizerConfig{
        .optimizer = optimizer,
        .lr_scheduler = {{.scheduler = warmup, .interval = lightning::Interval::kStep},
                         {.scheduler = plateau, .monitor = "val_loss"}}};
  }
};

// docs/logging.md
#include <lightning/util/format.h>
#include <lightning/util/log.h>

void report(int64_t step, double loss) {
  lightning::log_info(lightning::format("step {}: loss {:.3f}", step, loss));
  // Once for each key, whatever the values are.
  if (loss > 100) lightning::log_warning(lightning::format("loss is {}", loss), "large loss");
}

// docs/logging.md: values of a run
#include <lightning/core/grad_norm.h>

class Watched : public lightning::LightningModule {
 public:
  lightning::StepOutput training_step(const lightning::Batch& batch, int64_t) override {
    const at::Tensor output = net_->forward(batch["x"]);
    const at::Tensor loss = (output - batch["y"]).square().mean();
    log_dict({{"loss", loss}, {"rank_weight", batch.rank_weight()}}, {.on_epoch = true});
    log("started_at", started_, {.rank_zero_only = true});
    return lightning::StepOutput(loss).with({{"output", output}});
  }
  void on_train_batch_end(const lightning::StepOutput& output, const lightning::Batch&,
                          int64_t) override {
    log("largest", output.outputs["output"].max());
  }
  void validation_step(const lightning::Batch& batch, int64_t) override {
    set_step_outputs({{"output", net_->forward(batch["x"])}});
  }
  void on_validation_batch_end(const lightning::Batch&, int64_t) override {
    log("val_largest", step_outputs()["output"].max());
  }
  void on_before_optimizer_step(torch::optim::Optimizer&) override {
    log_dict(lightning::grad_norm(*this, /*norm_type=*/2));
  }

 private:
  torch::nn::Linear net_{register_module("net", torch::nn::Linear(8, 1))};
  double started_ = 0.0;
};

// docs/metrics.md
#include <lightning/metrics/auroc.h>
#include <lightning/metrics/classification.h>

namespace metrics = lightning::metrics;

class Classifier : public lightning::LightningModule {
 public:
  Classifier() { register_module("net", net_); }

  lightning::StepOutput training_step(const lightning::Batch& batch, int64_t) override {
    const at::Tensor logits = net_->forward(batch["image"]);  // [B, 10]
    train_accuracy_->update(logits, batch["label"]);
    log("train_accuracy", train_accuracy_, {.on_step = true, .on_epoch = true});
    return torch::nn::functional::cross_entropy(logits, batch["label"]);
  }
  void validation_step(const lightning::Batch& batch, int64_t) override {
    val_accuracy_->update(net_->forward(batch["image"]), batch["label"]);
    log("val_accuracy", val_accuracy_);
  }

 private:
  std::shared_ptr<metrics::Accuracy> make_accuracy(const char* name) {
    return register_metric(name, std::make_shared<metrics::Accuracy>(metrics::ClassificationOptions{
                                     .task = metrics::Task::kMulticlass, .num_classes = 10}));
  }

  torch::nn::Linear net_{784, 10};
  std::shared_ptr<metrics::Accuracy> train_accuracy_ = make_accuracy("train_accuracy");
  std::shared_ptr<metrics::Accuracy> val_accuracy_ = make_accuracy("val_accuracy");
};

double accuracy_of(torch::nn::Linear model, const std::vector<lightning::Batch>& batches) {
  // clang-format off
metrics::Accuracy accuracy({.task = metrics::Task::kMulticlass, .num_classes = 10});
for (const lightning::Batch& batch : batches) {
  accuracy.update(model->forward(batch["image"]), batch["label"]);  // [N, 10] logits, [N]
}
double result = accuracy.compute().item<double>();
accuracy.reset();
  // clang-format on
  return result;
}

double of_parts(const metrics::AUROC& first, const metrics::AUROC& second) {
  // clang-format off
metrics::AUROC whole({.thresholds = 200});
whole.merge(first.states());
whole.merge(second.states());
  // clang-format on
  return whole.compute().item<double>();
}

/// The part of the predictions that lies within a distance of the target.
class HitRate final : public lightning::metrics::Metric {
 public:
  explicit HitRate(double distance) : Metric("HitRate"), distance_(distance) {
    add_state("hits", metrics::StateReduceFx::kSum, {}, at::kLong);
    add_state("total", metrics::StateReduceFx::kSum, {}, at::kLong);
  }
  void update(const at::Tensor& preds, const at::Tensor& target) {
    const UpdateScope scope(*this, preds);
    state("hits") += ((preds - target).abs() <= distance_).sum();
    state("total") += preds.numel();
  }

 private:
  at::Tensor do_compute() const override { return state("hits").to(at::kDouble) / state("total"); }

  double distance_;
};

// docs/callbacks.md
#include <chrono>

#include <lightning/callbacks/early_stopping.h>
#include <lightning/callbacks/finetuning.h>
#include <lightning/callbacks/gradient_accumulation_scheduler.h>
#include <lightning/callbacks/lambda_callback.h>
#include <lightning/callbacks/prediction_writer.h>
#include <lightning/callbacks/timer.h>
#include <lightning/trainer/trainer.h>

class UnfreezesEncoder : public lightning::BaseFinetuning {
 public:
  void freeze_before_training(lightning::LightningModule& module) override {
    freeze(*module.named_children()["encoder"]);
  }
  void finetune_function(lightning::LightningModule& module, int64_t epoch,
                         torch::optim::Optimizer& optimizer) override {
    if (epoch != 3) return;
    unfreeze_and_add_param_group(*module.named_children()["encoder"], optimizer, {.lr = 1e-4});
  }
};

class CountsAnswers : public lightning::PredictionWriter {
 public:
  CountsAnswers() : PredictionWriter({.write_interval = lightning::WriteInterval::kEpoch}) {}
  void write_on_epoch_end(lightning::TrainerContext& trainer, lightning::LightningModule&,
                          const lightning::Predictions& predictions) override {
    int64_t answers = 0;
    for (int64_t i = 0; i < predictions.size(); ++i) answers += predictions.read(i)["y"].size(0);
    trainer.print(lightning::format("{} answers", answers));
  }
};

lightning::Callbacks callbacks_of_the_program() {
  // clang-format off
lightning::Callbacks callbacks = {
    std::make_shared<lightning::EarlyStopping>(
        lightning::EarlyStoppingOptions{.monitor = "val_loss", .patience = 5}),
    std::make_shared<lightning::Timer>(
        lightning::TimerOptions{.duration = std::chrono::hours(12)}),
    std::make_shared<lightning::GradientAccumulationScheduler>(
        lightning::GradientAccumulationSchedulerOptions{.scheduling = {{0, 1}, {4, 2}}})};
auto reports = std::make_shared<lightning::LambdaCallback>(lightning::LambdaHooks{
    .on_train_epoch_end = [](lightning::TrainerContext& trainer, lightning::LightningModule&) {
      trainer.print(lightning::format("epoch {} is over", trainer.current_epoch()));
    }});
  // clang-format on
  callbacks.push_back(std::make_shared<UnfreezesEncoder>());
  callbacks.push_back(std::make_shared<CountsAnswers>());
  callbacks.push_back(std::move(reports));
  return callbacks;
}

// docs/config.md
#include <lightning/config/fields.h>

namespace my_project {

enum class Pooling { kMean, kMax };
LIGHTNING_ENUM(Pooling, LIGHTNING_ENUMERATOR(kMean, "mean"), LIGHTNING_ENUMERATOR(kMax, "max"));

struct ClassifierOptions {
  double learning_rate = 1e-3;
  Pooling pooling = Pooling::kMean;
  std::optional<int64_t> num_layers = std::nullopt;
};
LIGHTNING_FIELDS(ClassifierOptions, LIGHTNING_FIELD(learning_rate, "step size of AdamW"),
                 LIGHTNING_FIELD(pooling, "how tokens become one vector"),
                 LIGHTNING_FIELD(num_layers, "layers to use; null: all"));

}  // namespace my_project

namespace my_project {

class Classifier : public lightning::LightningModule {
 public:
  using Options = ClassifierOptions;
  explicit Classifier(const Options&) {}
  std::string classify(const std::string& text) { return text; }
};

class Documents : public lightning::LightningDataModule {
 public:
  using Options = ClassifierOptions;
  explicit Documents(const Options&) {}
};

struct AskOptions {
  std::string text = "";
};
LIGHTNING_FIELDS(AskOptions, LIGHTNING_FIELD(text, "what is classified"));

struct ShowExamplesOptions {
  int64_t count = 3;
};
LIGHTNING_FIELDS(ShowExamplesOptions, LIGHTNING_FIELD(count, "how many are printed"));

class ShowExamples : public lightning::Callback {
 public:
  explicit ShowExamples(const ShowExamplesOptions&) {}
};

lightning::CliSettings settings_of_the_program() {
  // clang-format off
lightning::CliSettings settings{
    .description = "Classifies documents.",
    .defaults = "trainer: {max_epochs: 3, precision: bf16-mixed}",
    .commands = {lightning::make_command<AskOptions>(
        "ask", "classifies one text",
        [](lightning::CliContext& context, const AskOptions& options) {
          context.module_from_checkpoint();
          std::puts(context.module_as<Classifier>()->classify(options.text).c_str());
          return 0;
        })}};
  // clang-format on
  return settings;
}

void add_classes() {
  // clang-format off
lightning::callback_registry().add<ShowExamples, ShowExamplesOptions>(
    "ShowExamples", "prints a few predictions");
  // clang-format on
}

class Augmentation {
 public:
  virtual ~Augmentation() = default;
};

// clang-format off
lightning::config::Registry<Augmentation>& augmentation_registry() {
  static lightning::config::Registry<Augmentation> registry("augmentation");
  return registry;
}

struct ImageOptions {
  lightning::config::SpecOf<augmentation_registry> augmentation = "crop";
};
LIGHTNING_FIELDS(ImageOptions, LIGHTNING_FIELD(augmentation, "what is done to each image"));
// clang-format on

int program_without_a_trainer(int argc, char** argv) {
  using Options = AskOptions;
  // clang-format off
const auto options = lightning::parse_options<Options>(argc, argv, "Says what the program does.");
if (!options) return 0;  // it has printed the help or the config
  // clang-format on
  return static_cast<int>(options->text.size());
}

// docs/weight_averaging.md
/// The mean of the weights after every 100th step, from the 1000th on.
class EveryHundredth : public lightning::WeightAveraging {
 public:
  bool should_update(std::optional<int64_t> step_idx, std::optional<int64_t>) const override {
    return step_idx && *step_idx >= 1000 && *step_idx % 100 == 0;
  }
};

// docs/distributed.md
int loop_of_its_own(torch::nn::Linear model, lightning::DataLoader& loader,
                    torch::optim::SGD& optimizer) {
  // clang-format off
lightning::run_main([&] {                                      // errors, exit codes, the end of all ranks
  const auto world = lightning::join_world({.devices = "2"});  // rank(), size(), device(), group()
  lightning::DistributedDataParallel ddp(model.ptr(), *world); // any torch::nn::Module
  loader.set_shard({.rank = world->rank(), .world_size = world->size()});
  lightning::Batch batch;
  const auto loss = batch.rank_weight() * torch::nll_loss(model->forward(batch["x"]), batch["y"]);
  optimizer.zero_grad();
  ddp.backward(loss);                                          // gradients: the mean over ranks
  optimizer.step();
    // clang-format on
    return 0;
  });
  return 0;
}

}  // namespace my_project

int main(int argc, char** argv) {
  return lightning::cli_main<my_project::Classifier, my_project::Documents>(argc, argv);
}
