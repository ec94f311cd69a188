// When a fit steps its LR schedules, what it refuses, and what a resumed run has of them.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <catch2/catch.hpp>

#include <lightning/callbacks/early_stopping.h>
#include <lightning/callbacks/model_checkpoint.h>
#include <lightning/checkpoint/checkpoint.h>
#include <lightning/optim/lr_schedules.h>
#include <lightning/trainer/trainer.h>
#include <lightning/util/error.h>

#include "support/boring_module.h"
#include "support/captured_stderr.h"
#include "support/temporary_folder.h"

namespace {

namespace fs = std::filesystem;
using namespace lightning::optim;
using lightning::Interval;
using lightning::LRSchedulerConfig;
using lightning::LRSchedulers;
using lightning::TrainerOptions;
using OptimizerPtr = std::shared_ptr<torch::optim::Optimizer>;
using MakeSchedules = std::function<LRSchedulers(OptimizerPtr)>;

/// A line fitted to a curve, as in tests/golden/optimization/record_schedules.py.
class Fitted : public lightning::LightningModule {
 public:
  explicit Fitted(MakeSchedules make) : make_(std::move(make)) {
    layer = register_module("layer", torch::nn::Linear(2, 1));
    const torch::NoGradGuard no_grad;
    int64_t i = 0;
    for (const at::Tensor& parameter : parameters()) {
      parameter.copy_(torch::arange(parameter.numel()).add(++i).sin().view_as(parameter));
    }
    to(torch::kFloat64);
  }

  at::Tensor loss(const lightning::Batch& batch) {
    const at::Tensor x = batch["x"].to(torch::kFloat64);
    const at::Tensor target = (3.0 * x.narrow(1, 0, 1)).sin() + x.narrow(1, 1, 1).square();
    return (layer->forward(x) - target).square().mean();
  }
  lightning::StepOutput training_step(const lightning::Batch& batch, int64_t) override {
    const at::Tensor value = loss(batch);
    log("train_loss", value);
    losses.push_back(value.item<double>());
    rates.push_back(rate());
    return value;
  }
  void validation_step(const lightning::Batch& batch, int64_t) override {
    log("val_loss", loss(batch));
  }
  lightning::OptimizerList configure_optimizers() override {
    optimizer_ = std::make_shared<SGD>(parameters(), torch::optim::SGDOptions(0.05).momentum(0.9));
    return lightning::OptimizerConfig{.optimizer = optimizer_, .lr_scheduler = make_(optimizer_)};
  }
  void lr_scheduler_step(LRScheduler& scheduler, std::optional<double> metric) override {
    if (metric) judged.push_back(*metric);
    LightningModule::lr_scheduler_step(scheduler, metric);
  }
  double rate() const {
    return std::as_const(*optimizer_).param_groups().front().options().get_lr();
  }
  at::Tensor weights() const {
    return torch::cat({layer->weight.detach().flatten(), layer->bias.detach().flatten()});
  }

  std::vector<double> losses, rates;  // of each batch
  std::vector<double> judged;         // what schedules were given
  torch::nn::Linear layer{nullptr};

