// Weights under pruning, compared with Lightning 2.6.6
// (tests/golden/callbacks/record_training_callbacks.py).
#include <cmath>
#include <fstream>
#include <sstream>

#include <catch2/catch.hpp>

#include <lightning/callbacks/model_checkpoint.h>
#include <lightning/callbacks/model_pruning.h>
#include <lightning/callbacks/registry.h>
#include <lightning/config/yaml.h>
#include <lightning/trainer/trainer.h>
#include <lightning/util/error.h>

#include "callbacks_support.h"
#include "golden_training.h"
#include "support/captured_stderr.h"
#include "support/temporary_folder.h"

namespace {

using lightning::ModelPruning;
using lightning::ModelPruningOptions;
using lightning::PruningMethod;
using lightning_tests::cosine_loader;
using lightning_tests::weights_of;

class Network : public lightning::LightningModule {
 public:
  Network() {
    first = register_module("first", torch::nn::Linear(2, 4));
    second = register_module("second", torch::nn::Linear(4, 1));
    to(at::kDouble);
    lightning_tests::fill_with_sines(*this);
  }
  lightning::StepOutput training_step(const lightning::Batch& batch, int64_t) override {
    return second->forward(first->forward(batch["x"]).tanh()).square().mean();
  }
  void on_train_epoch_start() override {
    if (current_epoch() > 0) epochs.push_back(weights_of(*this));
  }
  lightning::OptimizerList configure_optimizers() override {
    return std::make_shared<lightning::optim::SGD>(
        parameters(), torch::optim::SGDOptions(0.1).momentum(0.9).weight_decay(0.01));
  }

  torch::nn::Linear first{nullptr};
  torch::nn::Linear second{nullptr};
  std::vector<at::Tensor> epochs;  // the weights after each pruning
};

lightning::TrainerOptions pruning_options() {
  lightning::TrainerOptions options = quiet_options();
  options.precision = "64-true";
  options.max_epochs = 4;
  options.gradient_clip_val = 0.5;
  return options;
}

std::vector<at::Tensor> golden_case(int64_t number) {
  std::ifstream file("tests/golden/callbacks/model_pruning.txt");
  REQUIRE(file);
  std::vector<at::Tensor> epochs;
  bool inside = false;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("case")) {
      inside = line == "case " + std::to_string(number);
    } else if (inside) {
      std::istringstream words(line);
      std::vector<double> values;
      for (double value = 0.0; words >> value;) values.push_back(value);
      epochs.push_back(at::tensor(values, at::kDouble));
    }
  }
  REQUIRE(epochs.size() == 4);
  return epochs;
}

std::vector<at::Tensor> fit(std::shared_ptr<ModelPruning> pruning) {
  const auto module = std::make_shared<Network>();
  lightning::Trainer trainer(pruning_options(), {std::move(pruning)}, lightning::Loggers{});
  trainer.fit(module, cosine_loader(8));
  std::vector<at::Tensor> epochs = module->epochs;
  epochs.push_back(weights_of(*module));
  return epochs;
}

void check_against_golden(int64_t number, std::shared_ptr<ModelPruning> pruning,
                          size_t epochs = 4) {
  const std::vector<at::Tensor> golden = golden_case(number);
  const std::vector<at::Tensor> ours = fit(std::move(pruning));
  REQUIRE(ours.size() == 4);
  for (size_t epoch = 0; epoch < epochs; ++epoch) {
    INFO("epoch " << epoch);
    CHECK(at::allclose(ours[epoch], golden[epoch], 1e-10, 1e-10));
  }
}

int64_t zeros(const at::Tensor& weights) { return (weights == 0).sum().item<int64_t>(); }

}  // namespace

