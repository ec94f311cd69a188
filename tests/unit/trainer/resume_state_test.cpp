// What a resumed fit says about where it was saved.
#include <catch2/catch.hpp>

#include <ATen/Parallel.h>

#include <lightning/callbacks/model_checkpoint.h>
#include <lightning/trainer/trainer.h>

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

}  // namespace

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
