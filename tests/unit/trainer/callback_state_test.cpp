// Whose state is whose: between fits, between callbacks of one class, in a resume.
#include <catch2/catch.hpp>

#include <lightning/callbacks/early_stopping.h>
#include <lightning/callbacks/model_checkpoint.h>
#include <lightning/callbacks/spike_detection.h>
#include <lightning/callbacks/timer.h>
#include <lightning/checkpoint/checkpoint.h>
#include <lightning/trainer/trainer.h>
#include <lightning/util/error.h>

#include "support/boring_module.h"
#include "support/captured_stderr.h"
#include "support/temporary_folder.h"

namespace {

namespace fs = std::filesystem;
using lightning::Callback;
using lightning::Callbacks;
using lightning::EarlyStopping;
using lightning::ModelCheckpoint;
using lightning::Trainer;
using lightning::TrainerOptions;

/// Counts batches, and keeps the count in a tensor that it changes in place.
class Counter : public Callback {
 public:
  explicit Counter(std::string key) : key_(std::move(key)) {}
  void on_train_batch_end(lightning::TrainerContext&, lightning::LightningModule&,
                          const lightning::StepOutput&, const lightning::Batch&, int64_t) override {
    count_.add_(1);
  }
  std::string state_key() const override { return key_; }
  lightning::StateDict state_dict() const override {
    lightning::StateDict state;
    state.set("count", count_);
    return state;
  }
  void load_state_dict(const lightning::StateDict& state) override {
    count_ = state.get<at::Tensor>("count");
  }
  int64_t count() const { return count_.item<int64_t>(); }

 private:
  std::string key_;
  at::Tensor count_ = torch::zeros({}, torch::kInt64);
};

TrainerOptions options_in(const fs::path& folder, int64_t max_epochs) {
  TrainerOptions options = quiet_options();
  options.enable_checkpointing = true;
  options.default_root_dir = folder;
  options.max_epochs = max_epochs;
  return options;
}

/// Epochs of three batches; what it printed.
std::string fit(const fs::path& folder, int64_t max_epochs, const Callbacks& callbacks,
                const std::string& ckpt_path = "") {
  const lightning_tests::CapturedStderr output;
  Trainer trainer(options_in(folder, max_epochs), callbacks, lightning::Loggers{});
  trainer.fit(std::make_shared<BoringModule>(), boring_loader(), boring_loader(),
              {.ckpt_path = ckpt_path});
  return output.text();
}

std::shared_ptr<Counter> counter(const std::string& key) { return std::make_shared<Counter>(key); }

}  // namespace

TEST_CASE("A user's callback begins each fit as it began the first", "[trainer]") {
  const lightning_tests::TemporaryFolder folder;
  const auto counts = counter("counts");
  Trainer trainer(options_in(folder.path(), 2), {counts}, lightning::Loggers{});
  const auto module = std::make_shared<BoringModule>();
  for (int i = 0; i < 3; ++i) {
    trainer.fit(module, boring_loader(), boring_loader());
    CHECK(counts->count() == 6);
    trainer.validate(module, boring_loader());
    CHECK(counts->count() == 6);
  }
}

TEST_CASE("Keys of callbacks are names of any text", "[trainer]") {
  const lightning_tests::TemporaryFolder folder;
  const std::vector<std::string> keys = {
      "a", "a/b", "a/b/c", "%2F", "caf\xc3\xa9", "\xff\n \"{}", std::string("nul\0", 4)};
  const auto make = [&](std::vector<std::shared_ptr<Counter>>& counters) {
    Callbacks callbacks;
    for (const std::string& key : keys) {
      counters.push_back(counter(key));
      callbacks.push_back(counters.back());
    }
    return callbacks;
  };
  std::vector<std::shared_ptr<Counter>> first;
  fit(folder.path(), 1, make(first));
  std::vector<std::shared_ptr<Counter>> second;
  fit(folder.path(), 2, make(second), "last");
  for (const auto& each : second) CHECK(each->count() == 6);
}

