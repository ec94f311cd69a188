// Several loaders in a fit and in evaluations: the batches are Lightning's
// (tests/golden/loaders/record_loaders.py).
#include <catch2/catch.hpp>

#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <lightning/callbacks/model_checkpoint.h>
#include <lightning/data/combined_loader.h>
#include <lightning/trainer/trainer.h>
#include <lightning/util/error.h>

#include "support/boring_module.h"
#include "support/captured_stderr.h"
#include "support/temporary_folder.h"

namespace {

using lightning::Batch;
using lightning::CombinedLoader;
using lightning::CombineMode;
using lightning::ConfigError;
using lightning::DataLoader;
using lightning::DataLoaders;
using lightning::Trainer;
using Lines = std::vector<std::string>;

std::shared_ptr<DataLoader> loader(int64_t first, int64_t size, int64_t batch_size,
                                   bool shuffle = false) {
  const at::Tensor values = at::arange(first, first + size, at::kDouble);
  lightning::DataLoaderOptions options;
  options.batch_size = batch_size;
  options.shuffle = shuffle;
  options.seed = 2;
  return std::make_shared<DataLoader>(
      std::make_shared<lightning::TensorDataset>(Batch({{"x", values}})), options);
}

/// The loaders of the recorder.
CombinedLoader::Parts parts(bool shuffle = false) {
  return {{"a", loader(0, 6, 4, shuffle)},
          {"b", loader(100, 15, 5, shuffle)},
          {"c", loader(200, 7, 3, shuffle)}};
}

std::string text(const at::Tensor& values) {
  std::string all;
  for (int64_t i = 0; i < values.numel(); ++i) {
    all += (i > 0 ? "," : "") + std::to_string(values[i].item<int64_t>());
  }
  return all;
}

/// Notes its batches as the recorder does.
class Noting : public lightning::LightningModule {
 public:
  Noting() { weight = register_parameter("weight", torch::zeros({}, torch::kDouble)); }
  lightning::StepOutput training_step(const Batch& batch, int64_t) override {
    note(batch);
    const at::Tensor value = batch.contains("x") ? batch["x"] : batch[0];
    return (weight * value.mean() * 0.01).square() + weight;
  }
  void validation_step(const Batch& batch, int64_t) override { note(batch); }
  lightning::OptimizerList configure_optimizers() override {
    return std::make_shared<lightning::optim::SGD>(parameters(), torch::optim::SGDOptions(0.1));
  }

  Lines lines;
  at::Tensor weight;

 private:
  void note(const Batch& batch) {
    std::string line = std::to_string(batch.dataloader_idx());
    const bool is_part = batch.contains("x");
    if (is_part) line += " batch=" + text(batch["x"]);
    for (const char* name : {"a", "b", "c"}) {
      const std::string field = std::string(name) + "/x";
      if (is_part) break;
      line += " " + std::string(name) + "=";
      line += batch.contains(field) ? text(batch[field]) : "-";
    }
    lines.push_back(line);
    const at::Tensor& logged = batch.contains("b/x") ? batch["b/x"] : batch[0];
    log("mean", logged.mean(), {.on_step = false, .on_epoch = true});
  }
};

/// The lines of the recorder's cases, by their first line.
std::map<std::string, Lines> golden() {
  std::ifstream stream("tests/golden/loaders/combined.txt");
  REQUIRE(stream);
  std::map<std::string, Lines> cases;
  Lines* current = nullptr;
  for (std::string line; std::getline(stream, line);) {
    if (line.starts_with("fit ") || line.starts_with("validate ")) {
      current = &cases[line];
    } else {
      REQUIRE(current != nullptr);
      current->push_back(line);
    }
  }
  REQUIRE(cases.size() == 21);
  return cases;
}

struct Case {
  bool fit = false;
  CombineMode mode = CombineMode::kMaxSizeCycle;
  lightning::BatchLimit limit = 1.0;
};

Case case_from(const std::string& line) {
  std::istringstream words(line);
  std::string action, mode, limit;
  words >> action >> mode >> limit;
  static const std::map<std::string, CombineMode> kModes = {
      {"max_size_cycle", CombineMode::kMaxSizeCycle},
      {"min_size", CombineMode::kMinSize},
      {"max_size", CombineMode::kMaxSize},
      {"sequential", CombineMode::kSequential}};
  return {action == "fit", kModes.at(mode), lightning::BatchLimit::from_text(limit)};
}

lightning::TrainerOptions one_epoch() {
  lightning::TrainerOptions options = quiet_options();
  options.precision = "64-true";
  options.max_epochs = 1;
  options.num_sanity_val_steps = 0;
  return options;
}

/// Two parts that are shuffled, of 4 and 10 batches of the field x [2].
std::shared_ptr<CombinedLoader> two_boring_loaders() {
  lightning::DataLoaderOptions options;
  options.batch_size = 2;
  options.shuffle = true;
  options.seed = 6;
  return std::make_shared<CombinedLoader>(CombinedLoader::Parts{
      {"short", boring_loader(8, options)}, {"long", boring_loader(20, options)}});
}

class OfTwo : public BoringModule {
 public:
  lightning::StepOutput training_step(const Batch& batch, int64_t) override {
    const at::Tensor loss =
        layer->forward(batch["short/x"]).square().mean() + layer->forward(batch["long/x"]).mean();
    log("loss", loss, {.on_step = true, .on_epoch = true});
    return loss;
  }
};

}  // namespace

