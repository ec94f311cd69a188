// What single options of the Trainer change in a fit.
#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include <ATen/Context.h>

#include <lightning/callbacks/model_checkpoint.h>
#include <lightning/trainer/trainer.h>
#include <lightning/util/error.h>

#include "support/boring_module.h"
#include "support/captured_stderr.h"
#include "support/temporary_folder.h"

namespace {

using lightning::BatchLimit;
using lightning::GradientClipAlgorithm;
using lightning::Trainer;
using lightning::TrainerOptions;

/// Counts its steps of each kind and notes when validations were.
class Counting : public BoringModule {
 public:
  lightning::StepOutput training_step(const lightning::Batch& batch, int64_t index) override {
    ++train;
    return BoringModule::training_step(batch, index);
  }
  void on_validation_start() override {
    if (trainer().stage() == lightning::Stage::kFit) validated_after.push_back(train);
  }
  void validation_step(const lightning::Batch&, int64_t) override { ++validation; }
  void test_step(const lightning::Batch&, int64_t) override { ++test; }
  lightning::Batch predict_step(const lightning::Batch& batch, int64_t index) override {
    ++predict;
    return BoringModule::predict_step(batch, index);
  }

  int64_t train = 0, validation = 0, test = 0, predict = 0;
  std::vector<int64_t> validated_after;  // in training batches
};

/// Training batches after which validations ran; an epoch has four.
std::vector<int64_t> validations(TrainerOptions options) {
  options.num_sanity_val_steps = 0;
  const auto module = std::make_shared<Counting>();
  Trainer trainer(options, {}, lightning::Loggers{});
  trainer.fit(module, boring_loader(8), boring_loader(2));
  return module->validated_after;
}

/// Notes where it is in training batches, validations and ends of epochs. Checkpoints keep how many
/// notes there are.
class NotesPlaces : public BoringModule {
 public:
  void on_train_batch_start(const lightning::Batch&, int64_t index) override {
    note("batch " + std::to_string(index));
  }
  void on_validation_start() override { note("validation"); }
  void on_train_epoch_end() override { note("end"); }
  void on_save_checkpoint(lightning::StateDict& state) override {
    state.set("notes", before + notes.size());
  }
  void on_load_checkpoint(const lightning::StateDict& state) override {
    before = static_cast<size_t>(state.get<int64_t>("notes"));
  }

  std::vector<std::string> notes;
  size_t before = 0;  // notes of the fit that it resumes

 private:
  void note(const std::string& what) {
    notes.push_back(what + " of epoch " + std::to_string(current_epoch()) + " after " +
                    std::to_string(global_step()) + " steps and " +
                    std::to_string(trainer().samples_seen()) + " samples");
  }
};

/// The weight after one step of SGD with rate 0.1, from `initial`.
at::Tensor step_once(TrainerOptions options, const at::Tensor& initial) {
  options.max_steps = 1;
  const auto module = std::make_shared<BoringModule>();
  {
    const torch::NoGradGuard no_grad;
    module->layer->weight.copy_(initial);
    module->layer->bias.zero_();
  }
  Trainer trainer(options, {}, lightning::Loggers{});
  trainer.fit(module, boring_loader());
  return module->layer->weight.detach();
}

/// The gradients (weight, bias) of that step, by hand.
std::pair<at::Tensor, at::Tensor> gradients(const at::Tensor& initial) {
  auto loader = boring_loader();
  const at::Tensor x = loader->next().value()["x"];
  const at::Tensor y = x.matmul(initial.t());  // d(mean(y^2))/dy = 2 y / n
  const at::Tensor dy = 2 * y / y.numel();
  return {dy.t().matmul(x), dy.sum()};
}

}  // namespace

