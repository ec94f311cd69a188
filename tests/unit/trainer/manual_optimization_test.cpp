// Manual optimization: what training_step() does with optimizers is what a plain LibTorch loop
// does, and a run resumes bitwise in the middle of it.
#include <ATen/autocast_mode.h>
#include <catch2/catch.hpp>

#include <filesystem>
#include <fstream>
#include <functional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <lightning/callbacks/callback.h>
#include <lightning/callbacks/model_checkpoint.h>
#include <lightning/checkpoint/checkpoint.h>
#include <lightning/optim/lr_schedules.h>
#include <lightning/precision/detail/modes.h>
#include <lightning/trainer/trainer.h>
#include <lightning/util/error.h>

#include "support/boring_module.h"
#include "support/captured_stderr.h"
#include "support/temporary_folder.h"

namespace {

namespace fs = std::filesystem;
using lightning::Sync;

/// Two parts that work against each other, and what trains them.
class Gan : public lightning::LightningModule {
 public:
  Gan() {
    generator = register_module("generator", torch::nn::Linear(2, 2));
    critic = register_module("critic", torch::nn::Linear(2, 1));
    const torch::NoGradGuard no_grad;
    int64_t i = 0;
    for (const at::Tensor& parameter : parameters()) {
      parameter.copy_(torch::arange(parameter.numel()).add(++i).sin().view_as(parameter));
    }
    to(torch::kFloat64);
    set_automatic_optimization(false);
  }
  lightning::OptimizerList configure_optimizers() override {
    return std::vector<lightning::OptimizerConfig>{
        {.optimizer = std::make_shared<lightning::optim::Adam>(generator->parameters(),
                                                               torch::optim::AdamOptions(0.05))},
        {.optimizer = std::make_shared<lightning::optim::SGD>(
             critic->parameters(), torch::optim::SGDOptions(0.1).momentum(0.9))}};
  }
  at::Tensor score(const at::Tensor& x) { return critic->forward(x).square().mean(); }
  lightning::StepOutput training_step(const lightning::Batch& batch, int64_t index) override {
    return step(*this, batch["x"].to(torch::kFloat64), index);
  }
  at::Tensor weights() const {
    std::vector<at::Tensor> all;
    for (const at::Tensor& parameter : parameters()) all.push_back(parameter.detach().flatten());
    return torch::cat(all);
  }