TEST_CASE("Combined batches, limits and weights of metrics are Lightning's", "[trainer]") {
  for (const auto& [name, expected] : golden()) {
    INFO(name);
    const Case c = case_from(name);
    lightning::TrainerOptions options = one_epoch();
    options.limit_train_batches = c.limit;
    options.limit_val_batches = c.limit;
    const auto module = std::make_shared<Noting>();
    const auto combined = std::make_shared<CombinedLoader>(parts(), c.mode);
    Trainer trainer(options, {}, lightning::Loggers{});
    c.fit ? trainer.fit(module, combined) : void(trainer.validate(module, combined));
    Lines lines = module->lines;
    for (const auto& [metric, value] : trainer.callback_metrics()) {
      std::ostringstream line;
      line.precision(12);
      line << metric << " " << value;
      lines.push_back(line.str());
    }
    CHECK(lines == expected);
  }
}

TEST_CASE("Several training loaders are a cycle of the longest", "[trainer]") {
  class Named : public Noting {
   public:
    lightning::StepOutput training_step(const Batch& batch, int64_t) override {
      fields.push_back(batch["0/x"].numel() * 10 + batch["1/x"].numel());
      return weight + 0.0;
    }
    std::vector<int64_t> fields;
  };
  const auto named = std::make_shared<Named>();
  Trainer(one_epoch(), {}, lightning::Loggers{})
      .fit(named, DataLoaders(std::vector{loader(0, 6, 4), loader(100, 15, 5)}));
  CHECK(named->fields == std::vector<int64_t>{45, 25, 45});
}

TEST_CASE("A fit refuses what can't be combined before its first step", "[trainer]") {
  const auto refusal = [](DataLoaders train, DataLoaders val = {}) {
    const auto module = std::make_shared<Noting>();
    Trainer trainer(one_epoch(), {}, lightning::Loggers{});
    try {
      trainer.fit(module, std::move(train), std::move(val));
    } catch (const ConfigError& error) {
      CHECK(module->lines.empty());
      return std::string(error.what());
    }
    return std::string();
  };
  CHECK_THAT(refusal(std::make_shared<CombinedLoader>(parts(), CombineMode::kSequential)),
             Catch::Contains("mode sequential") && Catch::Contains("HINT"));
  const auto with_empty = [] {
    return std::make_shared<CombinedLoader>(
        CombinedLoader::Parts{{"a", loader(0, 6, 4)}, {"none", loader(0, 0, 4)}},
        CombineMode::kMaxSize);
  };
  CHECK_THAT(refusal(with_empty()), Catch::Contains("part \"none\" has no batches"));
  CHECK_THAT(refusal(DataLoaders(std::vector{loader(0, 6, 4), loader(0, 0, 4)})),
             Catch::Contains("part \"1\" has no batches"));
  CHECK_THAT(refusal(loader(0, 6, 4), with_empty()),
             Catch::Contains("part \"none\" has no batches"));
}

TEST_CASE("A fit with combined loaders resumes bitwise from each step", "[trainer]") {
  const lightning_tests::TemporaryFolder folder;
  lightning::TrainerOptions options = quiet_options();
  options.max_epochs = 2;
  options.enable_checkpointing = true;
  options.default_root_dir = folder.path() / "whole";
  const auto fit = [&](const lightning::Callbacks& callbacks, const std::string& ckpt_path) {
    torch::manual_seed(1);
    auto module = std::make_shared<OfTwo>();
    Trainer trainer(options, callbacks, lightning::Loggers{});
    trainer.fit(module, two_boring_loaders(), {}, {.ckpt_path = ckpt_path});
    CHECK(trainer.global_step() == 20);
    return std::pair(module, trainer.callback_metrics().at("loss_epoch"));
  };
  const std::filesystem::path checkpoints = folder.path() / "checkpoints";
  const auto [whole, loss] =
      fit({std::make_shared<lightning::ModelCheckpoint>(lightning::ModelCheckpointOptions{
              .dirpath = checkpoints, .save_top_k = -1, .every_n_train_steps = 1})},
          "");
  options.enable_checkpointing = false;
  int64_t resumed = 0;
  for (const auto& entry : std::filesystem::directory_iterator(checkpoints)) {
    if (entry.is_symlink() || entry.path().extension() != ".ckpt") continue;
    INFO(entry.path());
    options.default_root_dir = folder.path() / ("resumed_" + std::to_string(resumed++));
    const auto [module, last_loss] = fit({}, entry.path().string());
    CHECK(at::equal(module->layer->weight, whole->layer->weight));
    CHECK(last_loss == loss);
  }
  CHECK(resumed == 20);
}

TEST_CASE("overfit_batches takes the same combined batches for both", "[trainer]") {
  lightning::TrainerOptions options = one_epoch();
  options.max_epochs = 2;
  options.overfit_batches = 2;
  const auto module = std::make_shared<Noting>();
  const lightning_tests::CapturedStderr output;
  Trainer(options, {}, lightning::Loggers{})
      .fit(module, std::make_shared<CombinedLoader>(parts(/*shuffle=*/true)), loader(0, 2, 1));
  const Lines pass = {"0 a=0,1,2,3 b=100,101,102,103,104 c=200,201,202",
                      "0 a=4,5 b=105,106,107,108,109 c=203,204,205"};
  Lines expected;
  for (int i = 0; i < 4; ++i) expected.insert(expected.end(), pass.begin(), pass.end());
  CHECK(module->lines == expected);
}
