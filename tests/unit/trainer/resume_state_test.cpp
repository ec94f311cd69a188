// What a resumed fit says about where it was saved, and what it leaves alone.
#include <catch2/catch.hpp>

#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <ATen/Parallel.h>

#include <lightning/callbacks/model_checkpoint.h>
#include <lightning/run/detail/folder_lease.h>
#include <lightning/trainer/trainer.h>
#include <lightning/util/error.h>
#include <lightning/util/file_system.h>

#include "support/boring_module.h"
#include "support/captured_stderr.h"
#include "support/temporary_folder.h"

namespace {

/// Trains up to `max_steps`, with what lies in `folder` when there is anything; the output.
std::string fit(const std::filesystem::path& folder, int64_t max_steps, bool deterministic) {
  lightning::TrainerOptions options = quiet_options();
  options.enable_checkpointing = true;
  options.default_root_dir = folder;
  options.max_steps = max_steps;
  options.deterministic = deterministic;
  const lightning_tests::CapturedStderr output;
  lightning::Trainer trainer(options,
                             {std::make_shared<lightning::ModelCheckpoint>(
                                 lightning::ModelCheckpointOptions{.every_n_train_steps = 1})},
                             lightning::Loggers{});
  trainer.fit(std::make_shared<BoringModule>(), boring_loader(), {},
              {.ckpt_path = std::filesystem::is_empty(folder) ? "" : "last"});
  return output.text();
}

/// Has a buffer that checkpoints of BoringModule lack.
class Grown : public BoringModule {
 public:
  explicit Grown(bool strict) {
    counts = register_buffer("counts", at::full({2}, 7.0));
    set_strict_loading(strict);
  }
  at::Tensor counts;
};

/// What makes a resume fail, and where.
struct Refusal {
  const char* where;
  std::string checkpoint = "step=2.ckpt";
  int64_t batch_size = 2;
};

class Refusing : public BoringModule {
 public:
  explicit Refusing(std::string where) : where_(std::move(where)) {
    if (where_ == "other model") replace_module("layer", layer = torch::nn::Linear(2, 2));
  }
  void setup(lightning::Stage) override { refuse("setup"); }
  void on_load_checkpoint(const lightning::StateDict&) override { refuse("on_load_checkpoint"); }
  void on_fit_start() override { refuse("on_fit_start"); }
  lightning::DataLoaders val_dataloader() override {
    refuse("val_dataloader");
    return {};
  }
  lightning::OptimizerList configure_optimizers() override {
    if (where_ != "other optimizer") return BoringModule::configure_optimizers();
    return std::make_shared<lightning::optim::AdamW>(parameters(), torch::optim::AdamWOptions(0.1));
  }

 private:
  void refuse(const std::string& hook) const {
    if (where_ == hook) throw lightning::DataError("refused in " + hook);
  }
  std::string where_;
};

class RefusingCallback : public lightning::Callback {
 public:
  explicit RefusingCallback(bool refuses) : refuses_(refuses) {}
  std::string state_key() const override { return "RefusingCallback"; }
  lightning::StateDict state_dict() const override {
    lightning::StateDict state;
    state.set("a", int64_t{1});
    return state;
  }
  void load_state_dict(const lightning::StateDict&) override {
    if (refuses_) throw lightning::DataError("refused by the callback");
  }

 private:
  bool refuses_;
};

/// One run with its loggers, that keeps each checkpoint.
void train(const std::filesystem::path& folder, int64_t max_steps, const Refusal& refusal,
           const std::string& ckpt_path = {}) {
  lightning::TrainerOptions options = quiet_options();
  options.enable_checkpointing = true;
  options.default_root_dir = folder;
  options.max_steps = max_steps;
  options.log_every_n_steps = 1;
  const std::string where = refusal.where;
  lightning::Trainer trainer(
      options, {std::make_shared<lightning::ModelCheckpoint>(lightning::ModelCheckpointOptions{
                    .filename = "{step}", .save_top_k = -1, .every_n_train_steps = 1}),
                std::make_shared<RefusingCallback>(where == "callback")});
  trainer.fit(std::make_shared<Refusing>(where),
              boring_loader(6, {.batch_size = refusal.batch_size}), {}, {.ckpt_path = ckpt_path});
  if (ckpt_path.empty()) {
    trainer.save_checkpoint(trainer.run_dir() / "checkpoints/weights.ckpt", /*weights_only=*/true);
  }
}

/// Everything below a folder.
std::map<std::string, std::string> contents(const std::filesystem::path& folder) {
  std::map<std::string, std::string> found;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    const bool is_file = entry.is_regular_file() && !entry.is_symlink();
    found[entry.path().string()] = is_file ? lightning::read_file(entry.path()) : "";
  }
  return found;
}

}  // namespace

