/// What the tests of callbacks that average weights have in common. The module and its data are
/// those of tests/golden/callbacks/record_averaging.py.
#pragma once

#include <cmath>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <catch2/catch.hpp>

#include <lightning/callbacks/callback.h>
#include <lightning/checkpoint/checkpoint.h>
#include <lightning/trainer/trainer.h>

#include "support/boring_module.h"
#include "support/temporary_folder.h"

namespace lightning_tests {

/// Parameter number i, from 1, is sin(i), sin(i + 1), ...
inline void set_weights(torch::nn::Module& module) {
  const torch::NoGradGuard no_grad;
  int64_t i = 0;
  for (const at::Tensor& parameter : module.parameters()) {
    const at::Tensor values = torch::arange(parameter.numel(), torch::kFloat64);
    parameter.copy_(values.add(++i).sin().view_as(parameter));
  }
}

struct NetOptions {
  bool batch_norm = false;
  int64_t groups = 1;
};

/// Two layers in float64, SGD with a StepLR; notes what it sees.
class Net : public lightning::LightningModule {
 public:
  explicit Net(const NetOptions& options = {}) : options_(options) {
    first = register_module("first", torch::nn::Linear(3, 4));
    if (options.batch_norm) norm = register_module("norm", torch::nn::BatchNorm1d(4));
    last = register_module("last", torch::nn::Linear(4, 1));
    to(torch::kFloat64);
    set_weights(*this);
  }
  at::Tensor loss_of(const lightning::Batch& batch) {
    at::Tensor x = first->forward(batch["x"]);
    if (options_.batch_norm) x = norm->forward(x);
    return (last->forward(x.tanh()).squeeze(1) - batch["y"]).square().mean();
  }
  lightning::StepOutput training_step(const lightning::Batch& batch, int64_t index) override {
    const at::Tensor loss = loss_of(batch);
    losses.push_back(loss.item<double>());
    if (index == 0) {
      const auto& groups = trainer().optimizers().front().optimizer->param_groups();
      rates.push_back(groups.back().options().get_lr());
    }
    return loss;
  }
  void validation_step(const lightning::Batch& batch, int64_t) override {
    val_losses.push_back(loss_of(batch).item<double>());
  }
  lightning::OptimizerList configure_optimizers() override {
    const auto options = torch::optim::SGDOptions(0.05).momentum(0.5);
    const std::vector<at::Tensor> all = parameters();
    std::vector<torch::optim::OptimizerParamGroup> groups;
    if (options_.groups == 2) {
      groups.emplace_back(std::vector<at::Tensor>(all.begin(), all.begin() + 2));
      groups.emplace_back(std::vector<at::Tensor>(all.begin() + 2, all.end()));
      groups.back().set_options(
          std::make_unique<torch::optim::SGDOptions>(torch::optim::SGDOptions(0.02).momentum(0.5)));
    } else {
      groups.emplace_back(all);
    }
    const auto optimizer = std::make_shared<lightning::optim::SGD>(groups, options);
    return lightning::OptimizerConfig{
        .optimizer = optimizer,
        .lr_scheduler = std::make_shared<lightning::optim::StepLR>(optimizer, 3, 0.9)};
  }
  /// Parameters and floating-point buffers, layer by layer.
  at::Tensor weights() const {
    std::vector<at::Tensor> all = {first->weight, first->bias};
    if (options_.batch_norm) {
      all.insert(all.end(), {norm->weight, norm->bias, norm->running_mean, norm->running_var});
    }
    all.insert(all.end(), {last->weight, last->bias});
    for (at::Tensor& one : all) one = one.detach().flatten();
    return torch::cat(all);
  }

  torch::nn::Linear first{nullptr}, last{nullptr};
  torch::nn::BatchNorm1d norm{nullptr};
  std::vector<double> losses;
  std::vector<double> val_losses;
  std::vector<double> rates;  // of the last group, in the first batch of each epoch

 private:
  NetOptions options_;
};

/// While it lives SIGTERM has a handler that does nothing, instead of Catch's, which ends the
/// program.
class HarmlessTermination {
 public:
  HarmlessTermination() : previous_(std::signal(SIGTERM, [](int) {})) {}
  ~HarmlessTermination() { std::signal(SIGTERM, previous_); }
  HarmlessTermination(const HarmlessTermination&) = delete;
  HarmlessTermination& operator=(const HarmlessTermination&) = delete;