TEST_CASE("Callbacks of one key are an error before the first step", "[trainer]") {
  const auto with = [](const Callbacks& callbacks) {
    const lightning_tests::TemporaryFolder folder;
    struct Untrained : BoringModule {
      lightning::StepOutput training_step(const lightning::Batch&, int64_t) override {
        throw std::runtime_error("trained");
      }
    };
    Trainer trainer(options_in(folder.path(), 1), callbacks, lightning::Loggers{});
    trainer.fit(std::make_shared<Untrained>(), boring_loader(), boring_loader());
  };
  const auto stopping = [](int64_t patience) {
    return std::make_shared<EarlyStopping>(
        lightning::EarlyStoppingOptions{.monitor = "val_loss", .patience = patience});
  };
  const auto checkpoint = [](bool save_last) {
    return std::make_shared<ModelCheckpoint>(
        lightning::ModelCheckpointOptions{.save_last = save_last});
  };
  CHECK_THROWS_WITH(with({counter("same"), counter("other"), counter("same")}),
                    Catch::Contains("callback 1 (") && Catch::Contains("callback 3 (") &&
                        Catch::Contains("Counter") && Catch::Contains("remove one of them") &&
                        Catch::Contains("override state_key()"));
  const auto timer = [] { return std::make_shared<lightning::Timer>(lightning::TimerOptions{}); };
  CHECK_THROWS_WITH(with({timer(), timer()}), Catch::Contains("a different interval") &&
                                                  !Catch::Contains("override state_key()"));
  const auto spikes = [] {
    return std::make_shared<lightning::SpikeDetection>(lightning::SpikeDetectionOptions{});
  };
  CHECK_THROWS_WITH(with({spikes(), spikes()}), Catch::Contains("a run can have one") &&
                                                    !Catch::Contains("override state_key()"));
  CHECK_THROWS_WITH(with({stopping(3), stopping(5)}),
                    Catch::Contains("lightning::EarlyStopping") && Catch::Contains("monitor"));
  CHECK_THROWS_WITH(with({checkpoint(true), checkpoint(false)}),
                    Catch::Contains("lightning::ModelCheckpoint") && Catch::Contains("filename"));
}

TEST_CASE("A callback whose key has changed resumes when it can only be that one", "[trainer]") {
  const lightning_tests::TemporaryFolder folder;
  fit(folder.path(), 1, {counter("a"), counter("b")});
  const auto same = counter("b");
  const auto renamed = counter("new");
  CHECK_THAT(fit(folder.path(), 2, {renamed, same}, "last"),
             Catch::Contains("new resumes with the state of a"));
  CHECK(renamed->count() == 6);
  CHECK(same->count() == 6);
  // Two could be it: neither is.
  const auto c = counter("c");
  const auto d = counter("d");
  CHECK_THAT(fit(folder.path(), 3, {c, d}, "last"),
             Catch::Contains("no state of c, but of new, b; it starts afresh") &&
                 Catch::Contains("no state of d"));
  CHECK(c->count() == 3);
  CHECK(d->count() == 3);
}

TEST_CASE("States under the keys of the first checkpoints are found", "[trainer]") {
  const lightning_tests::TemporaryFolder folder;
  const auto make = [](const std::string& monitor) {
    return std::make_shared<ModelCheckpoint>(lightning::ModelCheckpointOptions{
        .filename = monitor == "val/loss" ? "a{epoch}" : "b{epoch}", .monitor = monitor});
  };
  struct TwoValues : BoringModule {
    void validation_step(const lightning::Batch&, int64_t) override {
      log("val/loss", 1.0 + static_cast<double>(current_epoch()));
      log("acc", 2.0 + static_cast<double>(current_epoch()));
    }
  };
  Trainer first(options_in(folder.path(), 1), {make("val/loss"), make("acc")},
                lightning::Loggers{});
  first.fit(std::make_shared<TwoValues>(), boring_loader(), boring_loader());
  const fs::path kept = first.run_dir() / "checkpoints";

  // As they wrote it: keys of less, as they are, and no ids.
  lightning::Checkpoint old = lightning::Checkpoint::read(kept / "last.ckpt");
  lightning::StateDict state;
  for (const auto& [name, value] : old.state.entries()) {
    if (!name.starts_with("callback")) state.set(name, value);
  }
  for (const auto* monitor : {"val/loss", "acc"}) {
    const std::string key = lightning::detail::concat("callbacks/ModelCheckpoint(monitor=", monitor,
                                                      ",every_n_train_steps=0,every_n_epochs=1)/");
    const bool of_loss = monitor == std::string("val/loss");
    state.set(key + "kept_names", std::vector<std::string>{of_loss ? "aold.ckpt" : "bold.ckpt"});
    state.set(key + "kept_scores", std::vector<double>{of_loss ? -1.0 : -2.0});
    state.set(key + "last_name", std::string());
    state.set(key + "last_saved_step", 3);
  }
  old.state = state;
  old.id = {};
  for (const char* name : {"aold.ckpt", "bold.ckpt"}) old.write(kept / name);

  const auto a = make("val/loss");
  const auto b = make("acc");
  Trainer second(options_in(folder.path(), 2), {a, b}, lightning::Loggers{});
  second.fit(std::make_shared<TwoValues>(), boring_loader(), boring_loader(),
             {.ckpt_path = kept / "aold.ckpt"});
  CHECK(a->best_model_score() == -1.0);
  CHECK(b->best_model_score() == -2.0);
  CHECK(b->best_model_path().filename() == "bold.ckpt");
}