  std::function<lightning::StepOutput(Gan&, const at::Tensor&, int64_t)> step;
  torch::nn::Linear generator{nullptr}, critic{nullptr};
};

/// The usual step of a GAN, with two backwards for the critic.
lightning::StepOutput alternate(Gan& gan, const at::Tensor& x, int64_t) {
  auto& critic = gan.optimizer(1);
  auto& generator = gan.optimizer(0);
  {
    const auto toggle = critic.toggle();
    critic.zero_grad();
    gan.manual_backward(-gan.score(x), Sync::kMoreFollow);
    gan.manual_backward(gan.score(gan.generator->forward(x)));
    critic.clip_gradients(0.5);
    critic.step();
  }
  const auto toggle = generator.toggle();
  generator.zero_grad();
  const at::Tensor loss = -gan.score(gan.generator->forward(x));
  gan.manual_backward(loss);
  generator.step();
  return loss;
}

/// The same by LibTorch alone.
at::Tensor alternate_by_hand(const std::vector<at::Tensor>& batches) {
  Gan gan;
  torch::optim::Adam generator(gan.generator->parameters(), torch::optim::AdamOptions(0.05));
  torch::optim::SGD critic(gan.critic->parameters(), torch::optim::SGDOptions(0.1).momentum(0.9));
  for (const at::Tensor& x : batches) {
    critic.zero_grad();
    (gan.score(gan.generator->forward(x).detach()) - gan.score(x)).backward();
    torch::nn::utils::clip_grad_norm_(gan.critic->parameters(), 0.5);
    critic.step();
    generator.zero_grad();
    (-gan.score(gan.generator->forward(x))).backward();
    generator.step();
  }
  return gan.weights();
}

std::vector<at::Tensor> boring_batches() {
  std::vector<at::Tensor> batches;
  const auto loader = boring_loader();
  while (auto batch = loader->next()) batches.push_back((*batch)["x"].to(torch::kFloat64));
  return batches;
}

using Step = decltype(Gan::step);

std::shared_ptr<Gan> fit(const Step& step, lightning::TrainerOptions options = quiet_options(),
                         lightning::Callbacks callbacks = {}, const std::string& ckpt_path = "",
                         int64_t* global_step = nullptr) {
  const auto gan = std::make_shared<Gan>();
  gan->step = step;
  if (!options.max_epochs) options.max_epochs = 2;
  lightning::Trainer trainer(options, std::move(callbacks), lightning::Loggers{});
  trainer.fit(gan, boring_loader(), {}, {.ckpt_path = ckpt_path});
  if (global_step != nullptr) *global_step = trainer.global_step();
  return gan;
}

/// Where a checkpoint was written: epoch and batches of it.
using Places = std::set<std::pair<int64_t, int64_t>>;

/// Weights after 6 batches in one go equal those of a run that resumes from any of its checkpoints.
Places check_resume(const Step& step) {
  lightning::TrainerOptions options = quiet_options();
  options.max_epochs = 2;
  const at::Tensor whole = fit(step, options)->weights();
  const lightning_tests::TemporaryFolder folder;
  options.default_root_dir = folder.path();
  options.enable_checkpointing = true;
  const auto saving = [] {
    return lightning::Callbacks{std::make_shared<lightning::ModelCheckpoint>(
        lightning::ModelCheckpointOptions{.save_top_k = -1, .every_n_train_steps = 1})};
  };
  fit(step, options, saving());
  Places places;
  for (const auto& entry : fs::recursive_directory_iterator(folder.path())) {
    const fs::path path = entry.path();
    if (path.extension() != ".ckpt" || fs::is_symlink(path)) continue;
    const lightning::Checkpoint checkpoint = lightning::Checkpoint::read(path);
    const lightning::StateDict loop = checkpoint.state.nested("loop");
    places.emplace(loop.get<int64_t>("epoch"), loop.get<int64_t>("batch_idx"));
    const lightning_tests::TemporaryFolder elsewhere;
    fs::copy(path, elsewhere.path() / path.filename(), fs::copy_options::recursive);
    options.default_root_dir = elsewhere.path();
    CAPTURE(path.string());
    const auto resumed =
        fit(step, options, saving(), (elsewhere.path() / path.filename()).string());
    CHECK(torch::equal(resumed->weights(), whole));
  }
  return places;
}

}  // namespace

TEST_CASE("A GAN with toggles, clipping and two backwards is LibTorch's and Lightning's",
          "[trainer]") {
  std::vector<at::Tensor> batches = boring_batches();
  for (size_t i = 0; i < 3; ++i) batches.push_back(batches[i].clone());  // two epochs
  int64_t global_step = 0;
  std::vector<int64_t> counts;
  const auto gan = fit(
      [&](Gan& module, const at::Tensor& x, int64_t index) {
        counts.push_back(module.optimizer(1).step_count());
        return alternate(module, x, index);
      },
      quiet_options(), {}, "", &global_step);
  CHECK(torch::allclose(gan->weights(), alternate_by_hand(batches), 1e-13, 1e-14));
  std::ifstream recorded("tests/golden/optimization/gan.txt");
  const at::Tensor weights = gan->weights();
  for (int64_t i = 0; i < weights.numel(); ++i) {
    double value = 0.0;
    REQUIRE(recorded >> value);
    CHECK(weights[i].item<double>() == Approx(value).epsilon(1e-12));
  }
  // The pain "global_step counts all optimizers" (Lightning has 12 here).
  CHECK(global_step == 6);
  CHECK(counts == std::vector<int64_t>{0, 1, 2, 3, 4, 5});
  for (const at::Tensor& parameter : gan->parameters()) CHECK(parameter.requires_grad());
}

TEST_CASE("A run with several optimizers resumes bitwise from every step", "[trainer]") {
  CHECK(check_resume(alternate).size() == 6);
}