 private:
  void (*previous_)(int);
};

/// 20 rows, in batches of 4.
inline std::shared_ptr<lightning::DataLoader> net_loader() {
  const at::Tensor rows = torch::arange(20, torch::kFloat64);
  std::vector<at::Tensor> columns;
  for (int64_t j = 0; j < 3; ++j) columns.push_back((3 * rows + j + 1).sin());
  return std::make_shared<lightning::DataLoader>(
      std::make_shared<lightning::TensorDataset>(
          lightning::Batch({{"x", torch::stack(columns, 1)}, {"y", rows.cos()}})),
      lightning::DataLoaderOptions{.batch_size = 4});
}

inline lightning::TrainerOptions net_trainer_options(int64_t max_epochs) {
  lightning::TrainerOptions options = quiet_options();
  options.max_epochs = max_epochs;
  options.num_sanity_val_steps = 0;
  options.limit_val_batches = 1;
  return options;
}

inline std::shared_ptr<Net> fit_net(const NetOptions& net, lightning::TrainerOptions options,
                                    lightning::Callbacks callbacks) {
  const TemporaryFolder folder;
  options.default_root_dir = folder.path();
  const auto module = std::make_shared<Net>(net);
  lightning::Trainer(options, std::move(callbacks), lightning::Loggers{})
      .fit(module, net_loader(), net_loader());
  return module;
}

inline std::vector<double> averaging_golden(const std::string& name, const std::string& what) {
  std::ifstream stream("tests/golden/callbacks/averaging.txt");
  for (std::string line; std::getline(stream, line);) {
    std::istringstream words(line);
    std::string line_name, line_what;
    words >> line_name >> line_what;
    if (line_name != name || line_what != what) continue;
    std::vector<double> numbers;
    for (double number = 0; words >> number;) numbers.push_back(number);
    return numbers;
  }
  FAIL("averaging.txt has no " << what << " of " << name);
  return {};
}

inline void check_close(const std::vector<double>& values, const std::vector<double>& expected) {
  REQUIRE(values.size() == expected.size());
  REQUIRE_FALSE(values.empty());
  for (size_t i = 0; i < values.size(); ++i) {
    INFO("number " << i);
    CHECK(std::abs(values[i] - expected[i]) < 1e-10);
  }
}

inline std::vector<double> numbers_of(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.to(torch::kFloat64).contiguous();
  return {flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel()};
}

/// Compares 100 steps with Lightning's. `first_validation`: validations before it aren't compared.
inline void check_golden(const std::string& name, const std::shared_ptr<lightning::Callback>& one,
                         const NetOptions& options = {}, int64_t first_validation = 0) {
  INFO(name);
  const auto net = fit_net(options, net_trainer_options(20), {one});
  check_close(net->losses, averaging_golden(name, "losses"));
  check_close(net->rates, averaging_golden(name, "rates"));
  std::vector<double> expected = averaging_golden(name, "val_losses");
  REQUIRE(net->val_losses.size() == expected.size());
  expected.erase(expected.begin(), expected.begin() + first_validation);
  check_close({net->val_losses.begin() + first_validation, net->val_losses.end()}, expected);
  check_close(numbers_of(net->weights()), averaging_golden(name, "weights"));
}

/// Asks for a checkpoint in every hook after which a safe point comes. The Trainer drops callbacks
/// that say so (writes_checkpoints) when checkpointing is off.
class SavesEverywhere : public lightning::Callback {
 public:
  explicit SavesEverywhere(std::filesystem::path folder) : folder_(std::move(folder)) {}
  void on_train_batch_end(lightning::TrainerContext& trainer, lightning::LightningModule&,
                          const lightning::StepOutput&, const lightning::Batch&, int64_t) override {
    save(trainer, "batch");
  }
  void on_validation_end(lightning::TrainerContext& trainer, lightning::LightningModule&) override {
    if (!trainer.sanity_checking()) save(trainer, "validation");
  }
  void on_train_epoch_end(lightning::TrainerContext& trainer,
                          lightning::LightningModule&) override {
    save(trainer, "epoch");
  }

