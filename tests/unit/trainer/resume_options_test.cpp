// Options that differ between the run that wrote a checkpoint and the one that resumes from it: the
// rows of the table in docs/checkpoint_format.md.
#include <algorithm>
#include <fstream>
#include <functional>
#include <sstream>

#include <catch2/catch.hpp>

#include <lightning/callbacks/model_checkpoint.h>
#include <lightning/checkpoint/checkpoint.h>
#include <lightning/optim/optimizer_state.h>
#include <lightning/trainer/trainer.h>
#include <lightning/util/error.h>

#include "support/boring_module.h"
#include "support/captured_stderr.h"
#include "support/temporary_folder.h"

namespace {

namespace fs = std::filesystem;
namespace optim = lightning::optim;
using lightning::OptimizerList;
using lightning::ResumeOptimizerOptions;
using lightning::TrainerOptions;

struct RateOptions {
  double learning_rate = 0.1;
  double dropout = 0.0;
};
LIGHTNING_FIELDS(RateOptions, LIGHTNING_FIELD(learning_rate, "of SGD"),
                 LIGHTNING_FIELD(dropout, "not used"))

using MakeOptimizer = std::function<OptimizerList(const std::vector<at::Tensor>&)>;

/// Notes the samples and its group options before the first batch.
class Noting : public BoringModule {
 public:
  explicit Noting(MakeOptimizer make) : make_(std::move(make)) {}

  OptimizerList configure_optimizers() override { return make_(parameters()); }
  void on_train_start() override {
    at_start = optim::group_options(*trainer().optimizers().front().optimizer);
    const auto& schedules = trainer().optimizers().front().lr_scheduler;
    if (!schedules.empty()) schedule_steps = schedules[0].scheduler->step_count();
  }
  lightning::StepOutput training_step(const lightning::Batch& batch, int64_t index) override {
    if (weights.empty() || trainer().global_step() != last_step_) {
      weights.push_back(layer->weight.detach().clone());
      biases.push_back(layer->bias.detach().clone());
      last_step_ = trainer().global_step();
    }
    for (int64_t i = 0; i < batch["x"].size(0); ++i) {
      seen.push_back(batch["x"][i][0].item<double>());
    }
    return BoringModule::training_step(batch, index);
  }

  lightning::StateDict at_start;
  int64_t schedule_steps = -1;
  std::vector<double> seen;                 // first number of each sample
  std::vector<at::Tensor> weights, biases;  // before each step
 private:
  MakeOptimizer make_;
  int64_t last_step_ = -1;
};

MakeOptimizer sgd(double rate, double momentum = 0.0) {
  return [=](const std::vector<at::Tensor>& parameters) -> OptimizerList {
    return std::make_shared<optim::SGD>(parameters,
                                        torch::optim::SGDOptions(rate).momentum(momentum));
  };
}

MakeOptimizer adamw(const torch::optim::AdamWOptions& options) {
  return [=](const std::vector<at::Tensor>& parameters) -> OptimizerList {
    return std::make_shared<optim::AdamW>(parameters, options);
  };
}

using MakeSchedule =
    std::function<std::shared_ptr<optim::LRScheduler>(std::shared_ptr<torch::optim::Optimizer>)>;

MakeOptimizer scheduled(double rate, MakeSchedule schedule,
                        lightning::Interval interval = lightning::Interval::kStep) {
  return [=](const std::vector<at::Tensor>& parameters) -> OptimizerList {
    const auto optimizer = std::make_shared<optim::SGD>(parameters, torch::optim::SGDOptions(rate));
    return lightning::OptimizerConfig{optimizer,
                                      {{.scheduler = schedule(optimizer), .interval = interval}}};
  };
}

MakeSchedule linear(int64_t total_steps) {
  return [=](auto optimizer) {
    return std::make_shared<optim::LinearWarmupLR>(optimizer, 0, total_steps);
  };
}

struct Run {
  std::shared_ptr<Noting> module;
  std::string output;
  fs::path run_dir;
};

/// Trains up to `max_steps`, from `ckpt_path`, or else the last checkpoint in `folder` when there
/// is one; a checkpoint is written after each step.
Run fit(const fs::path& folder, int64_t max_steps, const MakeOptimizer& make,
        TrainerOptions options = quiet_options(),
        lightning::DataLoaderOptions data = {.batch_size = 2}, int64_t samples = 16,
        const std::optional<RateOptions>& hyperparameters = std::nullopt,
        const std::string& ckpt_path = "") {
  options.enable_checkpointing = true;
  options.default_root_dir = folder;
  options.max_steps = max_steps;
  Run run{std::make_shared<Noting>(make), {}, {}};
  if (hyperparameters) run.module->save_hyperparameters(*hyperparameters);
  const lightning_tests::CapturedStderr output;
  lightning::Trainer trainer(options,
                             {std::make_shared<lightning::ModelCheckpoint>(
                                 lightning::ModelCheckpointOptions{.every_n_train_steps = 1})},
                             lightning::Loggers{});
  trainer.fit(run.module, boring_loader(samples, data), {},
              {.ckpt_path = fs::is_empty(folder) || !ckpt_path.empty() ? ckpt_path : "last"});
  run.output = output.text();
  run.run_dir = trainer.run_dir();
  return run;
}

std::string text_of(const fs::path& file) {
  std::ifstream stream(file);
  std::stringstream text;
  text << stream.rdbuf();
  return text.str();
}

std::string saved_config(const fs::path& run_dir) {
  return lightning::Checkpoint::read_config(run_dir / "checkpoints" / "last.ckpt");
}

}  // namespace

