// One option at a time that differs on resume: what the run says, what holds, and what is saved.
// More on the optimizer and its schedule in resume_options_test.cpp.
#include <algorithm>
#include <functional>
#include <set>

#include <catch2/catch.hpp>

#include <lightning/callbacks/model_checkpoint.h>
#include <lightning/checkpoint/checkpoint.h>
#include <lightning/config/yaml.h>
#include <lightning/core/lightning_data_module.h>
#include <lightning/optim/optimizers.h>
#include <lightning/trainer/trainer.h>
#include <lightning/util/error.h>

#include "support/boring_module.h"
#include "support/captured_stderr.h"
#include "support/temporary_folder.h"

namespace {

namespace fs = std::filesystem;
namespace optim = lightning::optim;
namespace to = torch::optim;
using lightning::OptimizerList;
using lightning::TrainerOptions;

constexpr int64_t kSteps = 12;  // of the whole run: an epoch of 8 batches, and half of one
constexpr double kRate = 0.01;

struct DataOptions {
  int64_t samples = 16;
  bool shuffle = false;
  bool drop_last = false;
  int64_t num_workers = 0;
  int64_t prefetch_factor = 2;
  std::optional<uint64_t> seed = std::nullopt;
};
LIGHTNING_FIELDS(DataOptions, LIGHTNING_FIELD(samples, "rows"), LIGHTNING_FIELD(shuffle, "order"),
                 LIGHTNING_FIELD(drop_last, "ragged batch"),
                 LIGHTNING_FIELD(num_workers, "threads"),
                 LIGHTNING_FIELD(prefetch_factor, "batches"), LIGHTNING_FIELD(seed, "of the order"))

/// Row i is {i, 1}, in batches of 2.
class Numbers : public lightning::LightningDataModule {
 public:
  explicit Numbers(const DataOptions& options) : options_(options) {
    save_hyperparameters(options);
  }
  lightning::DataLoaders train_dataloader() override { return loader(options_); }
  lightning::DataLoaders val_dataloader() override { return loader({.samples = 2}); }

 private:
  static std::shared_ptr<lightning::DataLoader> loader(const DataOptions& o) {
    const at::Tensor numbers = torch::arange(o.samples, torch::kFloat);
    return std::make_shared<lightning::DataLoader>(
        std::make_shared<lightning::TensorDataset>(
            lightning::Batch({{"x", torch::stack({numbers, torch::ones_like(numbers)}, 1)}})),
        lightning::DataLoaderOptions{.batch_size = 2,
                                     .shuffle = o.shuffle,
                                     .drop_last = o.drop_last,
                                     .num_workers = o.num_workers,
                                     .prefetch_factor = o.prefetch_factor,
                                     .seed = o.seed});
  }
  DataOptions options_;
};

using MakeOptimizer = std::function<OptimizerList(const std::vector<at::Tensor>&)>;

template <typename Optimizer, typename Options>
MakeOptimizer uses(const Options& options) {
  return [options](const std::vector<at::Tensor>& parameters) -> OptimizerList {
    return std::make_shared<Optimizer>(parameters, options);
  };
}

struct Setup {
  TrainerOptions trainer = quiet_options();
  DataOptions data = {};
  int64_t features = 1;  // of the model
  bool asks_to_stop = false;
  MakeOptimizer optimizer = uses<optim::SGD>(to::SGDOptions(kRate).momentum(0.5));
};

/// Notes what happens to it.
class Noting : public BoringModule {
 public:
  explicit Noting(const Setup& setup) : setup_(setup) {
    if (setup.features != 1) replace_module("layer", layer = torch::nn::Linear(2, setup.features));
    torch::NoGradGuard no_grad;
    layer->weight.fill_(0.1);
    layer->bias.fill_(0.1);
  }
  OptimizerList configure_optimizers() override { return setup_.optimizer(parameters()); }
  lightning::StepOutput training_step(const lightning::Batch& batch, int64_t index) override {
    for (int64_t i = 0; i < batch["x"].size(0); ++i) {
      seen.push_back(static_cast<int64_t>(batch["x"][i][0].item<double>()));
    }
    const auto& group = trainer().optimizers().front().optimizer->param_groups().front();
    rates.push_back(group.options().get_lr());
    weights.push_back(layer->weight.detach().clone());
    epochs.insert(trainer().current_epoch());
    output_type = layer->forward(batch["x"]).scalar_type();
    return BoringModule::training_step(batch, index);
  }
  void on_train_batch_end(const lightning::StepOutput&, const lightning::Batch&, int64_t) override {
    if (setup_.asks_to_stop) trainer().request_stop("the test");
  }
  void on_validation_start() override { validated.push_back(trainer().global_step()); }