TEST_CASE("A stop requested before min_epochs and min_steps are over is dropped", "[trainer]") {
  class Stops : public BoringModule {
   public:
    explicit Stops(std::vector<int64_t> steps) : steps_(std::move(steps)) {}
    void on_train_batch_end(const lightning::StepOutput&, const lightning::Batch&,
                            int64_t) override {
      for (const int64_t step : steps_) {
        if (step == global_step()) trainer().request_stop("enough");
      }
    }

   private:
    std::vector<int64_t> steps_;
  };
  TrainerOptions options = quiet_options();
  options.max_epochs = 5;  // of three steps
  const auto steps = [&](const std::vector<int64_t>& requests) {
    const lightning_tests::CapturedStderr output;
    Trainer trainer(options, {}, lightning::Loggers{});
    trainer.fit(std::make_shared<Stops>(requests), boring_loader());
    const std::string text = output.text();
    const bool said = text.find("a stop was requested (enough)") != std::string::npos;
    CHECK(said == (requests.front() < options.min_steps.value_or(0)));
    CHECK(text.find("a stop was requested") == text.rfind("a stop was requested"));
    return trainer.global_step();
  };
  CHECK(steps({1}) == 1);
  options.min_steps = 5;
  CHECK(steps({1, 2}) == 15);
  CHECK(steps({1, 2, 5}) == 5);
  CHECK(steps({5}) == 5);
  options.min_epochs = 4;
  options.min_steps = 6;
  CHECK(steps({5, 11}) == 15);
  // What is requested in the last step of the epoch holds.
  CHECK(steps({5, 12}) == 12);
}

TEST_CASE("Validations run when the options say", "[trainer]") {
  using Counts = std::vector<int64_t>;
  TrainerOptions options = quiet_options();
  options.max_epochs = 5;
  SECTION("after each epoch") { CHECK(validations(options) == Counts{4, 8, 12, 16, 20}); }
  SECTION("check_val_every_n_epoch") {
    options.check_val_every_n_epoch = 2;
    CHECK(validations(options) == Counts{8, 16});
  }
  SECTION("val_check_interval as a share") {
    options.max_epochs = 2;
    options.val_check_interval = 0.5;
    CHECK(validations(options) == Counts{2, 4, 6, 8});
  }
  SECTION("val_check_interval as a number begins anew with each epoch") {
    options.max_epochs = 2;
    options.val_check_interval = 3;
    CHECK(validations(options) == Counts{3, 7});
  }
  SECTION("both: inside every second epoch") {
    options.check_val_every_n_epoch = 2;
    options.val_check_interval = 2;
    CHECK(validations(options) == Counts{6, 8, 14, 16});
  }
  SECTION("check_val_every_n_epoch null counts batches across epochs") {
    options.check_val_every_n_epoch = std::nullopt;
    options.val_check_interval = 6;
    CHECK(validations(options) == Counts{6, 12, 18});
  }
  SECTION("limit_val_batches 0: never") {
    options.limit_val_batches = 0;
    CHECK(validations(options).empty());
  }
}

TEST_CASE("A resumed fit counts and validates as the whole one does (pains #850, #19549)",
          "[trainer]") {
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options = quiet_options();
  options.enable_checkpointing = true;
  options.max_epochs = 2;  // of five batches, which are three steps
  options.accumulate_grad_batches = 2;
  options.num_sanity_val_steps = 0;
  SECTION("validations after epochs") {}
  SECTION("validations inside epochs") { options.val_check_interval = 3; }
  SECTION("validations across epochs") {
    options.check_val_every_n_epoch = std::nullopt;
    options.val_check_interval = 4;
  }
  const auto fit = [&](const std::string& name, const lightning::Callbacks& callbacks,
                       const std::string& ckpt_path) {
    options.default_root_dir = folder.path() / name;
    auto module = std::make_shared<NotesPlaces>();
    Trainer trainer(options, callbacks, lightning::Loggers{});
    trainer.fit(module, boring_loader(10), boring_loader(2), {.ckpt_path = ckpt_path});
    CHECK(trainer.global_step() == 6);
    CHECK(trainer.current_epoch() == 2);
    return module;
  };
  const std::filesystem::path checkpoints = folder.path() / "checkpoints";
  const auto whole =
      fit("whole",
          {std::make_shared<lightning::ModelCheckpoint>(lightning::ModelCheckpointOptions{
              .dirpath = checkpoints, .save_top_k = -1, .every_n_train_steps = 1})},
          "");
  REQUIRE(whole->notes.size() >= 14);  // 10 batches, 2 validations or more, 2 ends
  options.enable_checkpointing = false;
  int64_t resumed = 0;
  for (const auto& entry : std::filesystem::directory_iterator(checkpoints)) {
    if (entry.is_symlink() || entry.path().extension() != ".ckpt") continue;
    INFO(entry.path());
    const auto module = fit("resumed_" + std::to_string(resumed++), {}, entry.path().string());
    REQUIRE(module->before >= 2);  // the batches of a step
    REQUIRE(module->before <= whole->notes.size());
    const auto rest = whole->notes.begin() + static_cast<std::ptrdiff_t>(module->before);
    CHECK(module->notes == std::vector<std::string>(rest, whole->notes.end()));
  }
  CHECK(resumed == 6);
}