 private:
  void save(lightning::TrainerContext& trainer, const std::string& where) {
    trainer.save_checkpoint(folder_ / (std::to_string(count_++) + "_" + where + ".ckpt"));
  }
  std::filesystem::path folder_;
  int64_t count_ = 0;
};

/// What a fit ends with: the module, and all that a checkpoint after it holds.
struct AveragedFit {
  std::shared_ptr<Net> net;
  std::map<std::string, at::Tensor> tensors;
  std::map<std::string, double> numbers;  // learning rates among them
};

using MakeCallback = std::function<std::shared_ptr<lightning::Callback>()>;

inline AveragedFit fit_and_save(const NetOptions& net, lightning::TrainerOptions options,
                                lightning::Callbacks callbacks, const std::string& ckpt_path = "") {
  const TemporaryFolder folder;
  options.default_root_dir = folder.path();
  AveragedFit fit{std::make_shared<Net>(net), {}, {}};
  lightning::Trainer trainer(options, std::move(callbacks), lightning::Loggers{});
  trainer.fit(fit.net, net_loader(), net_loader(), {.ckpt_path = ckpt_path});
  trainer.save_checkpoint(folder.path() / "after.ckpt");
  const auto after = lightning::Checkpoint::read(folder.path() / "after.ckpt");
  for (const auto& [name, tensor] : after.model) fit.tensors["model/" + name] = tensor.clone();
  for (const auto& [name, value] : after.state.entries()) {
    const auto* tensor = std::get_if<at::Tensor>(&value);
    if (tensor != nullptr && tensor->defined()) fit.tensors[name] = tensor->clone();
    const auto* number = std::get_if<double>(&value);
    if (number != nullptr && name.starts_with("optimizer/")) fit.numbers[name] = *number;
  }
  return fit;
}

inline void check_same(const AveragedFit& fit, const AveragedFit& expected) {
  CHECK(torch::equal(fit.net->weights(), expected.net->weights()));
  CHECK(fit.numbers == expected.numbers);
  // None when all was validated before the checkpoint.
  if (!fit.net->val_losses.empty()) {
    CHECK(fit.net->val_losses.back() == expected.net->val_losses.back());
  }
  REQUIRE(fit.tensors.size() == expected.tensors.size());
  for (const auto& [name, tensor] : expected.tensors) {
    INFO(name);
    REQUIRE(fit.tensors.contains(name));
    CHECK(torch::equal(fit.tensors.at(name), tensor));
  }
}

/// A run that resumes from any safe point of another ends as that one, bit for bit. Returns how
/// many there were.
inline size_t check_resume_everywhere(const NetOptions& net,
                                      const lightning::TrainerOptions& options,
                                      const MakeCallback& make) {
  const TemporaryFolder folder;
  const AveragedFit whole =
      fit_and_save(net, options, {make(), std::make_shared<SavesEverywhere>(folder.path())});
  const auto checkpoints = lightning::list_checkpoints(folder.path());
  for (const auto& checkpoint : checkpoints) {
    INFO(checkpoint.filename().string());
    check_same(fit_and_save(net, options, {make()}, checkpoint.string()), whole);
  }
  return checkpoints.size();
}

/// Notes the hooks of the module and of a callback behind the one that averages, with "*" where the
/// module has other weights than after its latest step.
class HookRecorder {
 public:
  void note(const std::string& name, const at::Tensor& weight) {
    if (name == "CB.on_fit_start" || name == "CB.on_train_batch_end") trained_ = weight.clone();
    const bool other = trained_.defined() && !torch::equal(trained_, weight);
    calls.push_back(name + (other ? " *" : ""));
  }
  std::vector<std::string> calls;