TEST_CASE("ModelPruning trains as Lightning's does", "[callbacks]") {
  SECTION("all parameters together") {
    check_against_golden(0, std::make_shared<ModelPruning>(ModelPruningOptions{
                                .amount = 0.3, .use_lottery_ticket_hypothesis = false}));
  }
  SECTION("from the first values again") {
    check_against_golden(1, std::make_shared<ModelPruning>(ModelPruningOptions{.amount = 0.5}), 1);
  }
  SECTION("each weight matrix by itself") {
    check_against_golden(2, std::make_shared<ModelPruning>(
                                ModelPruningOptions{.amount = 0.25,
                                                    .parameter_names = {"weight"},
                                                    .use_global_unstructured = false,
                                                    .use_lottery_ticket_hypothesis = false}));
  }
  SECTION("by an amount of the epoch") {
    check_against_golden(3, std::make_shared<ModelPruning>(
                                ModelPruningOptions{.use_lottery_ticket_hypothesis = false},
                                [](int64_t epoch) { return 0.2 * static_cast<double>(epoch); }));
  }
}

TEST_CASE("ModelPruning begins again at the first values after every pruning", "[callbacks]") {
  const at::Tensor first = weights_of(Network());
  const std::vector<at::Tensor> epochs =
      fit(std::make_shared<ModelPruning>(ModelPruningOptions{.amount = 0.3}));
  // 17 weights: 5, 4, 2 and 2 of them go.
  const std::vector<int64_t> pruned = {5, 9, 11, 13};
  for (size_t epoch = 0; epoch < epochs.size(); ++epoch) {
    CHECK(zeros(epochs[epoch]) == pruned[epoch]);
    const at::Tensor left = epochs[epoch] != 0;
    CHECK(torch::equal(epochs[epoch].masked_select(left), first.masked_select(left)));
  }
}

TEST_CASE("ModelPruning at random takes as many", "[callbacks]") {
  torch::manual_seed(4);
  const auto pruning = std::make_shared<ModelPruning>(
      ModelPruningOptions{.pruning_fn = PruningMethod::kRandomUnstructured,
                          .amount = 0.5,
                          .modules = {"first"},
                          .use_lottery_ticket_hypothesis = false,
                          .make_pruning_permanent = false});
  const std::vector<at::Tensor> epochs = fit(pruning);
  // Of 12: 6, 3, 2 (halves go to even) and 0 (0.5 as well).
  CHECK(zeros(epochs[0]) == 6);
  CHECK(zeros(epochs[1]) == 9);
  CHECK(zeros(epochs[2]) == 11);
  CHECK(pruning->sparsity() == Approx(11.0 / 12.0));
  CHECK(pruning->mask("first.weight").sizes() == at::IntArrayRef({4, 2}));
  CHECK_FALSE(pruning->mask("second.weight").defined());
}

TEST_CASE("ModelPruning resumes bitwise after every step", "[callbacks]") {
  const auto [lottery, method] = GENERATE(table<bool, PruningMethod>(
      {{true, PruningMethod::kL1Unstructured}, {false, PruningMethod::kRandomUnstructured}}));
  const auto fit_steps = [&, use_lottery = lottery, fn = method](
                             const std::filesystem::path& folder, int64_t max_steps, bool resume) {
    lightning::TrainerOptions options = pruning_options();
    options.enable_checkpointing = true;
    options.default_root_dir = folder;
    options.max_epochs = 3;
    options.max_steps = max_steps;
    torch::manual_seed(3);
    const auto module = std::make_shared<Network>();
    lightning::Trainer trainer(
        options,
        {std::make_shared<ModelPruning>(ModelPruningOptions{
             .pruning_fn = fn, .amount = 0.3, .use_lottery_ticket_hypothesis = use_lottery}),
         std::make_shared<lightning::ModelCheckpoint>(
             lightning::ModelCheckpointOptions{.every_n_train_steps = 1})},
        lightning::Loggers{});
    trainer.fit(module, cosine_loader(6), {}, {.ckpt_path = resume ? "last" : ""});
    return weights_of(*module);
  };
  const lightning_tests::TemporaryFolder whole_folder;
  const at::Tensor whole = fit_steps(whole_folder.path(), -1, false);
  for (int64_t stop = 1; stop < 9; ++stop) {
    INFO("stopped after step " << stop);
    const lightning_tests::TemporaryFolder folder;
    fit_steps(folder.path(), stop, false);
    CHECK(torch::equal(fit_steps(folder.path(), -1, true), whole));
  }
}