TEST_CASE("gradient_clip_algorithm value limits each element, norm their length", "[trainer]") {
  const at::Tensor initial = torch::tensor({{3.0F, -0.2F}});
  const auto [weight, bias] = gradients(initial);
  const double norm =
      std::sqrt(weight.square().sum().item<double>() + bias.item<double>() * bias.item<double>());
  const double smallest = weight.abs().min().item<double>();
  const double largest = weight.abs().max().item<double>();
  REQUIRE(smallest < 0.9 * largest);
  TrainerOptions options = quiet_options();
  CHECK(step_once(options, initial).allclose(initial - 0.1 * weight));

  const double limit = 0.5 * (smallest + largest);
  options.gradient_clip_val = limit;
  options.gradient_clip_algorithm = GradientClipAlgorithm::kValue;
  CHECK(step_once(options, initial).allclose(initial - 0.1 * weight.clamp(-limit, limit)));
  options.gradient_clip_algorithm = GradientClipAlgorithm::kNorm;
  CHECK(step_once(options, initial).allclose(initial - 0.1 * weight * (limit / norm), 1e-4));
}

TEST_CASE("deterministic refuses kernels that are not, in that fit alone", "[trainer]") {
  class Puts : public BoringModule {
    lightning::StepOutput training_step(const lightning::Batch& batch, int64_t index) override {
      // Which of two values lands in one place isn't defined.
      at::Tensor target = torch::zeros({4});
      target.put_(torch::zeros({2}, torch::kInt64), torch::ones({2}));
      return BoringModule::training_step(batch, index);
    }
  };
  TrainerOptions options = quiet_options();
  options.max_epochs = 1;
  const auto fit = [&](std::shared_ptr<lightning::LightningModule> module) {
    Trainer trainer(options, {}, lightning::Loggers{});
    trainer.fit(std::move(module), boring_loader());
    return trainer.global_step();
  };
  options.deterministic = true;
  CHECK_THROWS_WITH(fit(std::make_shared<Puts>()), Catch::Contains("deterministic"));
  CHECK(fit(std::make_shared<BoringModule>()) == 3);
  options.deterministic = false;
  CHECK(fit(std::make_shared<Puts>()) == 3);
}

TEST_CASE("An optimizer whose state can't be saved is refused before the first step", "[trainer]") {
  class Foreign : public torch::optim::SGD {
    using SGD::SGD;
  };
  class Module : public Counting {
    lightning::OptimizerList configure_optimizers() override {
      return std::make_shared<Foreign>(parameters(), torch::optim::SGDOptions(0.1));
    }
  };
  TrainerOptions options = quiet_options();
  options.max_epochs = 1;
  const auto module = std::make_shared<Module>();
  Trainer trainer(options, {}, lightning::Loggers{});
  CHECK_THROWS_WITH(trainer.fit(module, boring_loader(), boring_loader()),
                    Catch::Contains("HINT") && Catch::Contains("StatefulOptimizer"));
  CHECK(module->train == 0);
  CHECK(module->validation == 0);
}