 private:
  MakeSchedules make_;
  OptimizerPtr optimizer_;
};

struct Run {
  std::shared_ptr<Fitted> module;
  std::string output;
  fs::path run_dir;
};

TrainerOptions options_of(int64_t max_epochs) {
  TrainerOptions options = quiet_options();
  options.max_epochs = max_epochs;
  options.num_sanity_val_steps = 0;
  return options;
}

/// Trains on and validates with 5 batches. In a `folder` there is a checkpoint of each step, and
/// the last of those that are there already is resumed from.
Run fit(const MakeSchedules& make, TrainerOptions options, const fs::path& folder = {},
        int64_t samples = 10, bool validates = true) {
  const lightning_tests::TemporaryFolder own_folder;
  options.enable_checkpointing = !folder.empty();
  options.default_root_dir = folder.empty() ? own_folder.path() : folder;
  lightning::Callbacks callbacks;
  if (!folder.empty()) {
    callbacks.push_back(std::make_shared<lightning::ModelCheckpoint>(
        lightning::ModelCheckpointOptions{.save_top_k = -1, .every_n_train_steps = 1}));
  }
  Run run{std::make_shared<Fitted>(make), {}, {}};
  const lightning_tests::CapturedStderr output;
  lightning::Trainer trainer(options, std::move(callbacks), lightning::Loggers{});
  const bool resumes = !folder.empty() && !fs::is_empty(folder);
  lightning::DataLoaders validation;
  if (validates) validation = lightning::DataLoaders(boring_loader(samples));
  trainer.fit(run.module, boring_loader(samples), validation, {.ckpt_path = resumes ? "last" : ""});
  run.output = output.text();
  run.run_dir = trainer.run_dir();
  return run;
}

LRSchedulerConfig plateau(const OptimizerPtr& optimizer, Interval interval,
                          const std::string& monitor, bool strict = true) {
  return {.scheduler = std::make_shared<ReduceLROnPlateau>(
              optimizer, ReduceLROnPlateauOptions{.factor = 0.5, .patience = 0, .threshold = 0.01}),
          .interval = interval,
          .monitor = monitor,
          .strict = strict};
}

MakeSchedules only_plateau(Interval interval, const std::string& monitor, bool strict = true) {
  return [=](const OptimizerPtr& optimizer) {
    return LRSchedulers(plateau(optimizer, interval, monitor, strict));
  };
}

MakeSchedules one_cycle(int64_t total_steps) {
  return [=](const OptimizerPtr& optimizer) -> LRSchedulers {
    return {{.scheduler = std::make_shared<OneCycleLR>(
                 optimizer, OneCycleLROptions{.max_lr = 0.1, .total_steps = total_steps}),
             .interval = Interval::kStep}};
  };
}

lightning::StateDict state_in(const fs::path& checkpoint) {
  return lightning::Checkpoint::read(checkpoint).state.nested("lr_scheduler");
}

/// Expects a ConfigError before the first batch, with a hint.
void refused(const MakeSchedules& make, const std::string& text,
             const TrainerOptions& options = options_of(1)) {
  const auto module = std::make_shared<Fitted>(make);
  CHECK_THROWS_WITH(lightning::Trainer(options, {}, lightning::Loggers{})
                        .fit(module, boring_loader(10), boring_loader(10)),
                    Catch::Contains(text) && Catch::Contains("HINT"));
  CHECK(module->losses.empty());
}

struct Golden {
  std::vector<double> losses, rates;
};

Golden golden(const std::string& name) {
  std::ifstream stream("tests/golden/optimization/schedules.txt");
  REQUIRE(stream);
  Golden found;
  bool is_case = false;
  for (std::string line; std::getline(stream, line);) {
    std::istringstream numbers(line);
    double loss = 0.0;
    double rate = 0.0;
    if (!(numbers >> loss >> rate)) {
      is_case = line == name;
    } else if (is_case) {
      found.losses.push_back(loss);
      found.rates.push_back(rate);
    }
  }
  REQUIRE(found.losses.size() == 100);
  return found;
}

void check_like_lightning(const std::string& name, const MakeSchedules& make) {
  const Golden expected = golden(name);
  const Run run = fit(make, options_of(5), {}, 40);
  REQUIRE(run.module->losses.size() == expected.losses.size());
  for (size_t i = 0; i < expected.losses.size(); ++i) {
    CAPTURE(name, i);
    CHECK(run.module->losses[i] == Approx(expected.losses[i]).epsilon(1e-10));
    CHECK(run.module->rates[i] == Approx(expected.rates[i]).epsilon(1e-10));
  }
}

}  // namespace

TEST_CASE("A training with two schedules has Lightning's losses and rates", "[trainer]") {
  check_like_lightning("per epoch", [](const OptimizerPtr& optimizer) -> LRSchedulers {
    return {{.scheduler = std::make_shared<ExponentialLR>(optimizer, 0.99),
             .interval = Interval::kStep},
            plateau(optimizer, Interval::kEpoch, "val_loss")};
  });
  check_like_lightning("per step", [](const OptimizerPtr& optimizer) -> LRSchedulers {
    return {{.scheduler = std::make_shared<LinearLR>(optimizer, 0.1, 1.0, 30),
             .interval = Interval::kStep},
            {.scheduler = std::make_shared<ReduceLROnPlateau>(
                 optimizer, ReduceLROnPlateauOptions{.factor = 0.7, .patience = 6, .cooldown = 2}),
             .interval = Interval::kStep,
             .frequency = 2,
             .monitor = "train_loss"}};
  });
}