TEST_CASE("ModelPruning prunes after an epoch that skip_rest_of_epoch() ended", "[callbacks]") {
  class Skips : public Network {
   public:
    void on_train_batch_start(const lightning::Batch&, int64_t index) override {
      if (index == 2) trainer().skip_rest_of_epoch();
    }
  };
  lightning::TrainerOptions options = pruning_options();
  options.max_epochs = 1;
  const auto pruning = std::make_shared<ModelPruning>(
      ModelPruningOptions{.amount = 0.3, .use_lottery_ticket_hypothesis = false});
  const auto module = std::make_shared<Skips>();
  lightning::Trainer trainer(options, {pruning}, lightning::Loggers{});
  trainer.fit(module, cosine_loader(8));
  CHECK(trainer.global_step() == 2);
  CHECK(zeros(weights_of(*module)) == 5);
}

TEST_CASE("ModelPruning leaves an epoch of a stream that a limit cuts short", "[callbacks]") {
  /// Three batches of 2 in each epoch, which only its end tells.
  class Stream : public lightning::IterableDataset {
   public:
    void begin_epoch(int64_t, uint64_t) override { position_ = 0; }
    std::optional<lightning::Batch> next() override {
      if (position_ == 6) return std::nullopt;
      const auto place = static_cast<double>(position_++);
      return lightning::Batch(
          {{"x", at::tensor(std::vector<double>{std::cos(place), std::sin(place)}, at::kDouble)}});
    }
    lightning::StateDict state_dict() const override {
      lightning::StateDict state;
      state.set("position", position_);
      return state;
    }
    void load_state_dict(const lightning::StateDict& state) override {
      position_ = state.get<int64_t>("position");
    }

   private:
    int64_t position_ = 0;
  };
  const auto fit_steps = [](const std::filesystem::path& folder, int64_t max_steps, bool resume) {
    lightning::TrainerOptions options = pruning_options();
    options.enable_checkpointing = true;
    options.default_root_dir = folder;
    options.max_epochs = 2;
    options.max_steps = max_steps;
    const auto module = std::make_shared<Network>();
    lightning::Trainer trainer(options,
                               {std::make_shared<ModelPruning>(ModelPruningOptions{
                                    .amount = 0.3, .use_lottery_ticket_hypothesis = false}),
                                std::make_shared<lightning::ModelCheckpoint>(
                                    lightning::ModelCheckpointOptions{.every_n_train_steps = 1})},
                               lightning::Loggers{});
    trainer.fit(module,
                std::make_shared<lightning::DataLoader>(
                    std::make_shared<Stream>(), lightning::DataLoaderOptions{.batch_size = 2}),
                {}, {.ckpt_path = resume ? "last" : ""});
    return weights_of(*module);
  };
  const lightning_tests::TemporaryFolder whole_folder;
  const at::Tensor whole = fit_steps(whole_folder.path(), -1, false);
  CHECK(zeros(whole) == 9);
  for (int64_t stop = 1; stop < 6; ++stop) {
    INFO("stopped after step " << stop);
    const lightning_tests::TemporaryFolder folder;
    const at::Tensor stopped = fit_steps(folder.path(), stop, false);
    if (stop < 3) CHECK(zeros(stopped) == 0);
    CHECK(torch::equal(fit_steps(folder.path(), -1, true), whole));
  }
}