TEST_CASE("A resumed run has its checkpoint's optimizer settings, or those of the config",
          "[trainer]") {
  struct Case {
    const char* option;
    MakeOptimizer before;
    MakeOptimizer now;
    double saved;
    double fresh;
  };
  const torch::optim::AdamWOptions adam(0.01);
  const std::vector<Case> cases = {
      {"lr", sgd(0.1), sgd(0.25), 0.1, 0.25},
      {"momentum", sgd(0.1, 0.5), sgd(0.1, 0.0), 0.5, 0.0},
      {"beta1", adamw(adam), adamw(torch::optim::AdamWOptions(adam).betas({0.5, 0.999})), 0.9, 0.5},
      {"eps", adamw(adam), adamw(torch::optim::AdamWOptions(adam).eps(0.001)), 1e-8, 0.001},
      {"weight_decay", adamw(adam), adamw(torch::optim::AdamWOptions(adam).weight_decay(0.5)), 0.01,
       0.5}};
  for (const Case& c : cases) {
    CAPTURE(c.option);
    const lightning_tests::TemporaryFolder folder;
    fit(folder.path(), 2, c.before);
    const std::string name = std::string("groups/0/") + c.option;
    const auto said = Catch::Contains(std::string("optimizer ") + c.option + ": ");
    // Said again by each run whose config names another value than the one in use.
    for (const int64_t max_steps : {3, 4}) {
      const Run kept = fit(folder.path(), max_steps, c.now);
      CHECK(kept.module->at_start.get<double>(name) == c.saved);
      CHECK_THAT(kept.output,
                 said && Catch::Contains("the checkpoint's is used") &&
                     Catch::Contains("HINT: trainer.resume_optimizer_options: config"));
    }
    TrainerOptions options = quiet_options();
    options.resume_optimizer_options = ResumeOptimizerOptions::kFromConfig;
    const Run applied = fit(folder.path(), 5, c.now, options);
    CHECK(applied.module->at_start.get<double>(name) == c.fresh);
    CHECK_THAT(applied.output, said && Catch::Contains("the config's is used") &&
                                   !Catch::Contains("the checkpoint's is used"));
    CHECK_THAT(fit(folder.path(), 6, c.now, options).output, !said);
  }
}