TEST_CASE("The checkpoint of an epoch holds the schedule after its step", "[trainer]") {
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options = options_of(2);
  options.enable_checkpointing = true;
  options.default_root_dir = folder.path();
  const auto checkpoint =
      std::make_shared<lightning::ModelCheckpoint>(lightning::ModelCheckpointOptions{
          .filename = "{epoch}", .monitor = "val_loss", .save_top_k = -1});
  lightning::Trainer trainer(options, {checkpoint}, lightning::Loggers{});
  const auto module = std::make_shared<Fitted>(only_plateau(Interval::kEpoch, "val_loss"));
  trainer.fit(module, boring_loader(10), boring_loader(10));
  REQUIRE(module->judged.size() == 2);
  const auto state = [&](int64_t epoch) {
    return state_in(trainer.run_dir() / "checkpoints" /
                    ("epoch=" + std::to_string(epoch) + ".ckpt"));
  };
  for (const int64_t epoch : {0, 1}) {
    CHECK(state(epoch).get<int64_t>("0/step_count") == epoch + 1);
  }
  CHECK(state(0).get<double>("0/best") == module->judged[0]);
}

TEST_CASE("A plateau per step waits for the first validation and judges each value once",
          "[trainer]") {
  TrainerOptions options = options_of(2);
  SECTION("validated once in an epoch") {
    const Run run = fit(only_plateau(Interval::kStep, "val_loss"), options);
    CHECK(run.module->judged.size() == 2);
    CHECK_THAT(run.output, !Catch::Contains("no metric"));
  }
  SECTION("validated inside of windows") {
    options.val_check_interval = 1;
    options.accumulate_grad_batches = 2;
    // The windows of an epoch end with batches 2, 4 and 5.
    CHECK(fit(only_plateau(Interval::kStep, "val_loss"), options).module->judged.size() == 6);
  }
  SECTION("a metric of training") {
    const Run run = fit(only_plateau(Interval::kStep, "train_loss"), options);
    CHECK(run.module->judged == run.module->losses);
  }
  SECTION("validated in every second epoch") {
    options = options_of(4);
    options.check_val_every_n_epoch = 2;
    CHECK(fit(only_plateau(Interval::kStep, "val_loss"), options).module->judged.size() == 2);
    // One per epoch steps in each epoch after the first value, as in Lightning.
    CHECK(fit(only_plateau(Interval::kEpoch, "val_loss"), options).module->judged.size() == 3);
  }
}

TEST_CASE("An epoch that is cut short is not judged", "[trainer]") {
  TrainerOptions options = options_of(3);
  options.max_steps = 8;
  CHECK(fit(only_plateau(Interval::kEpoch, "val_loss"), options).module->judged.size() == 1);
}

TEST_CASE("A monitor that nothing logs ends a fit with what is logged", "[trainer]") {
  for (const Interval interval : {Interval::kEpoch, Interval::kStep}) {
    CHECK_THROWS_WITH(fit(only_plateau(interval, "valid_loss"), options_of(2)),
                      Catch::Contains("ReduceLROnPlateau: monitor is \"valid_loss\"") &&
                          Catch::Contains("train_loss") && Catch::Contains("val_loss") &&
                          Catch::Contains("HINT"));
    const Run run = fit(only_plateau(interval, "nothing", /*strict=*/false), options_of(2));
    CHECK(run.module->judged.empty());
    CHECK(run.module->rates.back() == 0.05);
    const std::string warning = "no metric \"nothing\" was logged, so the schedule is not stepped";
    const size_t first = run.output.find(warning);
    REQUIRE(first != std::string::npos);
    CHECK(run.output.find(warning, first + 1) == std::string::npos);
  }
}

