// What lies in the folder of a run, and which checkpoint "last" and "best" are.
#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include <lightning/callbacks/model_checkpoint.h>
#include <lightning/checkpoint/checkpoint.h>
#include <lightning/config/yaml.h>
#include <lightning/run/detail/run_folder.h>
#include <lightning/trainer/trainer.h>
#include <lightning/util/error.h>

#include "support/boring_module.h"
#include "support/temporary_folder.h"

namespace {

namespace fs = std::filesystem;
using lightning::find_checkpoint;
using lightning::Trainer;
using lightning::TrainerOptions;
using lightning_tests::TemporaryFolder;

std::string read_text(const fs::path& path) {
  std::ifstream file(path);
  REQUIRE(file.is_open());
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

TrainerOptions writing_options(const fs::path& root, int64_t max_epochs = 1) {
  TrainerOptions options = quiet_options();
  options.enable_checkpointing = true;
  options.max_epochs = max_epochs;
  options.default_root_dir = root;
  return options;
}

/// Fits and returns the run folder.
fs::path fit(const TrainerOptions& options, const std::string& ckpt_path = "",
             const lightning::Callbacks& callbacks = {}) {
  Trainer trainer(options, callbacks, lightning::Loggers{});
  trainer.fit(std::make_shared<BoringModule>(), boring_loader(), {}, {.ckpt_path = ckpt_path});
  return trainer.run_dir();
}

lightning::Callbacks checkpoints_in(const fs::path& dirpath) {
  return {std::make_shared<lightning::ModelCheckpoint>(
      lightning::ModelCheckpointOptions{.dirpath = dirpath})};
}

std::vector<std::string> files_like(const fs::path& folder, const std::string& prefix) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(prefix)) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

/// The validation metric falls, and rises again.
class Scripted : public BoringModule {
 public:
  void validation_step(const lightning::Batch&, int64_t) override {
    const double values[] = {3.0, 1.0, 2.0};
    log("score", values[current_epoch()]);
  }
};

}  // namespace

TEST_CASE("The folder of validate, test and predict has config and environment", "[trainer]") {
  class Asks : public BoringModule {
    // As a module does that writes a file of its own.
    void on_predict_end() override { trainer().run_dir(); }
  };
  const TemporaryFolder folder;
  TrainerOptions options = quiet_options();
  options.default_root_dir = folder.path();
  options.limit_test_batches = 2;
  Trainer trainer(options);  // with its loggers
  const std::string stage = GENERATE("validate", "test", "predict");
  const auto module = std::make_shared<Asks>();
  if (stage == "validate") trainer.validate(module, boring_loader());
  if (stage == "test") trainer.test(module, boring_loader());
  if (stage == "predict") trainer.predict(module, boring_loader(), {});
  const fs::path run_dir = folder / "lightning_logs/version_0";
  REQUIRE(trainer.run_dir() == run_dir);
  CHECK(read_text(run_dir / "environment.json").find("\"torch_version\"") != std::string::npos);
  const auto config = lightning::config::load_yaml_file(run_dir / "config.yaml");
  CHECK(config.find_path("trainer.limit_test_batches")->text() == "2");
}

TEST_CASE("A validation after a fit leaves the fit's config as it is", "[trainer]") {
  const TemporaryFolder folder;
  Trainer trainer(writing_options(folder.path()));
  trainer.set_config("kept: true\n", "program");
  trainer.fit(std::make_shared<BoringModule>(), boring_loader());
  trainer.set_config("kept: false\n", "program");
  trainer.validate(std::make_shared<BoringModule>(), boring_loader());
  CHECK(files_like(folder / "lightning_logs", "version").size() == 1);
  CHECK(read_text(trainer.run_dir() / "config.yaml") == "kept: true\n");
}

TEST_CASE("A resume with other options keeps both configs", "[trainer]") {
  const TemporaryFolder folder;
  const fs::path run_dir = fit(writing_options(folder.path(), 1));
  const std::string first = read_text(run_dir / "config.yaml");
  const auto configs = [&] { return files_like(run_dir, "config"); };
  using Names = std::vector<std::string>;

  CHECK(fit(writing_options(folder.path(), 1), "last") == run_dir);
  CHECK(configs() == Names{"config.yaml"});
  CHECK(fit(writing_options(folder.path(), 2), "last") == run_dir);  // from step 3
  CHECK(configs() == Names{"config-resumed-step=3.yaml", "config.yaml"});
  CHECK(read_text(run_dir / "config.yaml") == first);
  const auto resumed = lightning::config::load_yaml_file(run_dir / "config-resumed-step=3.yaml");
  CHECK(resumed.find_path("trainer.max_epochs")->text() == "2");

  // The same again says from where on; once more from there with others.
  const fs::path step_6 = run_dir / "checkpoints" / "epoch=1-step=6.ckpt";
  fit(writing_options(folder.path(), 2), step_6);
  CHECK(configs() ==
        Names{"config-resumed-step=3.yaml", "config-resumed-step=6.yaml", "config.yaml"});
  fit(writing_options(folder.path(), 2), step_6);
  CHECK(configs().size() == 3);
  fit(writing_options(folder.path(), 3), step_6);
  CHECK(files_like(run_dir, "config-resumed-step=6") ==
        Names{"config-resumed-step=6-v1.yaml", "config-resumed-step=6.yaml"});
  // Nothing of the environment has changed.
  CHECK(files_like(run_dir, "environment") == Names{"environment.json"});
}