TEST_CASE("New optimizer settings keep the moments of the checkpoint", "[trainer]") {
  TrainerOptions options = quiet_options();
  options.resume_optimizer_options = ResumeOptimizerOptions::kFromConfig;
  const lightning_tests::TemporaryFolder folder;
  fit(folder.path(), 3, sgd(0.1, 0.9));
  const Run run = fit(folder.path(), 5, sgd(0.05, 0.9), options);
  // v' = 0.9 v + g, w' = w - lr v': three weights give the momentum that there was.
  const lightning::Checkpoint last =
      lightning::Checkpoint::read(run.run_dir / "checkpoints" / "last.ckpt");
  const at::Tensor v = last.state.get<at::Tensor>("optimizer/0/state/layer.weight/momentum_buffer");
  const at::Tensor moved = run.module->weights.back() - run.module->layer->weight.detach();
  CHECK(at::allclose(moved, 0.05 * v, 1e-4, 1e-6));
}

TEST_CASE("A schedule continues from the base rate that holds", "[trainer]") {
  const lightning_tests::TemporaryFolder folder;
  fit(folder.path(), 2, scheduled(1.0, linear(8)));
  const Run kept = fit(folder.path(), 3, scheduled(0.5, linear(8)));
  CHECK(kept.module->at_start.get<double>("groups/0/lr") == Approx(0.75));  // 1 - 2 / 8
  CHECK_THAT(kept.output, Catch::Contains("optimizer lr: 1.0 in the checkpoint, 0.5 in the config: "
                                          "the checkpoint's is used"));
  TrainerOptions options = quiet_options();
  options.resume_optimizer_options = ResumeOptimizerOptions::kFromConfig;
  const Run applied = fit(folder.path(), 4, scheduled(0.5, linear(8)), options);
  CHECK(applied.module->at_start.get<double>("groups/0/lr") == Approx(0.5 * 5 / 8));
}

TEST_CASE("Another schedule is used as if it had been there from the start", "[trainer]") {
  const auto step_lr = [](auto optimizer) {
    return std::make_shared<optim::StepLR>(optimizer, 1, 0.5);
  };
  const lightning_tests::TemporaryFolder folder;
  const auto rate = [](const Run& run) { return run.module->at_start.get<double>("groups/0/lr"); };
  SECTION("its length") {
    fit(folder.path(), 2, scheduled(1.0, linear(4)));
    const Run run = fit(folder.path(), 3, scheduled(1.0, linear(10)));
    CHECK(rate(run) == Approx(0.8));
    CHECK_THAT(run.output, Catch::Contains("total_steps=4) every 1 step(s) in the checkpoint") &&
                               Catch::Contains("total_steps=10) every 1 step(s) in the config: the "
                                               "config's is used, as if it had made 2 steps"));
  }
  SECTION("its class and interval") {
    fit(folder.path(), 10, scheduled(1.0, linear(20)));  // an epoch has 8 steps
    const Run run = fit(folder.path(), 11, scheduled(1.0, step_lr, lightning::Interval::kEpoch));
    CHECK(rate(run) == Approx(0.5));
    CHECK(run.module->schedule_steps == 1);
  }
  SECTION("none before") {
    fit(folder.path(), 2, sgd(1.0));
    const Run run = fit(folder.path(), 3, scheduled(0.1, linear(8)));
    CHECK(rate(run) == Approx(0.75));
    CHECK_THAT(run.output, Catch::Contains("lr_scheduler: none in the checkpoint"));
  }
  SECTION("none now") {
    fit(folder.path(), 2, scheduled(1.0, linear(8)));
    const Run run = fit(folder.path(), 3, sgd(1.0));
    CHECK(rate(run) == Approx(0.75));
    CHECK_THAT(run.output, Catch::Contains("none in the config: the learning rate stays"));
  }
}