TEST_CASE("Schedules that can't be stepped are refused before the first step", "[trainer]") {
  refused(only_plateau(Interval::kEpoch, ""), "ReduceLROnPlateau has no monitor");
  const auto step_lr = [](const OptimizerPtr& optimizer) {
    return std::make_shared<StepLR>(optimizer, 1);
  };
  refused(
      [=](const OptimizerPtr& optimizer) {
        return LRSchedulerConfig{.scheduler = step_lr(optimizer), .monitor = "val_loss"};
      },
      "StepLR has the monitor \"val_loss\", expected none");
  refused(
      [=](const OptimizerPtr& optimizer) {
        return LRSchedulerConfig{.scheduler = step_lr(optimizer), .frequency = 0};
      },
      "frequency is 0");
  refused(
      [=](const OptimizerPtr&) {
        return step_lr(std::make_shared<torch::optim::SGD>(
            std::vector<at::Tensor>{torch::ones({1})}, torch::optim::SGDOptions(0.1)));
      },
      "StepLR is of another optimizer");
  refused(
      [=](const OptimizerPtr& optimizer) -> LRSchedulers {
        const auto schedule = step_lr(optimizer);
        return {{.scheduler = schedule}, {.scheduler = schedule, .interval = Interval::kStep}};
      },
      "StepLR is given twice");
  refused([](const OptimizerPtr&) { return LRSchedulerConfig{.scheduler = nullptr}; },
          "null LR scheduler");
}

TEST_CASE("A OneCycleLR shorter than the fit is refused, a longer one warned of", "[trainer]") {
  const TrainerOptions options = options_of(2);  // 10 steps
  refused(one_cycle(9), "can make 9 steps and the fit is planned for 10", options);
  refused(
      [](const OptimizerPtr& optimizer) -> LRSchedulers {
        return {{.scheduler = std::make_shared<SequentialLR>(
                     optimizer,
                     std::vector<std::shared_ptr<LRScheduler>>{
                         std::make_shared<StepLR>(optimizer, 1),
                         std::make_shared<OneCycleLR>(
                             optimizer, OneCycleLROptions{.max_lr = 0.1, .total_steps = 5})},
                     std::vector<int64_t>{4}),
                 .interval = Interval::kStep}};
      },
      "can make 9 steps", options);
  CHECK_THAT(
      fit(one_cycle(12), options).output,
      Catch::Contains("OneCycleLR") && Catch::Contains("made for 12 steps and the fit has 10"));
  const Run run = fit(one_cycle(10), options);
  CHECK_THAT(run.output, !Catch::Contains("warning: OneCycleLR"));
  CHECK(*std::max_element(run.module->rates.begin(), run.module->rates.end()) == Approx(0.1));
}

TEST_CASE("A cosine of another length than the fit is warned of", "[trainer]") {
  const auto output = [](int64_t T_max) {
    return fit(
               [=](const OptimizerPtr& optimizer) -> LRSchedulers {
                 return std::make_shared<CosineAnnealingLR>(optimizer, T_max);
               },
               options_of(3))
        .output;
  };
  CHECK_THAT(output(3), !Catch::Contains("warning: CosineAnnealingLR"));
  CHECK_THAT(output(2), Catch::Contains("so the rate rises again. HINT: set T_max to 3"));
  CHECK_THAT(output(5), Catch::Contains("ends before the last rate is reached"));
}

TEST_CASE("A module finds its schedules by optimizer and index", "[trainer]") {
  class Looking : public Fitted {
   public:
    using Fitted::Fitted;
    void on_train_start() override {
      CHECK(lr_scheduler().describe() == "StepLR(step_size=1, gamma=0.5)");
      CHECK(lr_scheduler(0, 1).watches_metric());
      CHECK_THROWS_WITH(lr_scheduler(0, 2), Catch::Contains("lr_scheduler(0, 2)"));
    }
  };
  const auto module = std::make_shared<Looking>([](const OptimizerPtr& optimizer) -> LRSchedulers {
    return {{.scheduler = std::make_shared<StepLR>(optimizer, 1, 0.5)},
            plateau(optimizer, Interval::kEpoch, "val_loss")};
  });
  lightning::Trainer(options_of(1), {}, lightning::Loggers{})
      .fit(module, boring_loader(), boring_loader());
}

