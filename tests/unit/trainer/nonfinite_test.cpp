// What on_nonfinite: warn and ignore do; error is in fit_test.cpp.
#include <limits>

#include <catch2/catch.hpp>

#include <lightning/callbacks/model_checkpoint.h>
#include <lightning/checkpoint/checkpoint.h>
#include <lightning/trainer/trainer.h>

#include "support/boring_module.h"
#include "support/captured_stderr.h"
#include "support/temporary_folder.h"

namespace {

using lightning::OnNonfinite;

/// Loss and gradient of its third step are nan, and so are all weights from then on.
class TurnsBad : public BoringModule {
 public:
  lightning::StepOutput training_step(const lightning::Batch& batch, int64_t index) override {
    const at::Tensor loss = BoringModule::training_step(batch, index).loss;
    return global_step() + 1 == 3 ? loss * std::numeric_limits<double>::quiet_NaN() : loss;
  }
};

struct Outcome {
  int64_t steps;
  std::string output;
  std::vector<std::string> committed;
};

/// Three epochs of three steps, with a checkpoint after each step.
Outcome fit(OnNonfinite on_nonfinite) {
  const lightning_tests::TemporaryFolder folder;
  lightning::TrainerOptions options = quiet_options();
  options.enable_checkpointing = true;
  options.max_epochs = 3;
  options.on_nonfinite = on_nonfinite;
  options.log_every_n_steps = 1;
  options.default_root_dir = folder.path();
  lightning::Trainer trainer(
      options,
      {std::make_shared<lightning::ModelCheckpoint>(lightning::ModelCheckpointOptions{
          .filename = "{step}", .save_top_k = -1, .every_n_train_steps = 1})},
      lightning::Loggers{});
  const lightning_tests::CapturedStderr output;
  trainer.fit(std::make_shared<TurnsBad>(), boring_loader());

  std::vector<std::string> committed;
  for (const auto& path : lightning::list_checkpoints(trainer.run_dir() / "checkpoints")) {
    committed.push_back(path.filename());
    for (const auto& [name, tensor] : lightning::Checkpoint::read(path).model) {
      CHECK(tensor.isfinite().all().item<bool>());
    }
  }
  return {trainer.global_step(), output.text(), committed};
}

size_t count(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

}  // namespace

TEST_CASE("on_nonfinite warn names the first bad step and commits no bad state",
          "[trainer][process]") {
  const Outcome outcome = fit(OnNonfinite::kWarn);
  CHECK(outcome.steps == 9);
  CHECK(count(outcome.output, "warning: Trainer: the loss was not finite at step 3 of epoch 0") ==
        1);
  CHECK_THAT(outcome.output, Catch::Contains("no checkpoint was written"));
  CHECK(outcome.committed == std::vector<std::string>{"step=1.ckpt", "step=2.ckpt"});
}

TEST_CASE("on_nonfinite ignore says nothing of losses and commits no bad state", "[trainer]") {
  const Outcome outcome = fit(OnNonfinite::kIgnore);
  CHECK(outcome.steps == 9);
  CHECK_THAT(outcome.output, !Catch::Contains("the loss was not finite"));
  CHECK(outcome.committed == std::vector<std::string>{"step=1.ckpt", "step=2.ckpt"});
}
