// Which checkpoints are kept, compared with Lightning 2.6.6
// (tests/golden/callbacks/record_callbacks.py).
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <set>
#include <sstream>
#include <thread>

#include <catch2/catch.hpp>

#include <lightning/callbacks/detail/time_trigger.h>
#include <lightning/callbacks/model_checkpoint.h>
#include <lightning/checkpoint/checkpoint.h>
#include <lightning/trainer/trainer.h>
#include <lightning/util/error.h>

#include "callbacks_support.h"
#include "support/captured_stderr.h"
#include "support/faulty_file_system.h"
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

std::set<std::string> names_in(const fs::path& folder) {
  std::set<std::string> names;
  for (const fs::path& path : lightning::list_checkpoints(folder)) {
    names.insert(path.stem().string());
  }
  return names;
}

using Names = std::set<std::string>;

TrainerOptions checkpointing(const fs::path& root) {
  TrainerOptions options = quiet_options();
  options.enable_checkpointing = true;
  options.default_root_dir = root;
  return options;
}

std::shared_ptr<ModelCheckpoint> make(ModelCheckpointOptions options) {
  return std::make_shared<ModelCheckpoint>(std::move(options));
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
    int64_t every_n_epochs = 0;
    words >> mode >> golden.options.save_top_k >> every_n_epochs;
    golden.options.every_n_epochs = every_n_epochs;
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
    // Unlike Lightning's, the state with which a fit ends is kept too where no interval came.
    const int64_t last_epoch = *options.max_epochs - 1;
    std::set<int64_t> expected = golden.kept;
    if ((last_epoch + 1) % golden.options.every_n_epochs.value_or(1) != 0)
      expected.insert(last_epoch);
    CHECK(kept_epochs(kept) == expected);
    CHECK(checkpoint->best_model_path().filename() ==
          "epoch=" + std::to_string(golden.best_epoch) + ".ckpt");
    CHECK(checkpoint->best_model_score() == golden.best_score);
    CHECK(fs::read_symlink(kept / "best.ckpt") == checkpoint->best_model_path().filename());
  }
}