TEST_CASE("Gradients that are carried over batches are part of a checkpoint", "[trainer]") {
  // The generator steps every other batch and gathers gradients in both.
  const Places places = check_resume([](Gan& gan, const at::Tensor& x, int64_t index) {
    {
      const auto toggle = gan.optimizer(1).toggle();
      gan.optimizer(1).zero_grad();
      gan.manual_backward(gan.score(x));
      gan.optimizer(1).step();
    }
    const auto toggle = gan.optimizer(0).toggle();
    gan.manual_backward(gan.generator->forward(x).square().mean());
    if (index % 2 == 1) {
      gan.optimizer(0).step();
      gan.optimizer(0).zero_grad();
    }
    return lightning::StepOutput::skip();
  });
  CHECK(places.size() == 6);
}

TEST_CASE("An open accumulation delays checkpoints to its end, but not beyond the epoch",
          "[trainer]") {
  // Three batches an epoch: the critic steps after each, the generator after every second one of
  // the run.
  const Places places = check_resume([](Gan& gan, const at::Tensor& x, int64_t) {
    {
      const auto toggle = gan.optimizer(1).toggle();
      gan.optimizer(1).zero_grad();
      gan.manual_backward(gan.score(x));
      gan.optimizer(1).step();
    }
    const int64_t batch = gan.trainer().samples_seen() / 2;
    const auto toggle = gan.optimizer(0).toggle();
    const bool last = batch % 2 == 1;
    gan.manual_backward(gan.generator->forward(x).square().mean() / 2,
                        last ? Sync::kLast : Sync::kMoreFollow);
    if (last) {
      gan.optimizer(0).step();
      gan.optimizer(0).zero_grad();
    }
    return lightning::StepOutput::skip();
  });
  CHECK(places == Places{{0, 2}, {0, 3}, {1, 1}, {1, 3}});
}

TEST_CASE("A validation leaves gradients alone that a step is still to use", "[trainer]") {
  const Step step = [](Gan& gan, const at::Tensor& x, int64_t index) {
    const auto toggle = gan.optimizer(0).toggle();
    gan.manual_backward(gan.generator->forward(x).square().mean());
    if (index == 2) {
      gan.optimizer(0).step();
      gan.optimizer(0).zero_grad();
    }
    return lightning::StepOutput::skip();
  };
  class Validated : public Gan {
   public:
    void validation_step(const lightning::Batch&, int64_t) override { ++validations; }
    int64_t validations = 0;
  };
  lightning::TrainerOptions options = quiet_options();
  options.max_epochs = 1;
  options.val_check_interval = 1;
  options.num_sanity_val_steps = 0;
  lightning::Trainer trainer(options, {}, lightning::Loggers{});
  const auto gan = std::make_shared<Validated>();
  gan->step = step;
  trainer.fit(gan, boring_loader(), boring_loader());
  CHECK(gan->validations == 9);
  CHECK(torch::equal(gan->weights(), fit(step, options)->weights()));
}

TEST_CASE("Schedules are the module's to step", "[trainer]") {
  class Scheduled : public Gan {
   public:
    lightning::OptimizerList configure_optimizers() override {
      auto configs = Gan::configure_optimizers().configs();
      configs[1].lr_scheduler =
          std::make_shared<lightning::optim::StepLR>(configs[1].optimizer, 4, 0.5);
      return configs;
    }
  };
  const auto gan = std::make_shared<Scheduled>();
  std::vector<double> rates;
  gan->step = [&](Gan& module, const at::Tensor& x, int64_t index) {
    const lightning::StepOutput output = alternate(module, x, index);
    for (int i = 0; index == 0 && i < 4; ++i) module.lr_scheduler(1).step();
    rates.push_back(module.lr_scheduler(1).get_last_lr().front());
    CHECK_THROWS_WITH(module.lr_scheduler(0), Catch::Contains("lr_scheduler(0, 0)"));
    return output;
  };
  lightning::TrainerOptions options = quiet_options();
  options.max_epochs = 2;
  const lightning_tests::CapturedStderr output;
  lightning::Trainer(options, {}, lightning::Loggers{}).fit(gan, boring_loader());
  // Of a schedule that the Trainer steps: its first change comes after the fit.
  CHECK_THAT(output.text(), !Catch::Contains("StepLR"));
  CHECK(rates == std::vector<double>{0.05, 0.05, 0.05, 0.025, 0.025, 0.025});
}