TEST_CASE("A resume that is refused leaves the run's folder byte for byte", "[trainer]") {
  const lightning_tests::TemporaryFolder folder;
  train(folder.path(), 4, {"nowhere"});
  const auto run = folder / "lightning_logs/version_0";
  const auto before = contents(folder.path());
  REQUIRE(before.contains((run / "metrics.csv").string()));
  const auto resume = [&](const Refusal& refusal) {
    train(folder.path(), 6, refusal, (run / "checkpoints" / refusal.checkpoint).string());
  };
  for (const Refusal& refusal :
       std::vector<Refusal>{{.where = "batch size", .batch_size = 3},
                            {.where = "weights only", .checkpoint = "weights.ckpt"},
                            {.where = "other model"},
                            {.where = "other optimizer"},
                            {.where = "callback"},
                            {.where = "setup"},
                            {.where = "on_load_checkpoint"},
                            {.where = "on_fit_start"},
                            {.where = "val_dataloader"}}) {
    CAPTURE(refusal.where);
    CHECK_THROWS_AS(resume(refusal), lightning::Error);
    CHECK(contents(folder.path()) == before);
  }
  {
    const lightning::FolderLease other(run);
    CHECK_THROWS_AS(resume({"nowhere"}), lightning::ConfigError);
  }
  CHECK(contents(folder.path()) == before);
  CHECK_NOTHROW(resume({"nowhere"}));
  CHECK(contents(folder.path()) != before);
}

TEST_CASE("Two runs don't write into one folder of checkpoints at a time", "[trainer]") {
  const lightning_tests::TemporaryFolder folder;
  std::filesystem::create_directories(folder / "shared");
  const auto fit = [&](std::vector<std::filesystem::path> dirpaths) {
    lightning::TrainerOptions options = quiet_options();
    options.enable_checkpointing = true;
    options.default_root_dir = folder.path();
    options.max_epochs = 1;
    lightning::Callbacks callbacks;
    for (const auto& dirpath : dirpaths) {
      callbacks.push_back(
          std::make_shared<lightning::ModelCheckpoint>(lightning::ModelCheckpointOptions{
              .dirpath = dirpath,
              .filename = "a" + std::to_string(callbacks.size()),
              .every_n_epochs = 1 + static_cast<int64_t>(callbacks.size())}));
    }
    lightning::Trainer trainer(options, callbacks, lightning::Loggers{});
    trainer.fit(std::make_shared<BoringModule>(), boring_loader());
  };
  {
    const lightning::FolderLease other(folder / "shared");
    CHECK_THROWS_AS(fit({folder / "shared"}), lightning::ConfigError);
  }
  // One after the other they may, and so may two callbacks of a run.
  CHECK_NOTHROW(fit({folder / "shared"}));
  CHECK_NOTHROW(fit({folder / "shared", folder / "shared"}));
  // RUN/checkpoints is the run's.
  fit({});
  const auto run = folder / "lightning_logs/version_3";
  REQUIRE(std::filesystem::is_directory(run / "checkpoints"));
  const lightning::FolderLease other(run);
  CHECK_THROWS_WITH(fit({run / "checkpoints"}), Catch::Contains("version_3"));
}

TEST_CASE("A resume warns of what keeps it from being bitwise equal", "[trainer][process]") {
  const lightning_tests::TemporaryFolder folder;
  at::set_num_threads(1);
  CHECK_THAT(fit(folder.path(), 2, false), !Catch::Contains("bitwise"));
  CHECK_THAT(fit(folder.path(), 4, false), !Catch::Contains("bitwise"));
  at::set_num_threads(2);
  CHECK_THAT(fit(folder.path(), 6, false),
             Catch::Contains("warning: Trainer: num_threads was 1 and is 2; the resumed run") &&
                 Catch::Contains("not bitwise equal"));
  CHECK_THAT(fit(folder.path(), 8, true), Catch::Contains("deterministic was false and is true"));
  // The checkpoint of step 8 was written under the new circumstances.
  CHECK_THAT(fit(folder.path(), 10, true), !Catch::Contains("bitwise"));
}

TEST_CASE("With strict_loading off a run resumes and is tested with the tensors that fit",
          "[trainer]") {
  const lightning_tests::TemporaryFolder folder;
  fit(folder.path(), 2, false);
  lightning::TrainerOptions options = quiet_options();
  options.default_root_dir = folder.path();
  options.max_steps = 3;
  const lightning_tests::CapturedStderr output;
  lightning::Trainer trainer(options, lightning::Callbacks{}, lightning::Loggers{});
  const std::string missing = "\"counts\"";
  CHECK_THROWS_WITH(
      trainer.fit(std::make_shared<Grown>(true), boring_loader(), {}, {.ckpt_path = "last"}),
      Catch::Contains("missing: " + missing));
  const auto grown = std::make_shared<Grown>(false);
  trainer.fit(grown, boring_loader(), {}, {.ckpt_path = "last"});
  CHECK(trainer.global_step() == 3);
  CHECK(at::equal(grown->counts, at::full({2}, 7.0)));
  CHECK_THAT(output.text(), Catch::Contains("not in it, kept as they are: " + missing));
}