TEST_CASE("ModelCheckpoint keeps the best of before when a run is resumed", "[callbacks]") {
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

TEST_CASE("ModelCheckpoint knows nothing of an earlier fit", "[callbacks]") {
  const bool same_trainer = GENERATE(true, false);
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options = checkpointing(folder.path());
  options.max_epochs = 2;
  const auto checkpoint = make({.filename = "{epoch}", .monitor = "score", .save_last = true});
  Trainer first(options, {checkpoint}, lightning::Loggers{});
  Trainer other(options, {checkpoint}, lightning::Loggers{});
  Trainer& second = same_trainer ? first : other;
  const auto scores = [](std::vector<double> values) {
    return std::make_shared<ScriptedScore>(std::move(values));
  };
  first.fit(scores({1.0, 2.0}), boring_loader(), boring_loader());
  const fs::path of_first = first.run_dir() / "checkpoints";
  const fs::path best = checkpoint->best_model_path();
  first.validate(scores({0.0}), boring_loader());
  CHECK(checkpoint->best_model_path() == best);

  second.fit(scores({9.0, 8.0}), boring_loader(), boring_loader());
  CHECK(kept_epochs(of_first) == std::set<int64_t>{0, 1});
  CHECK(kept_epochs(second.run_dir() / "checkpoints") == std::set<int64_t>{1});
  CHECK(checkpoint->best_model_score() == 8.0);
}

TEST_CASE("A step checkpoint is scored by the validation of its step or by none", "[callbacks]") {
  struct Case {
    int64_t interval;  // of validations, in a run of 12 steps
    int64_t every;
    int64_t top_k;
    Names kept;
    std::string best;
  };
  const std::vector<Case> cases = {
      {4, 4, -1, {"score=4-step=4", "score=8-step=8", "score=12-step=12"}, "score=4-step=4"},
      // Each second one has no score, and is the newest until the next one.
      {4, 2, 2, {"score=4-step=4", "score=8-step=8", "score=none-step=10"}, "score=4-step=4"},
      {6, 4, 1, {"score=12-step=12"}, "score=12-step=12"},
      // The last state, at whose step nothing was due.
      {12, 5, 1, {"score=12-step=12"}, ""},
  };
  for (const Case& one : cases) {
    CAPTURE(one.interval, one.every);
    const lightning_tests::TemporaryFolder folder;
    TrainerOptions options = checkpointing(folder.path());
    options.max_epochs = 1;
    options.val_check_interval = one.interval;
    const auto checkpoint = make({.filename = "{score:.0f}-{step}",
                                  .monitor = "score",
                                  .save_top_k = one.top_k,
                                  .every_n_train_steps = one.every});
    Trainer trainer(options, {checkpoint}, lightning::Loggers{});
    trainer.fit(std::make_shared<ScoresSteps>(), boring_loader(24), boring_loader());
    CHECK(names_in(trainer.run_dir() / "checkpoints") == one.kept);
    CHECK(checkpoint->best_model_path().stem() == one.best);
  }
}

TEST_CASE("A validation within an accumulation window scores no checkpoint", "[callbacks]") {
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options = checkpointing(folder.path());
  options.max_epochs = 1;
  options.accumulate_grad_batches = 2;
  options.val_check_interval = 3;  // batches: in a window, at its end, in a window, at its end
  const auto checkpoint =
      make({.filename = "{score:.0f}-{step}", .monitor = "score", .save_top_k = -1});
  const lightning_tests::CapturedStderr output;
  Trainer trainer(options, {checkpoint}, lightning::Loggers{});
  trainer.fit(std::make_shared<ScoresSteps>(), boring_loader(24), boring_loader());
  // Each state is named and scored by its own step.
  CHECK(names_in(trainer.run_dir() / "checkpoints") ==
        Names{"score=none-step=2", "score=3-step=3", "score=none-step=5", "score=6-step=6"});
  CHECK(checkpoint->best_model_score() == 3.0);
  for (const fs::path& path : lightning::list_checkpoints(trainer.run_dir() / "checkpoints")) {
    const auto step = lightning::Checkpoint::read(path).state.get<int64_t>("loop/global_step");
    CHECK_THAT(path.stem().string(), Catch::EndsWith("step=" + std::to_string(step)));
  }
  CHECK_THAT(output.text(), Catch::Contains("HINT: make val_check_interval a multiple"));
}

TEST_CASE("ModelCheckpoint shrinks to a lower save_top_k when a run is resumed", "[callbacks]") {
  const bool improves = GENERATE(true, false);
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options = checkpointing(folder.path());
  fs::path kept;
  const auto fit = [&](int64_t max_epochs, int64_t top_k, const std::string& ckpt_path) {
    options.max_epochs = max_epochs;
    Trainer trainer(options,
                    {make({.filename = "{epoch}", .monitor = "score", .save_top_k = top_k})},
                    lightning::Loggers{});
    trainer.fit(std::make_shared<ScriptedScore>(std::vector{5.0, 3.0, 4.0, improves ? 1.0 : 9.0}),
                boring_loader(), boring_loader(), {.ckpt_path = ckpt_path});
    kept = trainer.run_dir() / "checkpoints";
  };
  fit(3, 3, "");
  CHECK(kept_epochs(kept) == std::set<int64_t>{0, 1, 2});
  fit(4, 1, "last");
  CHECK(kept_epochs(kept) == std::set<int64_t>{improves ? 3 : 1});
}

TEST_CASE("ModelCheckpoint begins a new comparison with another monitor or mode", "[callbacks]") {
  const auto [monitor, mode] = GENERATE(
      table<std::string, MonitorMode>({{"score", MonitorMode::kMax}, {"val", MonitorMode::kMin}}));
  class TwoScores : public BoringModule {
    void validation_step(const lightning::Batch&, int64_t) override {
      log("score", 10.0 + static_cast<double>(current_epoch()));
      log("val", 20.0);
    }
  };
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options = checkpointing(folder.path());
  options.max_epochs = 2;
  Trainer first(options, {make({.filename = "{epoch}", .monitor = "score", .save_top_k = 2})},
                lightning::Loggers{});
  first.fit(std::make_shared<TwoScores>(), boring_loader(), boring_loader());

  options.max_epochs = 3;
  const auto changed = make({.filename = "{epoch}", .monitor = monitor, .mode = mode});
  const lightning_tests::CapturedStderr output;
  Trainer second(options, {changed}, lightning::Loggers{});
  second.fit(std::make_shared<TwoScores>(), boring_loader(), boring_loader(),
             {.ckpt_path = "last"});
  CHECK_THAT(output.text(), Catch::Contains("monitor was score (min) and is " + monitor) &&
                                Catch::Contains("starts anew"));
  CHECK(changed->best_model_score() == (monitor == "val" ? 20.0 : 12.0));
  // Those of the comparison before aren't its own to remove.
  CHECK(kept_epochs(second.run_dir() / "checkpoints") == std::set<int64_t>{0, 1, 2});
}

TEST_CASE("Errors of folders name the option that leads there", "[callbacks]") {
  const lightning_tests::TemporaryFolder folder;
  const fs::path file = folder.path() / "file";
  std::ofstream(file) << "text";
  const auto fit = [](const fs::path& root, const fs::path& dirpath) {
    TrainerOptions options = checkpointing(root);
    options.max_epochs = 1;
    Trainer(options, {make({.dirpath = dirpath})}, lightning::Loggers{})
        .fit(std::make_shared<BoringModule>(), boring_loader());
  };
  const auto is_in_the_way = Catch::Contains("file\" is a file where a folder is needed");
  CHECK_THROWS_WITH(fit(folder.path(), file / "in"),
                    Catch::StartsWith("ModelCheckpoint: dirpath: ") && is_in_the_way);
  CHECK_THROWS_WITH(fit(file / "in", {}),
                    Catch::StartsWith("Trainer: default_root_dir: ") && is_in_the_way);
  if (::geteuid() == 0) return;  // may write everywhere
  fs::create_directory(folder.path() / "closed");
  fs::permissions(folder.path() / "closed", fs::perms::owner_read | fs::perms::owner_exec);
  CHECK_THROWS_WITH(fit(folder.path(), folder.path() / "closed"),
                    Catch::StartsWith("ModelCheckpoint: dirpath: can't write into folder"));
}

TEST_CASE("ModelCheckpoint begins a new comparison in another dirpath", "[callbacks]") {
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options = checkpointing(folder.path());
  options.max_epochs = 1;
  const auto fit = [&](const char* dirpath, const std::string& ckpt_path) {
    const auto checkpoint =
        make({.dirpath = folder.path() / dirpath, .filename = "{epoch}", .monitor = "score"});
    Trainer trainer(options, {checkpoint}, lightning::Loggers{});
    trainer.fit(std::make_shared<ScoresSteps>(), boring_loader(), boring_loader(),
                {.ckpt_path = ckpt_path});
    return checkpoint;
  };
  const fs::path first = fit("a", "")->last_model_path();
  options.max_epochs = 2;
  const lightning_tests::CapturedStderr output;
  const auto second = fit("b", first.string());
  CHECK_THAT(output.text(), Catch::Contains("dirpath was " + (folder.path() / "a").string()) &&
                                Catch::Contains("starts anew"));
  CHECK(second->best_model_path() == folder.path() / "b" / "epoch=1.ckpt");
  CHECK(fs::exists(first));
}

TEST_CASE("ModelCheckpoints with one folder and one name leave each other's files", "[callbacks]") {
  const bool async = GENERATE(false, true);
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options = checkpointing(folder.path());
  options.async_checkpointing = async;
  const ModelCheckpointOptions low = {.filename = "model", .monitor = "score"};
  ModelCheckpointOptions high = low;
  high.mode = MonitorMode::kMax;
  fs::path kept;
  const auto fit = [&](int64_t max_epochs, const std::string& ckpt_path) {
    options.max_epochs = max_epochs;
    const auto a = make(low);
    const auto b = make(high);
    Trainer trainer(options, {a, b}, lightning::Loggers{});
    trainer.fit(std::make_shared<ScriptedScore>(std::vector{5.0, 5.0, 3.0, 9.0, 1.0, 10.0}),
                boring_loader(), boring_loader(), {.ckpt_path = ckpt_path});
    kept = trainer.run_dir() / "checkpoints";
    CHECK(fs::exists(a->best_model_path()));
    CHECK(fs::exists(b->best_model_path()));
    CHECK(a->best_model_path() != b->best_model_path());
    CHECK(fs::read_symlink(kept / "best.ckpt") == a->best_model_path().filename());
    return std::pair(*a->best_model_score(), *b->best_model_score());
  };
  CHECK(fit(4, "") == std::pair(3.0, 9.0));
  CHECK(names_in(kept).size() == 2);
  CHECK(fit(6, "last") == std::pair(1.0, 10.0));
  CHECK(names_in(kept).size() == 2);
}

TEST_CASE("ModelCheckpoint removes nothing that another wrote under the same name", "[callbacks]") {
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options = checkpointing(folder.path());
  options.max_epochs = 1;
  const auto make_one = [] { return make({.filename = "{epoch}"}); };
  Trainer first(options, {make_one()}, lightning::Loggers{});
  first.fit(std::make_shared<BoringModule>(), boring_loader());
  const fs::path kept = first.run_dir() / "checkpoints";
  const fs::path backup = folder.path() / "backup.ckpt";
  fs::rename(kept / "epoch=0.ckpt", backup);
  lightning::Checkpoint other = lightning::Checkpoint::read(backup);
  other.id = "of a different run";
  other.write(kept / "epoch=0.ckpt");

  options.max_epochs = 2;
  Trainer second(options, {make_one()}, lightning::Loggers{});
  second.fit(std::make_shared<BoringModule>(), boring_loader(), {},
             {.ckpt_path = kept / "epoch=0.ckpt"});
  CHECK(kept_epochs(kept) == std::set<int64_t>{0, 1});
}

TEST_CASE("ModelCheckpoint leaves what replaced its checkpoint during the fit", "[callbacks]") {
  class Replacing : public BoringModule {
    void on_train_epoch_start() override {
      if (current_epoch() == 0) return;
      const fs::path old = trainer().run_dir() / "checkpoints" / "epoch=0.ckpt";
      lightning::Checkpoint other = lightning::Checkpoint::read(old);
      fs::remove_all(old);
      other.id = "of a different run";
      other.write(old);
    }
  };
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options = checkpointing(folder.path());
  options.max_epochs = 2;
  Trainer trainer(options, {make({.filename = "{epoch}"})}, lightning::Loggers{});
  const lightning_tests::CapturedStderr output;
  trainer.fit(std::make_shared<Replacing>(), boring_loader());
  CHECK(kept_epochs(trainer.run_dir() / "checkpoints") == std::set<int64_t>{0, 1});
  CHECK_THAT(output.text(), Catch::Contains("is not the checkpoint that it wrote there"));
}

TEST_CASE("What couldn't be written is neither the best nor the last", "[callbacks]") {
  using lightning_tests::DiskCall;
  const bool async = GENERATE(false, true);
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options = checkpointing(folder.path());
  options.max_epochs = 4;
  options.async_checkpointing = async;
  const auto checkpoint = make({.filename = "{epoch}", .monitor = "score"});
  Trainer trainer(options, {checkpoint}, lightning::Loggers{});
  lightning_tests::FaultyFileSystem disk;
  disk.fail_at("epoch=2", DiskCall::kWrite, 0, ENOSPC);
  const lightning::ScopedFileSystem scope(disk);
  CHECK_THROWS_AS(trainer.fit(std::make_shared<ScriptedScore>(std::vector{3.0, 2.0, 1.0, 0.0}),
                              boring_loader(), boring_loader()),
                  lightning::CheckpointError);
  CHECK(checkpoint->best_model_path().stem() == "epoch=1");
  CHECK(checkpoint->best_model_score() == 2.0);
  CHECK(checkpoint->last_model_path().stem() == "epoch=1");
  CHECK(kept_epochs(trainer.run_dir() / "checkpoints") == std::set<int64_t>{1});
}

TEST_CASE("A refused state is neither the best nor the last", "[callbacks]") {
  /// Its weights turn into NaN in the second epoch.
  class TurnsNan : public ScriptedScore {
   public:
    using ScriptedScore::ScriptedScore;
    void on_train_epoch_end() override {
      const at::NoGradGuard no_grad;
      if (current_epoch() == 1) layer->weight.fill_(std::nan(""));
    }
  };
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options = checkpointing(folder.path());
  options.max_epochs = 3;
  options.on_nonfinite = lightning::OnNonfinite::kWarn;
  const auto checkpoint = make({.filename = "{epoch}", .monitor = "score"});
  Trainer trainer(options, {checkpoint}, lightning::Loggers{});
  trainer.fit(std::make_shared<TurnsNan>(std::vector{3.0, 2.0, 1.0}), boring_loader(),
              boring_loader());
  CHECK(checkpoint->best_model_path().stem() == "epoch=0");
  CHECK(checkpoint->last_model_path().stem() == "epoch=0");
  CHECK(kept_epochs(trainer.run_dir() / "checkpoints") == std::set<int64_t>{0});
}

TEST_CASE("ModelCheckpoint takes no paths from a checkpoint", "[callbacks]") {
  ModelCheckpoint checkpoint({.monitor = "score"});
  const auto state = [](const std::string& kept, const std::string& last) {
    lightning::StateDict result;
    result.set("kept_names", std::vector<std::string>{"good.ckpt", kept});
    result.set("kept_scores", std::vector<double>{1.0, 2.0});
    result.set("last_name", last);
    result.set("last_saved_step", 7);
    return result;
  };
  const std::vector<std::string> bad = {"../../x.ckpt",
                                        "/tmp/x.ckpt",
                                        "a/b.ckpt",
                                        "..",
                                        ".",
                                        "x",
                                        ".x.ckpt",
                                        "last.ckpt",
                                        "best.ckpt",
                                        std::string("a\0.ckpt", 7),
                                        std::string(300, 'a') + ".ckpt"};
  for (const std::string& name : bad) {
    CAPTURE(name);
    CHECK_THROWS_AS(checkpoint.load_state_dict(state(name, "")), lightning::CheckpointError);
    CHECK_THROWS_AS(checkpoint.load_state_dict(state("x.ckpt", name)), lightning::CheckpointError);
  }
  lightning::StateDict uneven = state("x.ckpt", "");
  uneven.set("kept_scores", std::vector<double>{1.0});
  CHECK_THROWS_AS(checkpoint.load_state_dict(uneven), lightning::CheckpointError);
  uneven.set("kept_scores", std::vector<double>{1.0, std::nan("")});
  CHECK_THROWS_AS(checkpoint.load_state_dict(uneven), lightning::CheckpointError);
  // Nothing of it is there: it is forgotten.
  checkpoint.load_state_dict(state("x.ckpt", "y.ckpt"));
  CHECK(checkpoint.best_model_path().empty());
  CHECK(checkpoint.last_model_path().empty());
}

TEST_CASE("ModelCheckpoint saves by one of steps, time and epochs", "[callbacks]") {
  using std::chrono::hours;
  const auto refuses = [](ModelCheckpointOptions options, const char* text) {
    CHECK_THROWS_WITH(make(std::move(options)), Catch::Contains(text));
  };
  const char* one_of_them = "expected one of them";
  refuses({.every_n_train_steps = 5, .every_n_epochs = 1}, one_of_them);
  refuses({.every_n_train_steps = 5, .train_time_interval = hours(1)}, one_of_them);
  refuses({.train_time_interval = hours(1), .every_n_epochs = 2}, one_of_them);
  refuses({.train_time_interval = std::chrono::milliseconds(0)}, "train_time_interval is 0");
  refuses({.every_n_epochs = -1}, "every_n_epochs is -1");
  CHECK(make({})->every_n_epochs() == 1);
  CHECK(make({.every_n_train_steps = 5, .every_n_epochs = 0})->every_n_epochs() == 0);
  CHECK(make({.train_time_interval = hours(1)})->every_n_epochs() == 0);
}

TEST_CASE("ModelCheckpoint saves when the time interval is over", "[callbacks]") {
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options = checkpointing(folder.path());
  options.max_epochs = 1;
  const auto names = [&](std::chrono::milliseconds interval) {
    Trainer trainer(
        options, {make({.filename = "{step}", .save_top_k = -1, .train_time_interval = interval})},
        lightning::Loggers{});
    trainer.fit(std::make_shared<BoringModule>(), boring_loader(), {});
    return names_in(trainer.run_dir() / "checkpoints");
  };
  // Every step takes longer than nothing, none an hour; the fit's last state is saved anyway.
  CHECK(names(std::chrono::milliseconds(1)).contains("step=3"));
  CHECK(names(std::chrono::hours(1)) == Names{"step=3"});
  // After the validation of its step, which scores it.
  class Slow : public ScoresSteps {
    lightning::StepOutput training_step(const lightning::Batch& batch, int64_t index) override {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      return ScoresSteps::training_step(batch, index);
    }
  };
  options.val_check_interval = 1;
  const auto checkpoint = make({.filename = "{score:.0f}",
                                .auto_insert_metric_name = false,
                                .monitor = "score",
                                .save_top_k = -1,
                                .train_time_interval = std::chrono::milliseconds(1)});
  Trainer trainer(options, {checkpoint}, lightning::Loggers{});
  trainer.fit(std::make_shared<Slow>(), boring_loader(), boring_loader());
  CHECK(names_in(trainer.run_dir() / "checkpoints") == Names{"1", "2", "3"});
}

TEST_CASE("A time trigger looks more often as its interval ends", "[callbacks]") {
  using std::chrono::seconds;
  const lightning::TimeTrigger::Clock::time_point start{};
  lightning::TimeTrigger trigger{seconds(100)};
  trigger.start(0, start);
  // One second a step: a look at once, then after half of the steps that are left.
  std::vector<int64_t> looks;
  std::vector<int64_t> due;
  int64_t next = 1;
  for (int64_t step = 1; step <= 250; ++step) {
    if (step < next) continue;
    looks.push_back(step);
    const auto look = trigger.look(step, start + seconds(step));
    if (look.is_due) due.push_back(step);
    REQUIRE(look.next > step);
    next = look.next;
  }
  CHECK(due == std::vector<int64_t>{100, 200});
  CHECK(looks.size() < 35);
}

TEST_CASE("A time trigger isn't misled by a first step that takes no time", "[callbacks]") {
  using std::chrono::seconds;
  const lightning::TimeTrigger::Clock::time_point start{};
  lightning::TimeTrigger trigger{seconds(100)};
  trigger.start(0, start);
  int64_t next = trigger.look(1, start).next;
  // From here on ten seconds a step.
  for (int64_t step = 2;; ++step) {
    REQUIRE(step < 20);
    if (step < next) continue;
    const auto look = trigger.look(step, start + seconds(10 * (step - 1)));
    if (look.is_due) break;
    next = look.next;
  }
}

TEST_CASE("ModelCheckpoint saves at epoch ends or after validations", "[callbacks]") {
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options = checkpointing(folder.path());
  options.max_epochs = 1;
  const auto fit = [&](std::optional<bool> at_epoch_end, lightning::BatchLimit interval) {
    options.val_check_interval = interval;
    Trainer trainer(options,
                    {make({.filename = "{step}",
                           .monitor = "score",
                           .save_top_k = -1,
                           .save_on_train_epoch_end = at_epoch_end})},
                    lightning::Loggers{});
    trainer.fit(std::make_shared<ScoresSteps>(), boring_loader(), boring_loader());
    return names_in(trainer.run_dir() / "checkpoints");
  };
  CHECK(fit(std::nullopt, 1) == Names{"step=1", "step=2", "step=3"});
  CHECK(fit(true, 1) == Names{"step=3"});
  CHECK(fit(false, 1.0) == Names{"step=3"});
}

TEST_CASE("ModelCheckpoint tells which ones it keeps", "[callbacks]") {
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options = checkpointing(folder.path());
  options.max_epochs = 4;
  const auto checkpoint =
      make({.filename = "{epoch}", .monitor = "score", .save_top_k = 2, .verbose = true});
  CHECK_FALSE(checkpoint->kth_value());
  const lightning_tests::CapturedStderr output;
  Trainer trainer(options, {checkpoint}, lightning::Loggers{});
  trainer.fit(std::make_shared<ScriptedScore>(std::vector{5.0, 3.0, 4.0, 9.0}), boring_loader(),
              boring_loader());
  const auto models = checkpoint->best_k_models();
  REQUIRE(models.size() == 2);
  CHECK(models[0].first.stem() == "epoch=1");
  CHECK(models[0].second == 3.0);
  CHECK(models[1].second == 4.0);
  CHECK(checkpoint->kth_value() == 4.0);
  CHECK(checkpoint->current_score() == 9.0);
  CHECK_THAT(output.text(),
             Catch::Contains("ModelCheckpoint: wrote ") && Catch::Contains("epoch=1.ckpt"));
}