TEST_CASE("Manual optimization is refused where it can't be meant", "[trainer]") {
  const auto refused = [](const Step& step, const std::string& text,
                          lightning::TrainerOptions options = quiet_options()) {
    CHECK_THROWS_WITH(fit(step, options), Catch::Contains(text) && Catch::Contains("HINT"));
  };
  refused(
      [](Gan& gan, const at::Tensor&, int64_t) { return (gan.optimizer(1).step(), at::Tensor()); },
      "step() of optimizer 1 came without a manual_backward()");
  refused(
      [](Gan& gan, const at::Tensor& x, int64_t) {
        gan.manual_backward(gan.score(x), Sync::kMoreFollow);
        gan.optimizer(1).step();
        return at::Tensor();
      },
      "came after manual_backward() with Sync::kMoreFollow");
  refused(
      [](Gan& gan, const at::Tensor& x, int64_t) {
        const auto toggle = gan.optimizer(0).toggle();
        gan.manual_backward(gan.score(x));
        return at::Tensor();
      },
      "a loss without a graph");
  refused(
      [](Gan& gan, const at::Tensor& x, int64_t) {
        gan.manual_backward(gan.critic->forward(x));
        return at::Tensor();
      },
      "a loss of shape [2, 1]");
  refused(
      [](Gan& gan, const at::Tensor&, int64_t) { return (gan.optimizer(2).step(), at::Tensor()); },
      "optimizer(2) was asked for, and configure_optimizers() gave 2");
  lightning::TrainerOptions options = quiet_options();
  options.accumulate_grad_batches = 2;
  refused(alternate, "accumulate_grad_batches is 2 and the module optimizes manually", options);
  options = quiet_options();
  options.gradient_clip_val = 1.0;
  refused(alternate, "gradient_clip_val is 1 and the module optimizes manually", options);
  refused(
      [](Gan& gan, const at::Tensor&, int64_t) {
        gan.trainer().set_accumulate_grad_batches(2);
        return at::Tensor();
      },
      "set_accumulate_grad_batches() was called with manual optimization");
}

TEST_CASE("Optimizers that don't fit the mode are refused before the first step", "[trainer]") {
  class Several : public Gan {
   public:
    bool shared = false;
    lightning::OptimizerList configure_optimizers() override {
      auto configs = Gan::configure_optimizers().configs();
      if (shared) {
        configs[1].optimizer =
            std::make_shared<lightning::optim::SGD>(parameters(), torch::optim::SGDOptions(0.1));
      }
      return configs;
    }
  };
  lightning::Trainer trainer(quiet_options(), {}, lightning::Loggers{});
  const auto module = std::make_shared<Several>();
  module->step = alternate;
  module->set_automatic_optimization(true);
  CHECK_THROWS_WITH(trainer.fit(module, boring_loader()),
                    Catch::Contains("gave 2 optimizers with automatic optimization"));
  module->set_automatic_optimization(false);
  module->shared = true;
  CHECK_THROWS_WITH(trainer.fit(module, boring_loader()),
                    Catch::Contains("parameter generator.weight is in optimizers 0 and 1"));
  class Automatic : public BoringModule {
    lightning::StepOutput training_step(const lightning::Batch& batch, int64_t index) override {
      const lightning::StepOutput output = BoringModule::training_step(batch, index);
      manual_backward(output.loss);
      return output;
    }
  };
  CHECK_THROWS_WITH(trainer.fit(std::make_shared<Automatic>(), boring_loader()),
                    Catch::Contains("was called with automatic optimization"));
}

