// Metrics in log(): their values, compared with what Lightning 2.6.6 and torchmetrics send
// (tests/golden/metrics/record_metrics.py), their states in checkpoints, and what is refused.
#include <catch2/catch.hpp>

#include <filesystem>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <lightning/callbacks/model_checkpoint.h>
#include <lightning/core/detail/metric_registry.h>
#include <lightning/metrics/aggregation.h>
#include <lightning/metrics/auroc.h>
#include <lightning/metrics/classification.h>
#include <lightning/metrics/regression.h>
#include <lightning/trainer/trainer.h>
#include <lightning/util/error.h>

#include "support/boring_module.h"
#include "support/metric_rows.h"
#include "support/temporary_folder.h"

namespace {

namespace metrics = lightning::metrics;
using Catch::Contains;
using lightning::Batch;
using lightning::DataLoader;
using lightning::MetricRegistry;
using lightning::StateDict;
using lightning_tests::Lines;
using lightning_tests::MetricRows;

/// Rows of two equal columns with the numbers from first to last, two rows in a batch.
std::shared_ptr<DataLoader> numbers(int64_t first, int64_t last) {
  const at::Tensor column = torch::arange(first, last + 1, torch::kFloat).reshape({-1, 1});
  const auto data =
      std::make_shared<lightning::TensorDataset>(Batch({{"x", column.repeat({1, 2})}}));
  return std::make_shared<DataLoader>(data, lightning::DataLoaderOptions{.batch_size = 2});
}

struct Scored {
  at::Tensor scores;
  at::Tensor target;
};

Scored scored(const Batch& batch) {
  const at::Tensor x = batch["x"].select(1, 0);
  return {(x * 7).remainder(5) / 5, x.remainder(2).to(torch::kLong)};
}

/// As MetricModule of the recording script.
class MetricModule : public BoringModule {
 public:
  lightning::StepOutput training_step(const Batch& batch, int64_t index) override {
    const auto [scores, target] = scored(batch);
    train_error->update(scores, target);
    train_accuracy->update(scores, target);
    train_auroc->update(scores, target);
    train_largest->update(batch["x"]);
    log("error", train_error, {.on_epoch = true});
    log("accuracy", *train_accuracy);
    log("auroc", train_auroc, {.on_step = false, .on_epoch = true});
    log("largest", train_largest, {.on_epoch = true});
    log("unlogged", batch["x"].mean(), {.logger = false});
    return BoringModule::training_step(batch, index);
  }
  void validation_step(const Batch& batch, int64_t) override {
    const auto [scores, target] = scored(batch);
    val_error->update(scores, target);
    val_auroc->update(scores, target);
    log("val_error", val_error, {.on_step = true});
  }
  void on_validation_epoch_end() override { log("val_auroc", val_auroc); }

  std::shared_ptr<metrics::MeanAbsoluteError> train_error =
      register_metric("train/error", std::make_shared<metrics::MeanAbsoluteError>());
  std::shared_ptr<metrics::Accuracy> train_accuracy = register_metric(
      "train/accuracy", std::make_shared<metrics::Accuracy>(metrics::ClassificationOptions{}));
  std::shared_ptr<metrics::AUROC> train_auroc =
      register_metric("train", std::make_shared<metrics::AUROC>(metrics::AUROCOptions{}));
  std::shared_ptr<metrics::MaxMetric> train_largest =
      register_metric("train/largest", std::make_shared<metrics::MaxMetric>());
  std::shared_ptr<metrics::MeanAbsoluteError> val_error =
      register_metric("val_error", std::make_shared<metrics::MeanAbsoluteError>());
  std::shared_ptr<metrics::AUROC> val_auroc =
      register_metric("val_auroc", std::make_shared<metrics::AUROC>(metrics::AUROCOptions{}));
};

/// Rows of steps of a validation are numbered by its batches, all others by completed steps.
Lines golden(const std::string& name) {
  Lines lines = lightning_tests::golden_rows("metric_objects.txt", name);
  for (std::string& line : lines) {
    const bool is_validation_step = line.find("val_error_step") != std::string::npos;
    if (!is_validation_step) line = lightning_tests::with_completed_steps(line);
  }
  return lines;
}

lightning::TrainerOptions options_in(const lightning_tests::TemporaryFolder& folder) {
  lightning::TrainerOptions options = quiet_options();
  options.default_root_dir = folder.path();
  options.max_epochs = 2;
  options.log_every_n_steps = 1;
  return options;
}

/// One metric and what the test does with it.
class OneMetric : public BoringModule {
 public:
  using Step = std::function<void(OneMetric&, const Batch&, int64_t)>;
  explicit OneMetric(Step train, Step validate = {})
      : train_(std::move(train)), validate_(std::move(validate)) {}