TEST_CASE("A config names ReduceLROnPlateau and its monitor", "[trainer]") {
  class Plain : public BoringModule {
    lightning::OptimizerList configure_optimizers() override {
      return LightningModule::configure_optimizers();
    }
  };
  lightning::TrainerParts parts{.loggers = lightning::Loggers{}};
  parts.optimizers.optimizer = "{class_path: SGD, init_args: {lr: 0.0}}";  // nothing improves
  parts.optimizers.lr_scheduler =
      "{class_path: ReduceLROnPlateau, init_args: {monitor: val_loss, patience: 0}}";
  lightning::Trainer trainer(options_of(3), parts);
  trainer.fit(std::make_shared<Plain>(), boring_loader(), boring_loader());
  const auto& schedule = *trainer.optimizers().front().lr_scheduler[0].scheduler;
  CHECK(schedule.step_count() == 3);

  parts.optimizers.lr_scheduler = "ReduceLROnPlateau";
  CHECK_THROWS_WITH(
      lightning::Trainer(options_of(1), parts).fit(std::make_shared<Plain>(), boring_loader()),
      Catch::Contains("has no monitor"));
}

TEST_CASE("Named optimizers and schedules that the module doesn't ask for are refused",
          "[trainer]") {
  const auto fit = [](const char* optimizer, const char* schedule) {
    lightning::TrainerParts parts{.loggers = lightning::Loggers{}};
    parts.optimizers.optimizer = optimizer;
    parts.optimizers.lr_scheduler = schedule;
    lightning::Trainer(options_of(1), parts).fit(std::make_shared<BoringModule>(), boring_loader());
  };
  const auto overrides = Catch::Contains("BoringModule overrides configure_optimizers()");
  CHECK_THROWS_WITH(fit("AdamW", ""), overrides && Catch::Contains("Trainer: optimizer is AdamW"));
  CHECK_THROWS_WITH(fit("", "ConstantLR"),
                    overrides && Catch::Contains("Trainer: lr_scheduler is ConstantLR"));
  CHECK_THROWS_WITH(fit("AdamW", "ConstantLR"),
                    overrides && Catch::Contains("the keys optimizer and lr_scheduler"));
  CHECK_NOTHROW(fit("", ""));
}

namespace {

/// A plateau per step on the validation, one per epoch on the training, and a cycle that moves
/// momentum, all over one optimizer.
LRSchedulers three_schedules(const OptimizerPtr& optimizer) {
  return {{.scheduler = std::make_shared<OneCycleLR>(
               optimizer, OneCycleLROptions{.max_lr = 0.2, .total_steps = 9}),
           .interval = Interval::kStep},
          plateau(optimizer, Interval::kStep, "val_loss"),
          plateau(optimizer, Interval::kEpoch, "train_loss")};
}

void check_resumes_bitwise(TrainerOptions options) {
  const lightning_tests::TemporaryFolder whole_folder;
  const Run whole = fit(three_schedules, options, whole_folder.path());
  CHECK(whole.module->judged.size() > 3);
  CHECK(whole.module->rates.back() < 0.1);
  for (int64_t stop = 1; stop <= 8; ++stop) {
    CAPTURE(stop);
    const lightning_tests::TemporaryFolder folder;
    TrainerOptions first = options;
    first.max_steps = stop;
    fit(three_schedules, first, folder.path());
    const Run resumed = fit(three_schedules, options, folder.path());
    CHECK(torch::equal(resumed.module->weights(), whole.module->weights()));
    const size_t rest = resumed.module->rates.size();
    REQUIRE(rest <= whole.module->rates.size());
    CHECK(std::equal(resumed.module->rates.begin(), resumed.module->rates.end(),
                     whole.module->rates.end() - static_cast<int64_t>(rest)));
    CHECK(resumed.module->rate() == whole.module->rate());
  }
}

}  // namespace

