// Which checkpoints are kept, compared with Lightning 2.6.6
// (tests/golden/callbacks/record_callbacks.py).
#include <fstream>
#include <set>
#include <sstream>

#include <catch2/catch.hpp>

#include <lightning/callbacks/model_checkpoint.h>
#include <lightning/checkpoint/checkpoint.h>
#include <lightning/trainer/trainer.h>

#include "callbacks_support.h"
#include "support/temporary_folder.h"

namespace {

namespace fs = std::filesystem;
using lightning::ModelCheckpoint;
using lightning::ModelCheckpointOptions;
using lightning::MonitorMode;
using lightning::Trainer;
using lightning::TrainerOptions;

/// Epochs of the checkpoints in a folder that are named "{epoch}".
std::set<int64_t> kept_epochs(const fs::path& folder) {
  std::set<int64_t> epochs;
  for (const fs::path& path : lightning::list_checkpoints(folder)) {
    epochs.insert(std::stoll(path.stem().string().substr(std::string("epoch=").size())));
  }
  return epochs;
}

struct GoldenCase {
  std::string line;
  ModelCheckpointOptions options;
  std::vector<double> values;
  std::set<int64_t> kept;
  int64_t best_epoch;
  double best_score;
};

std::vector<GoldenCase> golden_cases() {
  std::ifstream file("tests/golden/callbacks/model_checkpoint.txt");
  REQUIRE(file);
  std::vector<GoldenCase> cases;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    GoldenCase golden = {line, {.filename = "{epoch}", .monitor = "score"}, {}, {}, 0, 0.0};
    std::string mode;
    words >> mode >> golden.options.save_top_k >> golden.options.every_n_epochs;
    golden.options.mode = mode == "max" ? MonitorMode::kMax : MonitorMode::kMin;
    golden.values = lightning_tests::numbers_between_bars(words);
    for (std::string word; words >> word && word != "|";) golden.kept.insert(std::stoll(word));
    words >> golden.best_epoch >> golden.best_score;
    cases.push_back(std::move(golden));
  }
  REQUIRE(cases.size() >= 6);
  return cases;
}

}  // namespace

TEST_CASE("ModelCheckpoint keeps what Lightning's keeps, in both modes", "[callbacks]") {
  for (const GoldenCase& golden : golden_cases()) {
    INFO(golden.line);
    const lightning_tests::TemporaryFolder folder;
    TrainerOptions options = quiet_options();
    options.enable_checkpointing = true;
    options.default_root_dir = folder.path();
    options.max_epochs = static_cast<int64_t>(golden.values.size());
    const auto checkpoint = std::make_shared<ModelCheckpoint>(golden.options);
    Trainer trainer(options, {checkpoint}, lightning::Loggers{});
    trainer.fit(std::make_shared<ScriptedScore>(golden.values), boring_loader(), boring_loader());
    const fs::path kept = trainer.run_dir() / "checkpoints";
    CHECK(kept_epochs(kept) == golden.kept);
    CHECK(checkpoint->best_model_path().filename() ==
          "epoch=" + std::to_string(golden.best_epoch) + ".ckpt");
    CHECK(checkpoint->best_model_score() == golden.best_score);
    CHECK(fs::read_symlink(kept / "best.ckpt") == checkpoint->best_model_path().filename());
  }
}

TEST_CASE("ModelCheckpoint goes on with the best of before when a run is resumed", "[callbacks]") {
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options = quiet_options();
  options.enable_checkpointing = true;
  options.default_root_dir = folder.path();
  fs::path kept;
  const auto fit = [&](int64_t max_epochs, const std::string& ckpt_path) {
    options.max_epochs = max_epochs;
    const auto checkpoint =
        std::make_shared<ModelCheckpoint>(ModelCheckpointOptions{.filename = "{epoch}",
                                                                 .monitor = "score",
                                                                 .mode = MonitorMode::kMax,
                                                                 .save_top_k = 2,
                                                                 .save_last = true});
    Trainer trainer(options, {checkpoint}, lightning::Loggers{});
    trainer.fit(std::make_shared<ScriptedScore>(std::vector{3.0, 7.0, 5.0, 4.0, 6.0, 1.0}),
                boring_loader(), boring_loader(), {.ckpt_path = ckpt_path});
    kept = trainer.run_dir() / "checkpoints";
    return checkpoint->best_model_score();
  };
  CHECK(fit(3, "") == 7.0);
  CHECK(kept_epochs(kept) == std::set<int64_t>{1, 2});
  CHECK(fit(6, "last") == 7.0);
  // 6.0 took the place of 5.0, 4.0 never was among the best, and the last one is kept too.
  CHECK(kept_epochs(kept) == std::set<int64_t>{1, 4, 5});
  CHECK(fs::read_symlink(kept / "best.ckpt") == "epoch=1.ckpt");
  CHECK(fs::read_symlink(kept / "last.ckpt") == "epoch=5.ckpt");
}

TEST_CASE("ModelCheckpoint saves after epochs when validations are switched off", "[callbacks]") {
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options = quiet_options();
  options.enable_checkpointing = true;
  options.default_root_dir = folder.path();
  options.max_epochs = 2;
  options.val_check_interval = 0.5;
  options.limit_val_batches = 0;
  Trainer trainer(options,
                  {std::make_shared<ModelCheckpoint>(
                      ModelCheckpointOptions{.filename = "{epoch}", .save_top_k = -1})},
                  lightning::Loggers{});
  trainer.fit(std::make_shared<BoringModule>(), boring_loader(), boring_loader());
  CHECK(kept_epochs(trainer.run_dir() / "checkpoints") == std::set<int64_t>{0, 1});
}