  lightning::StepOutput training_step(const Batch& batch, int64_t index) override {
    train_(*this, batch, index);
    return BoringModule::training_step(batch, index);
  }
  void validation_step(const Batch& batch, int64_t index) override {
    if (validate_) validate_(*this, batch, index);
  }
  std::shared_ptr<metrics::SumMetric> sum =
      register_metric("sum", std::make_shared<metrics::SumMetric>());
  std::shared_ptr<metrics::SumMetric> other =
      register_metric("other", std::make_shared<metrics::SumMetric>());

 private:
  Step train_;
  Step validate_;
};

/// What a fit of two batches throws.
std::string error_of(const std::shared_ptr<OneMetric>& module, lightning::DataLoaders val = {}) {
  const lightning_tests::TemporaryFolder folder;
  lightning::Trainer trainer(options_in(folder), {}, lightning::Loggers{});
  try {
    trainer.fit(module, numbers(1, 4), std::move(val));
  } catch (const lightning::ConfigError& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("Logged metrics reach the loggers as in Lightning", "[trainer]") {
  const lightning_tests::TemporaryFolder folder;
  lightning::TrainerOptions options = options_in(folder);
  lightning::DataLoaders val;
  std::string name;
  SECTION("at every step") { name = "every step"; }
  SECTION("at every third step") {
    name = "every third step";
    options.log_every_n_steps = 3;
  }
  SECTION("with validations in the middle of epochs") {
    name = "validation in the middle";
    options.val_check_interval = lightning::BatchLimit(2);
    options.num_sanity_val_steps = 1;
    val = numbers(1, 9);
  }
  if (val.empty()) options.limit_val_batches = lightning::BatchLimit(0);
  const auto rows = std::make_shared<MetricRows>();
  const auto module = std::make_shared<MetricModule>();
  lightning::Trainer trainer(options, {}, lightning::Loggers{rows});
  // Seven rows in batches of two: the last one has one.
  trainer.fit(module, numbers(1, 7), val);
  CHECK(rows->lines == golden(name));
  CHECK(trainer.callback_metrics().at("error_epoch") == Approx(0.628571).epsilon(1e-5));
  // The interval's end has reset them.
  CHECK(module->train_largest->compute().item<double>() ==
        -std::numeric_limits<double>::infinity());
}

TEST_CASE("A metric of an evaluation is computed over all its batches", "[trainer]") {
  const lightning_tests::TemporaryFolder folder;
  const auto module = std::make_shared<MetricModule>();
  lightning::Trainer trainer(options_in(folder), {}, lightning::Loggers{});
  // A state from before the run doesn't count.
  module->val_error->update(torch::full({2}, 100.0), torch::zeros({2}));
  for (int pass = 0; pass < 2; ++pass) {
    const auto found = trainer.validate(module, numbers(1, 9));
    REQUIRE(found.size() == 1);
    CHECK(found[0].at("val_error_epoch") == Approx(0.555556).epsilon(1e-5));
    CHECK(found[0].at("val_auroc") == Approx(0.4));
  }
}

TEST_CASE("A run resumed in the middle of an epoch has the metrics it would have had, bitwise",
          "[trainer]") {
  const lightning_tests::TemporaryFolder folder;
  const auto fit = [&](const std::filesystem::path& root, const std::string& checkpoint) {
    torch::manual_seed(1);
    lightning::TrainerOptions options = options_in(folder);
    options.default_root_dir = root;
    options.enable_checkpointing = true;
    options.val_check_interval = lightning::BatchLimit(2);
    const auto rows = std::make_shared<MetricRows>();
    lightning::Trainer trainer(
        options,
        {std::make_shared<lightning::ModelCheckpoint>(
            lightning::ModelCheckpointOptions{.save_top_k = -1, .every_n_train_steps = 1})},
        lightning::Loggers{rows});
    trainer.fit(std::make_shared<MetricModule>(), numbers(1, 7), numbers(1, 9),
                {.ckpt_path = checkpoint});
    return std::pair(rows->lines, trainer.callback_metrics());
  };
  const auto [lines, values] = fit(folder / "whole", "");
  std::vector<std::filesystem::path> checkpoints;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder / "whole")) {
    if (entry.path().extension() == ".ckpt" && !entry.is_symlink()) {
      checkpoints.push_back(entry.path());
    }
  }
  REQUIRE(checkpoints.size() == 8);
  for (size_t i = 0; i < checkpoints.size(); ++i) {
    CAPTURE(checkpoints[i]);
    const auto copy = folder / ("from" + std::to_string(i) + ".ckpt");
    std::filesystem::copy(checkpoints[i], copy, std::filesystem::copy_options::recursive);
    const auto [resumed_lines, resumed_values] =
        fit(folder / ("resumed" + std::to_string(i)), copy.string());
    REQUIRE(resumed_lines.size() <= lines.size());
    CHECK(resumed_lines ==
          Lines(lines.end() - static_cast<int64_t>(resumed_lines.size()), lines.end()));
    CHECK(resumed_values == values);
  }
}

TEST_CASE("The value over a batch is that of the updates since the last log()", "[trainer]") {
  const lightning_tests::TemporaryFolder folder;
  const auto rows = std::make_shared<MetricRows>();
  lightning::TrainerOptions options = options_in(folder);
  options.max_epochs = 1;
  lightning::Trainer trainer(options, {}, lightning::Loggers{rows});
  trainer.fit(std::make_shared<OneMetric>([](OneMetric& module, const Batch&, int64_t index) {
                module.sum->update(1.0);
                module.sum->update(static_cast<double>(10 * index));
                module.log("sum", module.sum, {.on_epoch = true});
              }),
              numbers(1, 6));
  CHECK(rows->lines == Lines{"1 sum_step=1", "2 sum_step=11", "3 sum_step=21", "3 sum_epoch=33"});
}

TEST_CASE("A fit that ends inside an epoch logs what there is and resumes with it", "[trainer]") {
  const lightning_tests::TemporaryFolder folder;
  const auto fit = [&](int64_t max_steps, const std::string& checkpoint) {
    lightning::TrainerOptions options = options_in(folder);
    options.enable_checkpointing = true;
    options.max_epochs = 1;
    options.max_steps = max_steps;
    const auto rows = std::make_shared<MetricRows>();
    lightning::Trainer trainer(options, {}, lightning::Loggers{rows});
    trainer.fit(std::make_shared<OneMetric>([](OneMetric& module, const Batch&, int64_t index) {
                  module.sum->update(static_cast<double>(index + 1));
                  module.log("sum", module.sum, {.on_step = false, .on_epoch = true});
                }),
                numbers(1, 8), {}, {.ckpt_path = checkpoint});
    return rows->lines;
  };
  CHECK(fit(3, "") == Lines{"3 sum=6"});
  CHECK(fit(-1, "last") == Lines{"4 sum=10"});
}

TEST_CASE("What can't be logged as a metric is refused with names", "[trainer]") {
  const auto refused = [](OneMetric::Step train, OneMetric::Step validate = {}) {
    const bool validates = static_cast<bool>(validate);
    return error_of(std::make_shared<OneMetric>(std::move(train), std::move(validate)),
                    validates ? lightning::DataLoaders(numbers(1, 4)) : lightning::DataLoaders());
  };
  using M = OneMetric;
  CHECK_THAT(refused([](M& module, const Batch&, int64_t) {
               metrics::SumMetric unknown;
               module.log("total", unknown);
             }),
             Contains("\"total\" is the metric SumMetric, which is not registered") &&
                 Contains("HINT: call register_metric(\"total\""));
  CHECK_THAT(refused([](M& module, const Batch&, int64_t) {
               module.log("a", module.sum);
               module.log("b", module.sum);
             }),
             Contains("\"b\" is the metric \"sum\", which was logged as \"a\""));
  CHECK_THAT(refused([](M& module, const Batch&, int64_t) {
               module.log("a", module.sum);
               module.log("a", module.other);
             }),
             Contains("\"a\" was the metric \"sum\" before and is the metric \"other\""));
  CHECK_THAT(refused([](M& module, const Batch&, int64_t) {
               module.log("a", 1.0);
               module.log("a", module.other);
             }),
             Contains("\"a\" was a value before and is the metric \"other\""));
  CHECK_THAT(refused([](M& module, const Batch&, int64_t) { module.log("a", module.sum); },
                     [](M& module, const Batch&, int64_t) {
                       if (module.global_step() > 0) module.log("val_a", module.sum);
                     }),
             Contains("\"val_a\" is the metric \"sum\", which was logged as \"a\" in a different "
                      "loop"));
  CHECK_THAT(refused([](M& module, const Batch&, int64_t) {
               module.log("a", module.sum, {.reduce_fx = lightning::ReduceFx::kMax});
             }),
             Contains("\"a\" is a metric (SumMetric) and was logged with reduce_fx max"));
  CHECK_THAT(refused([](M& module, const Batch&, int64_t) {
               module.log("a", module.sum, {.rank_zero_only = true});
             }),
             Contains("\"a\" is a metric (SumMetric) and was logged with rank_zero_only") &&
                 Contains("HINT: use sync_dist = false"));
  CHECK_THAT(refused([](M& module, const Batch&, int64_t) {
               module.log("a", std::shared_ptr<metrics::SumMetric>());
             }),
             Contains("\"a\" is a null metric"));
  CHECK_THAT(refused([](M& module, const Batch&, int64_t) { module.log("fine", module.sum); }),
             Contains("no error"));
}

TEST_CASE("A metric whose value is several numbers isn't logged", "[trainer]") {
  class PerClass : public BoringModule {
   public:
    lightning::StepOutput training_step(const Batch& batch, int64_t index) override {
      per_class->update(torch::tensor({0, 1, 2}), torch::tensor({0, 1, 1}));
      log("accuracy", per_class, {.on_step = false, .on_epoch = true});
      return BoringModule::training_step(batch, index);
    }
    std::shared_ptr<metrics::Recall> per_class =
        register_metric("recall", std::make_shared<metrics::Recall>(metrics::ClassificationOptions{
                                      .task = metrics::Task::kMulticlass,
                                      .num_classes = 3,
                                      .average = metrics::Average::kNone}));
  };
  const lightning_tests::TemporaryFolder folder;
  lightning::Trainer trainer(options_in(folder), {}, lightning::Loggers{});
  CHECK_THROWS_WITH(trainer.fit(std::make_shared<PerClass>(), numbers(1, 4)),
                    Contains("\"accuracy\" is a metric (Recall) whose value is a tensor of shape "
                             "[3], expected one element"));
}

TEST_CASE("One metric is not logged for several loaders", "[trainer]") {
  const auto module = std::make_shared<OneMetric>(
      [](OneMetric&, const Batch&, int64_t) {},
      [](OneMetric& self, const Batch&, int64_t) { self.log("val", self.sum); });
  const std::vector<std::shared_ptr<DataLoader>> two = {numbers(1, 4), numbers(1, 4)};
  CHECK_THAT(error_of(module, lightning::DataLoaders(two)),
             Contains("\"val/dataloader_idx_1\" is the metric \"sum\", which was logged as "
                      "\"val/dataloader_idx_0\""));
}

TEST_CASE("register_metric takes each metric and each name once", "[trainer]") {
  BoringModule module;
  const auto sum = module.register_metric("a", std::make_shared<metrics::SumMetric>());
  CHECK_THROWS_WITH(module.register_metric("a", std::make_shared<metrics::MaxMetric>()),
                    Contains("register_metric(\"a\") was given MaxMetric, and SumMetric has this "
                             "name already"));
  CHECK_THROWS_WITH(module.register_metric("b", sum), Contains("is registered as \"a\" already"));
  CHECK_THROWS_WITH(module.register_metric("c", std::shared_ptr<metrics::SumMetric>()),
                    Contains("register_metric(\"c\") was given a null metric"));
  CHECK_THROWS_WITH(module.register_metric("", std::make_shared<metrics::SumMetric>()),
                    Contains("an empty name"));
}

TEST_CASE("States of metrics that don't fit are refused with the metric's name", "[trainer]") {
  MetricRegistry saved;
  const auto sum = std::make_shared<metrics::SumMetric>();
  saved.add("val/acc", std::make_shared<metrics::Accuracy>(metrics::ClassificationOptions{}));
  saved.add("val", sum);
  sum->update(3.0);
  const StateDict good = saved.state_dict();

  const auto loaded = [](const StateDict& state) {
    MetricRegistry registry;
    const auto total = std::make_shared<metrics::SumMetric>();
    registry.add("val", total);
    registry.add("val/acc", std::make_shared<metrics::Accuracy>(metrics::ClassificationOptions{}));
    try {
      registry.load_state_dict(state);
    } catch (const lightning::CheckpointError& error) {
      return std::string(error.what());
    }
    return std::to_string(total->compute().item<double>());
  };
  CHECK(loaded(good) == "3.000000");

  const auto changed = [&](const char* entry, StateDict::Value value) {
    StateDict state = good;
    state.set(entry, std::move(value));
    return loaded(state);
  };
  CHECK_THAT(
      changed("0/tp", torch::zeros({2}, torch::kLong)),
      Contains("the metric \"val/acc\"") && Contains("state \"tp\" is a tensor of shape [2]"));
  CHECK_THAT(changed("0/tp", torch::zeros({1}, torch::kFloat)),
             Contains("the metric \"val/acc\"") && Contains("state \"tp\" is Float"));
  CHECK_THAT(changed("0/tp", 1.0), Contains("the metric \"val/acc\"") && Contains("\"tp\""));
  CHECK_THAT(changed("1/type", std::string("MaxMetric")),
             Contains("the metric \"val\"") && Contains("the state of \"MaxMetric\""));
  CHECK_THAT(changed("1/extra", torch::zeros({1})),
             Contains("the metric \"val\"") && Contains("entries"));
  CHECK_THAT(changed("1/batch/sum_value", torch::zeros({3}, torch::kDouble)),
             Contains("the metric \"val\""));
  CHECK_THAT(changed("names", std::vector<std::string>{"val", "val"}),
             Contains("the metric \"val\" twice"));
  CHECK_THAT(changed("names", std::vector<std::string>{"val/acc", "val", "val/acc2"}),
             Contains("3.0"));
  CHECK_THAT(changed("names", std::vector<std::string>{"x", "y", "val"}),
             Contains("the metric \"val\"") && Contains("no entry \"type\""));
  CHECK_THAT(changed("names", int64_t{3}), Contains("names"));
}

TEST_CASE("In the middle of an epoch the metrics must be those of the checkpoint", "[trainer]") {
  class Named : public BoringModule {
   public:
    explicit Named(const std::string& name)
        : sum(register_metric(name, std::make_shared<metrics::SumMetric>())) {}
    std::shared_ptr<metrics::SumMetric> sum;
  };
  const lightning_tests::TemporaryFolder folder;
  const auto fit = [&](const std::string& name, int64_t max_steps, const std::string& checkpoint) {
    lightning::TrainerOptions options = options_in(folder);
    options.enable_checkpointing = true;
    options.max_steps = max_steps;
    lightning::Trainer trainer(options, {}, lightning::Loggers{});
    trainer.fit(std::make_shared<Named>(name), numbers(1, 4), {}, {.ckpt_path = checkpoint});
  };
  fit("a", 1, "");
  CHECK_THROWS_WITH(fit("b", 2, "last"), Contains("in the checkpoint only: \"a\"; in the module "
                                                  "only: \"b\""));
  fit("a", 2, "last");
  // The end of an epoch: all of them are empty.
  fit("b", 3, "last");
}