 private:
  at::Tensor trained_;
};

#define NOTED_HOOK(name)                     \
  void name() override {                     \
    hooks->note("LM." #name, layer->weight); \
    lightning::LightningModule::name();      \
  }
#define NOTED_BATCH_HOOK(name)                                       \
  void name(const lightning::Batch& batch, int64_t index) override { \
    hooks->note("LM." #name, layer->weight);                         \
    lightning::LightningModule::name(batch, index);                  \
  }
class NotedModule : public lightning::LightningModule {
 public:
  explicit NotedModule(std::shared_ptr<HookRecorder> recorder) : hooks(std::move(recorder)) {
    layer = register_module("layer", torch::nn::Linear(2, 2));
    norm = register_module("norm", torch::nn::BatchNorm1d(2));
    set_weights(*this);
  }
  NOTED_HOOK(on_fit_start)
  NOTED_HOOK(on_fit_end)
  NOTED_HOOK(on_train_start)
  NOTED_HOOK(on_train_end)
  NOTED_HOOK(on_train_epoch_start)
  NOTED_HOOK(on_train_epoch_end)
  NOTED_HOOK(on_validation_model_eval)
  NOTED_HOOK(on_validation_start)
  NOTED_HOOK(on_validation_epoch_start)
  NOTED_HOOK(on_validation_epoch_end)
  NOTED_HOOK(on_validation_end)
  NOTED_HOOK(on_validation_model_train)
  NOTED_BATCH_HOOK(on_train_batch_start)
  lightning::StepOutput training_step(const lightning::Batch& batch, int64_t) override {
    hooks->note("LM.training_step", layer->weight);
    return (norm->forward(layer->forward(batch["x"])).square().sum() - 1).square();
  }
  void validation_step(const lightning::Batch& batch, int64_t) override {
    hooks->note("LM.validation_step", layer->weight);
    norm->forward(layer->forward(batch["x"]));
  }
  void on_train_batch_end(const lightning::StepOutput&, const lightning::Batch&, int64_t) override {
    hooks->note("LM.on_train_batch_end", layer->weight);
  }
  void on_before_zero_grad(torch::optim::Optimizer&) override {
    hooks->note("LM.on_before_zero_grad", layer->weight);
  }
  void on_before_backward(const at::Tensor&) override {
    hooks->note("LM.on_before_backward", layer->weight);
  }
  void on_before_optimizer_step(torch::optim::Optimizer&) override {
    hooks->note("LM.on_before_optimizer_step", layer->weight);
  }
  lightning::OptimizerList configure_optimizers() override {
    return std::make_shared<lightning::optim::SGD>(parameters(), torch::optim::SGDOptions(0.01));
  }

  std::shared_ptr<HookRecorder> hooks;
  torch::nn::Linear layer{nullptr};
  torch::nn::BatchNorm1d norm{nullptr};
};
#undef NOTED_HOOK
#undef NOTED_BATCH_HOOK

#define NOTED_HOOK(name)                                                               \
  void name(lightning::TrainerContext&, lightning::LightningModule& module) override { \
    note("CB." #name, module);                                                         \
  }
class NotedCallback : public lightning::Callback {
 public:
  NOTED_HOOK(on_fit_start)
  NOTED_HOOK(on_fit_end)
  NOTED_HOOK(on_sanity_check_start)
  NOTED_HOOK(on_sanity_check_end)
  NOTED_HOOK(on_train_start)
  NOTED_HOOK(on_train_end)
  NOTED_HOOK(on_train_epoch_start)
  NOTED_HOOK(on_train_epoch_end)
  NOTED_HOOK(on_validation_start)
  NOTED_HOOK(on_validation_epoch_start)
  NOTED_HOOK(on_validation_epoch_end)
  NOTED_HOOK(on_validation_end)
  void on_train_batch_start(lightning::TrainerContext&, lightning::LightningModule& module,
                            const lightning::Batch&, int64_t) override {
    note("CB.on_train_batch_start", module);
  }
  void on_train_batch_end(lightning::TrainerContext&, lightning::LightningModule& module,
                          const lightning::StepOutput&, const lightning::Batch&, int64_t) override {
    note("CB.on_train_batch_end", module);
  }
  void on_before_zero_grad(lightning::TrainerContext&, lightning::LightningModule& module,
                           torch::optim::Optimizer&) override {
    note("CB.on_before_zero_grad", module);
  }
  void on_before_backward(lightning::TrainerContext&, lightning::LightningModule& module,
                          const at::Tensor&) override {
    note("CB.on_before_backward", module);
  }
  void on_before_optimizer_step(lightning::TrainerContext&, lightning::LightningModule& module,
                                torch::optim::Optimizer&) override {
    note("CB.on_before_optimizer_step", module);
  }

 private:
  static void note(const std::string& name, lightning::LightningModule& module) {
    auto& noted = dynamic_cast<NotedModule&>(module);
    noted.hooks->note(name, noted.layer->weight);
  }
};
#undef NOTED_HOOK

/// The hooks of two epochs of two batches, with one batch of validation.
inline std::vector<std::string> noted_hooks(const std::shared_ptr<lightning::Callback>& averaging) {
  const auto recorder = std::make_shared<HookRecorder>();
  lightning::TrainerOptions options = net_trainer_options(2);
  options.num_sanity_val_steps = 1;
  const TemporaryFolder folder;
  options.default_root_dir = folder.path();
  lightning::Trainer(options, {averaging, std::make_shared<NotedCallback>()}, lightning::Loggers{})
      .fit(std::make_shared<NotedModule>(recorder), boring_loader(4), boring_loader(4));
  return recorder->calls;
}

inline std::vector<std::string> golden_hooks(const std::string& file) {
  std::ifstream stream("tests/golden/callbacks/" + file);
  REQUIRE(stream);
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

}  // namespace lightning_tests