TEST_CASE("limit_val, test and predict_batches are shares, numbers or 0", "[trainer]") {
  struct Row {
    BatchLimit limit;
    int64_t batches;  // of the four that a loader has
  };
  const Row row =
      GENERATE(Row{0.5, 2}, Row{0.8, 3}, Row{1.0, 4}, Row{1, 1}, Row{9, 4}, Row{0, 0}, Row{0.0, 0});
  INFO(row.limit.to_text());
  TrainerOptions options = quiet_options();
  options.max_epochs = 2;
  options.num_sanity_val_steps = 3;
  options.limit_val_batches = options.limit_test_batches = options.limit_predict_batches =
      row.limit;
  const auto module = std::make_shared<Counting>();
  Trainer trainer(options, {}, lightning::Loggers{});
  trainer.fit(module, boring_loader(), boring_loader(8));
  CHECK(module->validation == 2 * row.batches + std::min<int64_t>(row.batches, 3));
  module->validation = 0;
  trainer.validate(module, boring_loader(8));
  CHECK(module->validation == row.batches);
  trainer.test(module, boring_loader(8));
  CHECK(module->test == row.batches);
  trainer.predict(module, boring_loader(8), {});
  CHECK(module->predict == row.batches);
}

TEST_CASE("A share of the batches that leaves none is an error that names the option",
          "[trainer]") {
  TrainerOptions options = quiet_options();
  options.max_epochs = 1;
  const auto module = std::make_shared<Counting>();
  SECTION("limit_train_batches") {
    options.limit_train_batches = 0.2;
    Trainer trainer(options, {}, lightning::Loggers{});
    CHECK_THROWS_WITH(trainer.fit(module, boring_loader(8)),
                      Catch::Contains("limit_train_batches is 0.2 of 4"));
  }
  SECTION("limit_val_batches") {
    options.limit_val_batches = 0.2;
    Trainer trainer(options, {}, lightning::Loggers{});
    CHECK_THROWS_WITH(trainer.fit(module, boring_loader(8), boring_loader(8)),
                      Catch::Contains("limit_val_batches is 0.2 of 4"));
  }
  SECTION("limit_test_batches") {
    options.limit_test_batches = 0.2;
    Trainer trainer(options, {}, lightning::Loggers{});
    CHECK_THROWS_WITH(trainer.test(module, boring_loader(8)),
                      Catch::Contains("limit_test_batches is 0.2 of 4"));
  }
  SECTION("limit_predict_batches") {
    options.limit_predict_batches = 0.2;
    Trainer trainer(options, {}, lightning::Loggers{});
    CHECK_THROWS_WITH(trainer.predict(module, boring_loader(8), {}),
                      Catch::Contains("limit_predict_batches is 0.2 of 4"));
  }
}

TEST_CASE("fast_dev_run runs n batches of everything and writes nothing", "[trainer]") {
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options;
  options.accelerator = "cpu";
  options.default_root_dir = folder.path();
  options.max_epochs = 7;
  options.fast_dev_run = 2;
  // Checkpoints and the default loggers are asked for, and there are batches for more.
  const auto module = std::make_shared<Counting>();
  Trainer trainer(options, {std::make_shared<lightning::ModelCheckpoint>()});
  trainer.fit(module, boring_loader(8), boring_loader(8));
  CHECK(module->train == 2);
  CHECK(module->validation == 2);
  trainer.test(module, boring_loader(8));
  CHECK(module->test == 2);
  trainer.predict(module, boring_loader(8), {});
  CHECK(module->predict == 2);
  CHECK(std::filesystem::is_empty(folder.path()));
}

TEST_CASE("enable_model_summary and enable_progress_bar decide what is on the screen",
          "[trainer]") {
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options = quiet_options();
  options.max_epochs = 2;
  options.default_root_dir = folder.path();
  options.enable_model_summary = GENERATE(false, true);
  options.enable_progress_bar = GENERATE(false, true);
  const lightning_tests::CapturedStderr output;
  Trainer trainer(options, {}, lightning::Loggers{});
  trainer.fit(std::make_shared<BoringModule>(), boring_loader());
  const std::string text = output.text();
  CHECK((text.find("3 trainable, 0 frozen") != std::string::npos) == options.enable_model_summary);
  // The first epoch is too short to leave a line of its own.
  const bool shows_the_end = text.find("Epoch 2/2: 100%") != std::string::npos;
  CHECK(shows_the_end == options.enable_progress_bar);
}