TEST_CASE("Another optimizer class is an error that leaves a way on", "[trainer]") {
  const lightning_tests::TemporaryFolder folder;
  fit(folder.path(), 2, sgd(0.1));
  CHECK_THROWS_WITH(fit(folder.path(), 3, adamw(torch::optim::AdamWOptions(0.1))),
                    Catch::Contains("the checkpoint has the state of SGD") &&
                        Catch::Contains("the optimizer is AdamW") &&
                        Catch::Contains("load_from_checkpoint()"));
}

TEST_CASE("The saved config has the values that hold", "[trainer]") {
  const lightning_tests::TemporaryFolder folder;
  const lightning::DataLoaderOptions data{.batch_size = 2};
  fit(folder.path(), 2, sgd(0.1), quiet_options(), data, 16, RateOptions{});
  const RateOptions changed{.learning_rate = 0.25, .dropout = 0.5};
  const Run kept = fit(folder.path(), 3, sgd(0.25), quiet_options(), data, 16, changed);
  for (const std::string& config :
       {saved_config(kept.run_dir), text_of(kept.run_dir / "config-resumed-step=2.yaml")}) {
    CHECK_THAT(config, Catch::Contains("learning_rate: 0.1\n") && Catch::Contains("dropout: 0.5") &&
                           Catch::Contains("max_steps: 3") &&
                           Catch::Contains("#   optimizer lr: 0.1 in the checkpoint, 0.25 in the "
                                           "config: the checkpoint's is used"));
  }
  CHECK_THAT(kept.output,
             Catch::Contains("model.dropout: 0.0 in the checkpoint, 0.5 in the config: the new "
                             "value is used") &&
                 !Catch::Contains("model.learning_rate"));
  TrainerOptions options = quiet_options();
  options.resume_optimizer_options = ResumeOptimizerOptions::kFromConfig;
  const Run applied = fit(folder.path(), 4, sgd(0.25), options, data, 16, changed);
  CHECK_THAT(saved_config(applied.run_dir),
             Catch::Contains("learning_rate: 0.25") && !Catch::Contains("#"));
}

TEST_CASE("A resumed run says which options of the Trainer differ, and nothing when none do",
          "[trainer]") {
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options = quiet_options();
  fit(folder.path(), 2, sgd(0.1), options);
  CHECK_THAT(fit(folder.path(), 2, sgd(0.1), options).output, !Catch::Contains("other options"));
  options.gradient_clip_val = 0.5;
  options.log_every_n_steps = 7;
  options.limit_train_batches = 5;
  options.precision = "bf16-mixed";
  options.max_epochs = 3;
  const Run run = fit(folder.path(), 3, sgd(0.1), options);
  for (const char* line :
       {"trainer.gradient_clip_val: null in the checkpoint, 0.5 in the config: the new value",
        "trainer.log_every_n_steps: 50 in the checkpoint, 7 in the config",
        "trainer.limit_train_batches: 1.0 in the checkpoint, 5 in the config",
        "trainer.precision: 32-true in the checkpoint, bf16-mixed in the config",
        "trainer.max_epochs: null in the checkpoint, 3 in the config",
        "trainer.max_steps: 2 in the checkpoint, 3 in the config"}) {
    CHECK_THAT(run.output, Catch::Contains(line));
  }
  CHECK_THAT(run.output, !Catch::Contains("warning: Trainer: the run resumes"));
  // A slash at the end of the path takes no name away.
  const Run named = fit(folder.path(), 4, sgd(0.1), options, {.batch_size = 2}, 16, std::nullopt,
                        (run.run_dir / "checkpoints" / "last.ckpt").string() + "/");
  CHECK_THAT(named.output, Catch::Contains("resumes from last.ckpt with"));
}