  std::vector<int64_t> seen;        // numbers
  std::vector<double> rates;        // in each batch
  std::vector<at::Tensor> weights;  // before each batch
  std::set<int64_t> epochs;
  std::vector<int64_t> validated;  // global_step of each validation
  at::ScalarType output_type = at::kFloat;

 private:
  Setup setup_;
};

struct Run {
  std::shared_ptr<Noting> module;
  std::string output;
  std::string error;
  int64_t steps = 0;
  lightning::Checkpoint after = {};  // its state, and the config that it saves
};

/// Checkpoints are written after each step and after each epoch.
Run fit(const fs::path& folder, const Setup& setup, const std::string& ckpt_path = {}) {
  TrainerOptions options = setup.trainer;
  options.enable_checkpointing = true;
  options.default_root_dir = folder;
  options.num_sanity_val_steps = 0;
  if (options.max_steps == -1) options.max_steps = kSteps;
  const auto saves = [](const char* filename, int64_t steps) {
    return std::make_shared<lightning::ModelCheckpoint>(lightning::ModelCheckpointOptions{
        .filename = filename, .save_top_k = -1, .every_n_train_steps = steps});
  };
  Run run{std::make_shared<Noting>(setup), {}, {}, 0, {}};
  const lightning_tests::CapturedStderr output;
  try {
    lightning::Trainer trainer(options, {saves("{step}", 1), saves("{epoch}", 0)},
                               lightning::Loggers{});
    trainer.fit(run.module, std::make_shared<Numbers>(setup.data), {.ckpt_path = ckpt_path});
    run.steps = trainer.global_step();
    trainer.save_checkpoint(folder / "after.ckpt");
    run.after = lightning::Checkpoint::read(folder / "after.ckpt");
    lightning::remove_checkpoint(folder / "after.ckpt");
  } catch (const lightning::Error& error) {
    run.error = error.what();
  }
  run.output = output.text();
  return run;
}

std::string checkpoint_in(const fs::path& folder, const std::string& name) {
  return (folder / "lightning_logs/version_0/checkpoints" / (name + ".ckpt")).string();
}

/// As the config of `run` writes it.
std::string saved_value(const Run& run, const std::string& path) {
  const auto config = lightning::config::parse_yaml(run.after.config, "config");
  const auto* node = config.find_path(path);
  if (node == nullptr) return "missing";
  return node->is_null() ? "null" : node->text();
}

std::vector<int64_t> from(const Run& run, size_t first) {
  return {run.module->seen.begin() + static_cast<std::ptrdiff_t>(first), run.module->seen.end()};
}

at::Tensor final_weight(const Run& run) { return run.module->layer->weight.detach(); }

constexpr const char* kNew = "the new value is used";
constexpr const char* kNewData =
    "the new value is used, from the checkpoint's position in the data";
constexpr const char* kEpochIsntOver = "the checkpoint's is used, since its epoch isn't over";

struct Row {
  const char* option;
  const char* saved;
  const char* now;
  const char* holds;
  const char* checkpoint;              // from which the run resumes
  std::function<void(Setup&)> before;  // of the whole run
  std::function<void(Setup&)> change;
  std::function<void(const Run& whole, const Run& resumed)> check;
};

/// The same batches and the same bits as without the change.
void check_equal(const Run& whole, const Run& resumed) {
  CHECK(resumed.module->seen == from(whole, 10));  // from step 5
  CHECK(torch::equal(final_weight(whole), final_weight(resumed)));
}

const auto kAsItIs = [](Setup&) {};
const auto kShuffled = [](Setup& s) { s.data.shuffle = true, s.data.seed = 1; };

std::vector<Row> data_rows() {
  const auto one_worker = [](Setup& s) { s.data.num_workers = 1; };
  const auto fifteen = [](Setup& s) { s.data.samples = 15; };
  const auto drops = [](Setup& s) { s.data.drop_last = true; };
  return {
      {"data.num_workers", "0", "2", kNewData, "step=5", kAsItIs,
       [](Setup& s) { s.data.num_workers = 2; }, check_equal},
      {"data.prefetch_factor", "2", "4", kNewData, "step=5", one_worker,
       [](Setup& s) { s.data.prefetch_factor = 4; }, check_equal},
      {"data.drop_last", "false", "true", kNewData, "step=5", fifteen, drops,
       [](const Run&, const Run& run) {
         CHECK(run.module->seen ==
               std::vector<int64_t>{10, 11, 12, 13, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
       }},
      {"data.drop_last", "false", "true", kNewData, "step=7", fifteen, drops,
       [](const Run&, const Run& run) {
         CHECK(run.module->seen == std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
         CHECK(run.module->epochs == std::set<int64_t>{1});
         CHECK(run.module->validated == std::vector<int64_t>{7});  // of the epoch that is over
       }},
      {"data.samples", "16", "20", kNewData, "epoch=0", kAsItIs,
       [](Setup& s) { s.data.samples = 20; },
       [](const Run& whole, const Run& run) { CHECK(run.module->seen == from(whole, 16)); }},
      {"data.seed", "1", "2", kEpochIsntOver, "step=5", kShuffled,
       [](Setup& s) { s.data.seed = 2; }, check_equal},
      {"data.shuffle", "true", "false", kEpochIsntOver, "step=5", kShuffled,
       [](Setup& s) { s.data.shuffle = false; }, check_equal},
      {"data.shuffle", "false", "true", kEpochIsntOver, "step=5", kAsItIs,
       [](Setup& s) { s.data.shuffle = true; }, check_equal},
      {"data.seed", "1", "2", kNewData, "epoch=0", kShuffled, [](Setup& s) { s.data.seed = 2; },
       [](const Run& whole, const Run& run) {
         CHECK(run.module->seen.size() == 8);
         CHECK(run.module->seen != from(whole, 16));
       }},
      {"data.shuffle", "true", "false", kNewData, "epoch=0", kShuffled,
       [](Setup& s) { s.data.shuffle = false; },
       [](const Run&, const Run& run) {
         CHECK(run.module->seen == std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6, 7});
       }},
  };
}

std::vector<Row> trainer_rows() {
  const auto asks_to_stop = [](Setup& s) { s.asks_to_stop = true, s.trainer.min_steps = 6; };
  return {
      {"trainer.limit_train_batches", "1.0", "3", kNew, "step=5", kAsItIs,
       [](Setup& s) { s.trainer.limit_train_batches = 3; },
       [](const Run&, const Run& run) {
         CHECK(run.module->seen == std::vector<int64_t>{0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5, 0, 1});
         CHECK(run.module->epochs == std::set<int64_t>{1, 2, 3});
         CHECK(run.module->validated == std::vector<int64_t>{5, 8, 11});
       }},
      {"trainer.limit_train_batches", "1.0", "6", kNew, "step=5", kAsItIs,
       [](Setup& s) { s.trainer.limit_train_batches = 6; },
       [](const Run&, const Run& run) {
         CHECK(run.module->seen ==
               std::vector<int64_t>{10, 11, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11});
         CHECK(run.module->validated == std::vector<int64_t>{6, 12});
       }},
      {"trainer.val_check_interval", "1.0", "2", kNew, "step=5", kAsItIs,
       [](Setup& s) { s.trainer.val_check_interval = 2; },
       [](const Run& whole, const Run& run) {
         check_equal(whole, run);
         CHECK(run.module->validated == std::vector<int64_t>{6, 8, 10, 12});
       }},
      {"trainer.max_epochs", "null", "1", kNew, "step=5", kAsItIs,
       [](Setup& s) { s.trainer.max_epochs = 1; },
       [](const Run&, const Run& run) { CHECK(run.steps == 8); }},
      {"trainer.max_steps", "12", "7", kNew, "step=5", kAsItIs,
       [](Setup& s) { s.trainer.max_steps = 7; },
       [](const Run&, const Run& run) { CHECK(run.steps == 7); }},
      {"trainer.min_steps", "6", "10", kNew, "step=5", asks_to_stop,
       [](Setup& s) { s.trainer.min_steps = 10; },
       [](const Run& whole, const Run& run) {
         CHECK(whole.steps == 6);
         CHECK(run.steps == 10);
       }},
      {"trainer.min_epochs", "null", "1", kNew, "step=5", asks_to_stop,
       [](Setup& s) { s.trainer.min_epochs = 1; },
       [](const Run&, const Run& run) { CHECK(run.steps >= 8); }},
      {"trainer.gradient_clip_val", "null", "0.001", kNew, "step=5",
       [](Setup& s) { s.optimizer = uses<optim::SGD>(to::SGDOptions(kRate)); },
       [](Setup& s) { s.trainer.gradient_clip_val = 0.001; },
       [](const Run&, const Run& run) {
         const at::Tensor moved = final_weight(run) - run.module->weights.back();
         CHECK(moved.norm().item<double>() > 0.0);
         CHECK(moved.norm().item<double>() <= kRate * 0.001 * 1.01);
       }},
      {"trainer.deterministic", "false", "true", kNew, "step=5", kAsItIs,
       [](Setup& s) { s.trainer.deterministic = true; },
       [](const Run&, const Run& run) {
         CHECK_THAT(run.output, Catch::Contains("not bitwise equal"));
         CHECK(at::globalContext().deterministicAlgorithms());
       }},
  };
}

void check_row(const Row& row) {
  CAPTURE(row.option, row.saved, row.now, row.checkpoint);
  const lightning_tests::TemporaryFolder folder;
  Setup setup;
  row.before(setup);
  const Run whole = fit(folder.path(), setup);
  REQUIRE(whole.error.empty());
  row.change(setup);
  const Run resumed = fit(folder.path(), setup, checkpoint_in(folder.path(), row.checkpoint));
  REQUIRE(resumed.error.empty());
  CHECK_THAT(resumed.output,
             Catch::Contains(std::string("\n  ") + row.option + ": " + row.saved +
                             " in the checkpoint, " + row.now + " in the config: " + row.holds));
  const bool kept = row.holds == kEpochIsntOver;
  CHECK(saved_value(resumed, row.option) == (kept ? row.saved : row.now));
  CHECK((resumed.output.find("warning: Trainer: the run resumes") != std::string::npos) == kept);
  row.check(whole, resumed);
}

}  // namespace

TEST_CASE("Options of the data that differ on resume", "[trainer]") {
  for (const Row& row : data_rows()) check_row(row);
}

TEST_CASE("Options of the Trainer that differ on resume", "[trainer]") {
  for (const Row& row : trainer_rows()) check_row(row);
  at::globalContext().setDeterministicAlgorithms(false, false);
}

TEST_CASE("A time limit counts the earlier sessions", "[trainer]") {
  const lightning_tests::TemporaryFolder folder;
  Setup setup;
  fit(folder.path(), setup);
  lightning::Checkpoint checkpoint =
      lightning::Checkpoint::read(checkpoint_in(folder.path(), "step=5"));
  checkpoint.state.set("loop/elapsed_seconds", 7200.0);
  checkpoint.write(checkpoint_in(folder.path(), "late"));
  for (const int64_t hours : {1, 3}) {
    setup.trainer.max_time = std::chrono::hours(hours);
    const Run run = fit(folder.path(), setup, checkpoint_in(folder.path(), "late"));
    CHECK(run.steps == (hours == 1 ? 5 : kSteps));
    CHECK_THAT(run.output,
               Catch::Contains("\n  trainer.max_time: null in the checkpoint, ") &&
                   Catch::Contains("the new value is used; the time of earlier sessions counts"));
    CHECK(saved_value(run, "trainer.max_time") != "null");
  }
}

TEST_CASE("What can't hold on resume is an error that names both", "[trainer]") {
  const lightning_tests::TemporaryFolder folder;
  fit(folder.path(), {});
  const auto error = [&](const std::function<void(Setup&)>& change) {
    Setup setup;
    change(setup);
    const Run run = fit(folder.path(), setup, checkpoint_in(folder.path(), "step=5"));
    CHECK(run.module->seen.empty());
    if (setup.features != 1) CHECK(torch::all(final_weight(run) == 0.1F).item<bool>());
    return run.error;
  };
  CHECK_THAT(error([](Setup& s) { s.data.samples = 20; }),
             Catch::Contains("16") && Catch::Contains("20"));
  CHECK_THAT(error([](Setup& s) { s.features = 3; }), Catch::Contains("layer.weight") &&
                                                          Catch::Contains("[1, 2]") &&
                                                          Catch::Contains("[3, 2]"));
}

TEST_CASE("Another precision converts weights and moments", "[trainer]") {
  const lightning_tests::TemporaryFolder folder;
  Setup setup;
  setup.trainer.max_steps = 5;
  fit(folder.path(), setup);
  struct Case {
    const char* before;
    const char* now;
    at::ScalarType weights;
    at::ScalarType outputs;
  };
  std::string checkpoint = "step=5";
  int64_t step = 5;
  for (const Case& c : {Case{"32-true", "bf16-mixed", at::kFloat, at::kBFloat16},
                        Case{"bf16-mixed", "64-true", at::kDouble, at::kDouble},
                        Case{"64-true", "32-true", at::kFloat, at::kFloat},
                        Case{"32-true", "bf16-true", at::kBFloat16, at::kBFloat16},
                        Case{"bf16-true", "16-true", at::kHalf, at::kHalf},
                        Case{"16-true", "32-true", at::kFloat, at::kFloat}}) {
    CAPTURE(c.now);
    const auto saved = lightning::Checkpoint::read(checkpoint_in(folder.path(), checkpoint));
    setup.trainer.precision = c.now;
    setup.trainer.max_steps = step + 1;
    const Run run = fit(folder.path(), setup, checkpoint_in(folder.path(), checkpoint));
    REQUIRE(run.error.empty());
    CHECK_THAT(run.output,
               Catch::Contains(std::string("\n  trainer.precision: ") + c.before +
                               " in the checkpoint, " + c.now + " in the config: " + kNew));
    CHECK(saved_value(run, "trainer.precision") == c.now);
    CHECK(run.module->output_type == c.outputs);
    const at::Tensor& first = run.module->weights.front();
    CHECK(first.scalar_type() == c.weights);
    const auto weight = std::find_if(saved.model.begin(), saved.model.end(), [](const auto& named) {
      return named.first == "layer.weight";
    });
    CHECK(torch::equal(first, weight->second.to(c.weights)));
    const auto moment =
        run.after.state.get<at::Tensor>("optimizer/0/state/layer.weight/momentum_buffer");
    CHECK(moment.scalar_type() == c.weights);
    // w' = w - lr v'
    const at::Tensor moved = first - final_weight(run);
    // 16-bit weights are rounded after each step.
    const double rounding = moved.element_size() == 2 ? 2e-3 : 1e-6;
    CHECK(torch::allclose(moved, (kRate * moment).to(moved.scalar_type()), 1e-3, rounding));
    checkpoint = "step=" + std::to_string(++step);
  }
}

TEST_CASE("A schedule counts an epoch once, whatever its last batch is", "[trainer]") {
  struct Case {
    lightning::BatchLimit before;
    lightning::BatchLimit now;
    double first;  // rate in the first batch after the resume from step 5, relative to the base
    double last;
  };
  Setup setup;
  setup.optimizer = [](const std::vector<at::Tensor>& parameters) -> OptimizerList {
    const auto optimizer = std::make_shared<optim::SGD>(parameters, to::SGDOptions(kRate));
    return lightning::OptimizerConfig{
        optimizer,
        {{.scheduler = std::make_shared<optim::StepLR>(optimizer, 1, 0.5),
          .interval = lightning::Interval::kEpoch}}};
  };
  for (const Case& c : {Case{1.0, 1.0, 1.0, 0.5}, Case{5, 5, 0.5, 0.25}, Case{1.0, 5, 0.5, 0.25},
                        Case{1.0, 3, 0.5, 0.125}, Case{5, 1.0, 0.5, 0.5}}) {
    CAPTURE(c.before.to_text(), c.now.to_text());
    const lightning_tests::TemporaryFolder folder;
    setup.trainer.limit_train_batches = c.before;
    fit(folder.path(), setup);
    setup.trainer.limit_train_batches = c.now;
    const Run run = fit(folder.path(), setup, checkpoint_in(folder.path(), "step=5"));
    REQUIRE(run.error.empty());
    CHECK(run.module->rates.front() == Approx(kRate * c.first));
    CHECK(run.module->rates.back() == Approx(kRate * c.last));
  }
}

TEST_CASE("A moment that new settings need begins at zero on resume", "[trainer]") {
  struct Case {
    const char* name;
    const char* option;
    MakeOptimizer off;
    MakeOptimizer on;
    const char* moment;
  };
  const to::AdamOptions adam(kRate);
  const auto adam_on = to::AdamOptions(adam).amsgrad(true);
  const to::AdamWOptions adamw(kRate);
  const auto adamw_on = to::AdamWOptions(adamw).amsgrad(true);
  const to::SGDOptions sgd(kRate);
  const auto sgd_on = to::SGDOptions(sgd).momentum(0.5);
  const to::RMSpropOptions rmsprop(kRate);
  const auto with_momentum = to::RMSpropOptions(rmsprop).momentum(0.5);
  const auto centered = to::RMSpropOptions(rmsprop).centered(true);
  for (const Case& c : {Case{"LibTorch's", "amsgrad", uses<to::Adam>(adam), uses<to::Adam>(adam_on),
                             "max_exp_avg_sq"},
                        Case{"ours", "amsgrad", uses<optim::Adam>(adam), uses<optim::Adam>(adam_on),
                             "max_exp_avg_sq"},
                        Case{"LibTorch's", "amsgrad", uses<to::AdamW>(adamw),
                             uses<to::AdamW>(adamw_on), "max_exp_avg_sq"},
                        Case{"ours", "amsgrad", uses<optim::AdamW>(adamw),
                             uses<optim::AdamW>(adamw_on), "max_exp_avg_sq"},
                        Case{"LibTorch's", "momentum", uses<to::SGD>(sgd), uses<to::SGD>(sgd_on),
                             "momentum_buffer"},
                        Case{"ours", "momentum", uses<optim::SGD>(sgd), uses<optim::SGD>(sgd_on),
                             "momentum_buffer"},
                        Case{"LibTorch's", "momentum", uses<to::RMSprop>(rmsprop),
                             uses<to::RMSprop>(with_momentum), "momentum_buffer"},
                        Case{"LibTorch's", "centered", uses<to::RMSprop>(rmsprop),
                             uses<to::RMSprop>(centered), "grad_avg"}}) {
    CAPTURE(c.name, c.option, c.moment);
    const lightning_tests::TemporaryFolder folder;
    Setup setup;
    setup.optimizer = c.off;
    setup.trainer.max_steps = 5;
    fit(folder.path(), setup);
    setup.optimizer = c.on;
    setup.trainer.resume_optimizer_options = lightning::ResumeOptimizerOptions::kFromConfig;
    setup.trainer.max_steps = 6;
    const Run run = fit(folder.path(), setup, checkpoint_in(folder.path(), "step=5"));
    REQUIRE(run.error.empty());
    CHECK_THAT(run.output, Catch::Contains(std::string("optimizer ") + c.option + ": ") &&
                               Catch::Contains("the config's is used"));
    const std::string state = "optimizer/0/state/layer.weight/";
    const auto moment = run.after.state.get<at::Tensor>(state + c.moment);
    CHECK(torch::isfinite(moment).all().item<bool>());
    CHECK(moment.abs().min().item<double>() > 0.0);
    if (std::string(c.option) == "amsgrad") {  // the largest since it was switched on
      CHECK(torch::equal(moment, run.after.state.get<at::Tensor>(state + "exp_avg_sq")));
    } else if (std::string(c.option) == "momentum") {
      const at::Tensor moved = run.module->weights.back() - final_weight(run);
      CHECK(torch::allclose(moved, kRate * moment, 1e-3, 1e-6));
    }
    // Switched off again.
    setup.optimizer = c.off;
    setup.trainer.max_steps = 8;
    CHECK(fit(folder.path(), setup, checkpoint_in(folder.path(), "step=6")).steps == 8);
  }
}