TEST_CASE("Two resumes from one step with different options have a config each", "[trainer]") {
  const TemporaryFolder folder;
  const lightning::ResolvedOptions options = lightning::resolve(quiet_options());
  const auto write = [&](const std::string& config) {
    return lightning::write_resumed_run_files(folder.path(), config, options, 7).filename();
  };
  lightning::write_run_files(folder.path(), "a: 1\nckpt_path: null\n", options);
  CHECK(write("a: 1\nckpt_path: /somewhere/else.ckpt\n") == "config.yaml");
  CHECK(write("a: 2\n") == "config-resumed-step=7.yaml");
  CHECK(write("a: 3\n") == "config-resumed-step=7-v1.yaml");
  CHECK(write("a: 2\nckpt_path: last\n") == "config-resumed-step=7.yaml");
  CHECK(read_text(folder / "config-resumed-step=7-v1.yaml") == "a: 3\n");
  CHECK(files_like(folder.path(), "environment").size() == 1);

  // Another machine.
  std::ofstream(folder / "environment.json") << "{}\n";
  write("a: 2\n");
  CHECK(read_text(folder / "environment.json") == "{}\n");
  CHECK(read_text(folder / "environment-resumed-step=7.json").find("\"host\"") !=
        std::string::npos);
}

TEST_CASE("Without a monitor the newest checkpoint is the best", "[trainer]") {
  const TemporaryFolder folder;
  Trainer trainer(writing_options(folder.path(), 2), {}, lightning::Loggers{});
  const auto module = std::make_shared<BoringModule>();
  trainer.fit(module, boring_loader());
  const fs::path checkpoint = trainer.run_dir() / "checkpoints" / "epoch=1-step=6.ckpt";
  CHECK(fs::equivalent(find_checkpoint(folder.path(), "best"), checkpoint));
  CHECK(fs::equivalent(find_checkpoint(folder.path(), "last"), checkpoint));

  // In another process, and by the Trainer itself: the weights come from there.
  for (const char* which : {"best", "last"}) {
    const auto other = std::make_shared<BoringModule>();
    Trainer(writing_options(folder.path()), {}, lightning::Loggers{})
        .test(other, boring_loader(), {.ckpt_path = which});
    CHECK(at::equal(other->layer->weight, module->layer->weight));
    const auto again = std::make_shared<BoringModule>();
    trainer.validate(again, boring_loader(), {.ckpt_path = which});
    CHECK(at::equal(again->layer->weight, module->layer->weight));
  }
}

TEST_CASE("With a monitor best and last are two", "[trainer]") {
  const TemporaryFolder folder;
  const bool own_folder = GENERATE(false, true);
  const fs::path dirpath = own_folder ? folder / "elsewhere" : fs::path();
  const auto checkpoint = std::make_shared<lightning::ModelCheckpoint>(
      lightning::ModelCheckpointOptions{.dirpath = dirpath, .monitor = "score", .save_last = true});
  Trainer trainer(writing_options(folder.path(), 3), {checkpoint}, lightning::Loggers{});
  trainer.fit(std::make_shared<Scripted>(), boring_loader(), boring_loader());
  const fs::path kept = own_folder ? dirpath : trainer.run_dir() / "checkpoints";
  const std::vector<fs::path> dirpaths =
      own_folder ? std::vector{dirpath} : std::vector<fs::path>{};
  CHECK(fs::equivalent(find_checkpoint(folder.path(), "best", dirpaths),
                       kept / "epoch=1-step=6.ckpt"));
  CHECK(fs::equivalent(find_checkpoint(folder.path(), "last", dirpaths),
                       kept / "epoch=2-step=9.ckpt"));
}

TEST_CASE("Checkpoints in a ModelCheckpoint's dirpath are found", "[trainer]") {
  const TemporaryFolder folder;
  const fs::path dirpath = folder / "kept here";
  const std::string which = GENERATE("last", "best");
  const fs::path run_dir = fit(writing_options(folder.path()), "", checkpoints_in(dirpath));
  REQUIRE(lightning::list_checkpoints(dirpath).size() == 1);
  // The default folder alone doesn't have them: a program without such a callback gets an error.
  CHECK_THROWS_WITH(find_checkpoint(folder.path(), which), Catch::Contains("lightning_logs"));

  SECTION("by a Trainer with the same callback, which resumes from there") {
    Trainer trainer(writing_options(folder.path(), 2), checkpoints_in(dirpath),
                    lightning::Loggers{});
    trainer.fit(std::make_shared<BoringModule>(), boring_loader(), {}, {.ckpt_path = which});
    CHECK(trainer.global_step() == 6);
    CHECK(fs::exists(dirpath / "epoch=1-step=6.ckpt"));
  }
  SECTION("by what the run's config says") {
    std::ofstream(run_dir / "config.yaml")
        << "trainer:\n  callbacks:\n    - LearningRateMonitor\n"
        << "    - class_path: lightning.pytorch.callbacks.ModelCheckpoint\n"
        << "      init_args: {dirpath: \"" << dirpath.string() << "\"}\n";
    CHECK(fs::equivalent(find_checkpoint(folder.path(), which), dirpath / "epoch=0-step=3.ckpt"));
  }
  SECTION("in a run's own folder, when that was written later") {
    const fs::path later = fit(writing_options(folder.path(), 2));
    CHECK(fs::equivalent(find_checkpoint(folder.path(), which, {dirpath}),
                         later / "checkpoints" / "epoch=1-step=6.ckpt"));
  }
}