TEST_CASE("A checkpoint of another number of optimizers is refused", "[trainer]") {
  class Single : public Gan {
    lightning::OptimizerList configure_optimizers() override {
      return std::make_shared<lightning::optim::SGD>(parameters(), torch::optim::SGDOptions(0.1));
    }
  };
  const lightning_tests::TemporaryFolder folder;
  lightning::TrainerOptions options = quiet_options();
  options.default_root_dir = folder.path();
  options.enable_checkpointing = true;
  options.max_epochs = 1;
  fit(alternate, options);
  lightning::Trainer trainer(options, {}, lightning::Loggers{});
  const auto single = std::make_shared<Single>();
  single->set_automatic_optimization(true);
  CHECK_THROWS_WITH(trainer.fit(single, boring_loader(), {}, {.ckpt_path = "last"}),
                    Catch::Contains("has the state of 2 optimizers") && Catch::Contains("gave 1"));
}

TEST_CASE("on_after_optimizer_step has the optimizer, and what loss scaling skipped", "[trainer]") {
  struct Watcher : lightning::Callback {
    std::vector<size_t> indices;
    std::vector<bool> skipped;
    bool backward_casts = false;
    void on_before_backward(lightning::TrainerContext&, lightning::LightningModule&,
                            const at::Tensor&) override {
      backward_casts = backward_casts || at::autocast::is_autocast_enabled(at::kCPU);
    }
    void on_after_optimizer_step(lightning::TrainerContext& trainer, lightning::LightningModule&,
                                 const lightning::OptimizerStep& step) override {
      CHECK(&step.optimizer == trainer.optimizers()[step.index].optimizer.get());
      indices.push_back(step.index);
      skipped.push_back(step.skipped.defined() && step.skipped.item<float>() != 0.0F);
    }
  };
  const auto watcher = std::make_shared<Watcher>();
  lightning::TrainerOptions options = quiet_options();
  options.max_steps = 2;
  fit(alternate, options, {watcher});
  CHECK(watcher->indices == std::vector<size_t>{1, 0, 1, 0});
  CHECK(watcher->skipped == std::vector<bool>(4, false));

  // With loss scaling: the critic's gradients overflow in the first batch.
  watcher->indices.clear();
  watcher->skipped.clear();
  const lightning::LossScaler* scaler = nullptr;
  std::vector<float> scales;
  const auto gan = std::make_shared<Gan>();
  gan->to(torch::kFloat32);
  at::Tensor before;
  gan->step = [&](Gan& module, const at::Tensor& wide, int64_t index) {
    const at::Tensor x = wide.to(torch::kFloat32);
    const bool overflows = index == 0;
    before = module.critic->weight.detach().clone();
    module.optimizer(1).zero_grad();
    module.manual_backward(module.score(x).to(torch::kFloat32) * (overflows ? 1e38 : 1.0));
    CHECK(module.optimizer(1).clip_gradients(1e6).isfinite().item<bool>() == !overflows);
    CHECK_THROWS_WITH(module.manual_backward(module.score(x).to(torch::kFloat32)),
                      Catch::Contains("came after clip_gradients() of optimizer 1"));
    module.optimizer(1).step();
    CHECK(torch::equal(before, module.critic->weight.detach()) == overflows);
    module.optimizer(0).zero_grad();
    module.manual_backward(module.generator->forward(x).mean());
    module.optimizer(0).step();
    CHECK(at::autocast::is_autocast_enabled(at::kCPU));
    scales.push_back(scaler->scale().item<float>());
    return lightning::StepOutput::skip();
  };
  lightning::TrainerParts parts;
  parts.callbacks = {watcher};
  parts.loggers = lightning::Loggers{};
  parts.precision = [&](at::Device device) {
    const auto precision = std::make_shared<lightning::Float16MixedPrecision>(
        device, lightning::Float16MixedOptions{.loss_scaler = {.init_scale = 256.0},
                                               .force_float16 = true});
    scaler = precision->loss_scaler();
    return precision;
  };
  options.max_steps = 3;
  lightning::Trainer(options, std::move(parts)).fit(gan, boring_loader());
  CHECK(watcher->indices == std::vector<size_t>{1, 0, 1, 0, 1, 0});
  CHECK(watcher->skipped == std::vector<bool>{true, false, false, false, false, false});
  // The forward's number format isn't the backward's.
  CHECK_FALSE(watcher->backward_casts);
  // Adjusted once, when the batch is over.
  CHECK(scales == std::vector<float>{256.0F, 128.0F, 128.0F});
}