TEST_CASE("A resume begins a window of the new accumulate_grad_batches", "[trainer]") {
  struct Case {
    int64_t before;  // accumulate_grad_batches of the first session
    int64_t steps;   // which ends after these steps
    int64_t now;
    int64_t samples;  // in batches of 2
    int64_t window;   // batches of the first window after the resume
  };
  const bool clips = GENERATE(false, true);  // the division is left to the kernel without
  // The last ones are cut by the epoch's end, and divided by the whole number as in Lightning.
  for (const Case c : {Case{1, 3, 4, 32, 4}, Case{1, 5, 4, 32, 4}, Case{2, 2, 3, 32, 3},
                       Case{4, 1, 2, 32, 2}, Case{1, 5, 4, 12, 1}, Case{1, 5, 4, 14, 2}}) {
    CAPTURE(c.before, c.steps, c.now, c.samples);
    const lightning_tests::TemporaryFolder folder;
    TrainerOptions options = quiet_options();
    options.accumulate_grad_batches = c.before;
    fit(folder.path(), c.steps, sgd(0.1), options, {.batch_size = 2}, c.samples);
    options.accumulate_grad_batches = c.now;
    if (clips) options.gradient_clip_val = 1e6;
    const Run run =
        fit(folder.path(), c.steps + 1, sgd(0.1), options, {.batch_size = 2}, c.samples);
    CHECK(run.module->seen.size() == static_cast<size_t>(2 * c.window));

    // The step by hand.
    BoringModule twin;
    const auto loader = boring_loader(c.samples);
    std::vector<at::Tensor> batches;
    while (auto batch = loader->next()) batches.push_back((*batch)["x"]);
    const auto first = static_cast<size_t>(c.steps * c.before);
    torch::NoGradGuard no_grad;
    twin.layer->weight.copy_(run.module->weights.front());
    twin.layer->bias.copy_(run.module->biases.front());
    torch::AutoGradMode with_gradients(true);
    at::Tensor loss = at::zeros({});
    for (size_t i = first; i < first + static_cast<size_t>(c.window); ++i) {
      loss = loss + twin.layer->forward(batches[i]).square().mean() / c.now;
    }
    loss.backward();
    const at::Tensor expected = run.module->weights.front() - 0.1 * twin.layer->weight.grad();
    CHECK(at::allclose(run.module->layer->weight.detach(), expected, 1e-5, 1e-7));
  }
}

TEST_CASE("With another batch size the epoch continues at the sample where it stopped",
          "[trainer]") {
  for (const int64_t batch_size : {1, 4, 8}) {
    CAPTURE(batch_size);
    const lightning_tests::TemporaryFolder folder;
    std::vector<double> seen = fit(folder.path(), 4, sgd(0.1)).module->seen;  // 8 of 16 samples
    TrainerOptions options = quiet_options();
    options.max_epochs = 1;
    const Run run = fit(folder.path(), 100, sgd(0.1), options, {.batch_size = batch_size});
    CHECK(run.module->seen.size() == 8);
    seen.insert(seen.end(), run.module->seen.begin(), run.module->seen.end());
    std::sort(seen.begin(), seen.end());
    CHECK(std::adjacent_find(seen.begin(), seen.end()) == seen.end());
  }
  const lightning_tests::TemporaryFolder folder;
  fit(folder.path(), 3, sgd(0.1));
  CHECK_THROWS_WITH(fit(folder.path(), 4, sgd(0.1), quiet_options(), {.batch_size = 4}),
                    Catch::Contains("a multiple of this loader's batch size (4) was expected"));
}

TEST_CASE("A new order of the data begins with the next epoch", "[trainer]") {
  const lightning_tests::TemporaryFolder folder;
  const auto data = [](uint64_t seed) {
    return lightning::DataLoaderOptions{.batch_size = 2, .shuffle = true, .seed = seed};
  };
  std::vector<double> seen = fit(folder.path(), 4, sgd(0.0), quiet_options(), data(1)).module->seen;
  const Run rest = fit(folder.path(), 8, sgd(0.0), quiet_options(), data(2));
  seen.insert(seen.end(), rest.module->seen.begin(), rest.module->seen.end());
  std::sort(seen.begin(), seen.end());
  CHECK(std::adjacent_find(seen.begin(), seen.end()) == seen.end());  // still the order of seed 1
}