TEST_CASE("ModelPruning prunes the weights that the module begins the fit with", "[callbacks]") {
  /// Its layers are there, and have their values, after all setup().
  class Late : public Network {
   public:
    void configure_model() override {
      third = register_module("third", torch::nn::Linear(2, 4));
      third->to(at::kDouble);
      third->weight.data().fill_(3.0);
    }
    lightning::StepOutput training_step(const lightning::Batch& batch, int64_t) override {
      return third->forward(batch["x"]).square().mean();
    }
    torch::nn::Linear third{nullptr};
  };
  const auto pruning =
      std::make_shared<ModelPruning>(ModelPruningOptions{.amount = 0.5,
                                                         .modules = {"third"},
                                                         .parameter_names = {"weight"},
                                                         .make_pruning_permanent = false});
  const auto module = std::make_shared<Late>();
  lightning::TrainerOptions options = pruning_options();
  options.max_epochs = 1;
  lightning::Trainer trainer(options, {pruning}, lightning::Loggers{});
  trainer.fit(module, cosine_loader(8));
  CHECK(pruning->sparsity() == Approx(0.5));
  CHECK(torch::equal(module->third->weight, 3.0 * pruning->mask("third.weight")));
}

TEST_CASE("ModelPruning refuses a checkpoint of other parameters", "[callbacks]") {
  const lightning_tests::TemporaryFolder folder;
  lightning::TrainerOptions options = pruning_options();
  options.default_root_dir = folder.path();
  const auto fit_layers = [&](const std::vector<std::string>& modules, int64_t epochs,
                              const std::string& ckpt_path) {
    options.max_epochs = epochs;
    lightning::Trainer trainer(
        options, {std::make_shared<ModelPruning>(ModelPruningOptions{.modules = modules})},
        lightning::Loggers{});
    trainer.fit(std::make_shared<Network>(), cosine_loader(8), {}, {.ckpt_path = ckpt_path});
    trainer.save_checkpoint(folder.path() / (std::to_string(epochs) + ".ckpt"));
  };
  fit_layers({"first"}, 1, "");
  const std::string checkpoint = (folder.path() / "1.ckpt").string();
  CHECK_THROWS_WITH(fit_layers({"first", "second"}, 2, checkpoint),
                    Catch::Contains("masks of 2 parameters"));
  CHECK_NOTHROW(fit_layers({"first"}, 2, checkpoint));
}

TEST_CASE("ModelPruning refuses what it can't prune", "[callbacks]") {
  CHECK_THROWS_WITH(ModelPruning({.amount = 1.5}), Catch::Contains("amount is 1.5"));
  CHECK_THROWS_WITH(ModelPruning({.parameter_names = {}}), Catch::Contains("parameter_names"));
  CHECK_THROWS_WITH(fit(std::make_shared<ModelPruning>(ModelPruningOptions{.modules = {"third"}})),
                    Catch::Contains("modules has \"third\""));
  CHECK_THROWS_WITH(
      fit(std::make_shared<ModelPruning>(ModelPruningOptions{.parameter_names = {"kernel"}})),
      Catch::Contains("no submodule has a parameter"));
}

TEST_CASE("ModelPruning is made from YAML", "[callbacks]") {
  CHECK(std::dynamic_pointer_cast<ModelPruning>(
            lightning::callback_registry().create(lightning::config::parse_yaml(
                "{class_path: ModelPruning, init_args: {pruning_fn: random_unstructured, "
                "amount: 0.2, modules: [net.0], parameter_names: [weight]}}",
                "config"))) != nullptr);
}

TEST_CASE("ModelPruning warns when it prunes nothing", "[callbacks]") {
  lightning::TrainerOptions options = pruning_options();
  options.max_epochs = 1;
  const lightning_tests::CapturedStderr output;
  lightning::Trainer trainer(options,
                             {std::make_shared<ModelPruning>(ModelPruningOptions{.amount = 0.0})},
                             lightning::Loggers{});
  trainer.fit(std::make_shared<Network>(), cosine_loader(6));
  CHECK_THAT(output.text(), Catch::Contains("amount is 0, so nothing is pruned"));
}