TEST_CASE("A run with plateaus resumes bitwise at every step", "[trainer]") {
  TrainerOptions options = options_of(3);
  options.accumulate_grad_batches = 2;  // 3 steps in an epoch
  SECTION("validated at the end of epochs") { check_resumes_bitwise(options); }
  SECTION("validated between steps") {
    options.val_check_interval = 2;
    check_resumes_bitwise(options);
  }
  SECTION("validated inside of windows") {
    options.val_check_interval = 3;
    check_resumes_bitwise(options);
  }
}

TEST_CASE("A resumed run says which of several schedules are other ones", "[trainer]") {
  const auto step_lr = [](const OptimizerPtr& optimizer, double gamma) {
    return LRSchedulerConfig{.scheduler = std::make_shared<StepLR>(optimizer, 1, gamma),
                             .interval = Interval::kStep};
  };
  const auto two = [=](double second) -> MakeSchedules {
    return [=](const OptimizerPtr& optimizer) -> LRSchedulers {
      return {step_lr(optimizer, 0.5), step_lr(optimizer, second)};
    };
  };
  const MakeSchedules one = [=](const OptimizerPtr& optimizer) -> LRSchedulers {
    return step_lr(optimizer, 0.5);
  };
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options = options_of(1);
  options.max_steps = 2;
  const auto next = [&](const MakeSchedules& make) {
    const Run run = fit(make, options, folder.path());
    ++options.max_steps;
    return run;
  };
  CHECK(next(two(0.9)).module->rate() == Approx(0.05 * 0.25 * 0.81));
  const Run same = next(two(0.9));
  CHECK_THAT(same.output, !Catch::Contains("lr_scheduler:"));
  const Run changed = next(two(0.8));
  CHECK(changed.module->rates.front() == Approx(0.05 * 0.125 * 0.512));
  CHECK_THAT(changed.output,
             Catch::Contains("StepLR(step_size=1, gamma=0.9) every 1 step(s) in the "
                             "checkpoint, StepLR(step_size=1, gamma=0.8) every 1 "
                             "step(s) in the config: the config's is used, as if it "
                             "had made 3 steps"));
  const Run removed = next(one);
  CHECK(removed.module->rates.front() == Approx(0.05 / 16));
  CHECK_THAT(removed.output, Catch::Contains("none in the config: the others' product is used"));
}

TEST_CASE("A plateau that is new, or watches another metric, begins where the run resumes",
          "[trainer]") {
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options = options_of(2);
  fit(only_plateau(Interval::kStep, "train_loss"), options, folder.path());
  options.max_epochs = 3;
  const Run run = fit(only_plateau(Interval::kStep, "val_loss"), options, folder.path());
  CHECK_THAT(run.output, Catch::Contains("by train_loss in the checkpoint") &&
                             Catch::Contains("by val_loss in the config: the config's is used, "
                                             "from here on"));
  CHECK(run.module->rates.front() == 0.05);
}

TEST_CASE("A step that can't have been judged is refused in a checkpoint", "[trainer]") {
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options = options_of(1);
  const MakeSchedules make = only_plateau(Interval::kStep, "train_loss");
  const Run run = fit(make, options, folder.path(), 10, /*validates=*/false);
  const fs::path last = fs::canonical(run.run_dir / "checkpoints" / "last.ckpt");
  CHECK(state_in(last).get<int64_t>("0/judged_step") == 5);
  options.max_epochs = 2;
  const auto resume_with = [&](lightning::StateDict::Value value) {
    const lightning_tests::TemporaryFolder other;
    lightning::Checkpoint checkpoint = lightning::Checkpoint::read(last);
    checkpoint.state.set("lr_scheduler/0/judged_step", std::move(value));
    checkpoint.write(other.path() / "changed.ckpt");
    lightning::Trainer trainer(options, {}, lightning::Loggers{});
    trainer.fit(std::make_shared<Fitted>(make), boring_loader(10), {},
                {.ckpt_path = (other.path() / "changed.ckpt").string()});
  };
  CHECK_THROWS_AS(resume_with(int64_t{6}), lightning::CheckpointError);
  CHECK_THROWS_AS(resume_with(int64_t{-1}), lightning::CheckpointError);
  CHECK_THROWS_AS(resume_with(std::string("5")), lightning::CheckpointError);
  CHECK_NOTHROW(resume_with(int64_t{5}));
}
