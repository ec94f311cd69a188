// Functions as hooks: each is called where a callback's hook of its name is.
#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include <lightning/callbacks/lambda_callback.h>
#include <lightning/callbacks/model_checkpoint.h>
#include <lightning/checkpoint/checkpoint.h>
#include <lightning/trainer/trainer.h>

#include "support/boring_module.h"
#include "support/temporary_folder.h"

namespace {

using lightning::LambdaCallback;
using lightning::LambdaHooks;
using Names = std::vector<std::string>;

#define NOTES(name) .name = [&calls](auto&&...) { calls.push_back(#name); }

/// Every hook notes its name.
std::shared_ptr<LambdaCallback> notes_all(Names& calls) {
  return std::make_shared<LambdaCallback>(LambdaHooks{
      NOTES(setup),
      NOTES(teardown),
      NOTES(on_fit_start),
      NOTES(on_fit_end),
      NOTES(on_sanity_check_start),
      NOTES(on_sanity_check_end),
      NOTES(on_train_start),
      NOTES(on_train_end),
      NOTES(on_train_epoch_start),
      NOTES(on_train_epoch_end),
      NOTES(on_train_batch_start),
      NOTES(on_train_batch_end),
      NOTES(on_validation_start),
      NOTES(on_validation_end),
      NOTES(on_validation_epoch_start),
      NOTES(on_validation_epoch_end),
      NOTES(on_validation_batch_start),
      NOTES(on_validation_batch_end),
      NOTES(on_test_start),
      NOTES(on_test_end),
      NOTES(on_test_epoch_start),
      NOTES(on_test_epoch_end),
      NOTES(on_test_batch_start),
      NOTES(on_test_batch_end),
      NOTES(on_predict_start),
      NOTES(on_predict_end),
      NOTES(on_predict_epoch_start),
      NOTES(on_predict_epoch_end),
      NOTES(on_predict_batch_start),
      NOTES(on_predict_batch_end),
      NOTES(on_before_backward),
      NOTES(on_after_backward),
      NOTES(on_before_zero_grad),
      NOTES(on_before_optimizer_step),
      NOTES(on_after_optimizer_step),
      NOTES(on_exception),
      NOTES(on_save_checkpoint),
      NOTES(on_save_weights),
      NOTES(on_load_checkpoint),
  });
}

lightning::TrainerOptions one_batch(const std::filesystem::path& folder) {
  lightning::TrainerOptions options = quiet_options();
  options.default_root_dir = folder;
  options.max_epochs = 1;
  options.num_sanity_val_steps = 0;
  options.limit_train_batches = 1;
  options.limit_val_batches = 1;
  options.limit_test_batches = 1;
  options.limit_predict_batches = 1;
  return options;
}

}  // namespace

TEST_CASE("LambdaCallback calls its functions as hooks", "[callbacks]") {
  const lightning_tests::TemporaryFolder folder;
  Names calls;
  lightning::Trainer trainer(one_batch(folder.path()), {notes_all(calls)}, lightning::Loggers{});
  const auto module = std::make_shared<BoringModule>();
  SECTION("of fit") {
    trainer.fit(module, boring_loader(), boring_loader());
    CHECK(calls == Names{"setup",
                         "on_fit_start",
                         "on_train_start",
                         "on_train_epoch_start",
                         "on_train_batch_start",
                         "on_before_zero_grad",
                         "on_before_backward",
                         "on_after_backward",
                         "on_before_optimizer_step",
                         "on_after_optimizer_step",
                         "on_train_batch_end",
                         "on_validation_start",
                         "on_validation_epoch_start",
                         "on_validation_batch_start",
                         "on_validation_batch_end",
                         "on_validation_epoch_end",
                         "on_validation_end",
                         "on_train_epoch_end",
                         "on_train_end",
                         "on_fit_end",
                         "teardown"});
  }
  SECTION("of test") {
    trainer.test(module, boring_loader());
    CHECK(calls == Names{"setup", "on_test_start", "on_test_epoch_start", "on_test_batch_start",
                         "on_test_batch_end", "on_test_epoch_end", "on_test_end", "teardown"});
  }
  SECTION("of predict") {
    trainer.predict(module, boring_loader(), [](const auto&, const auto&, int64_t) {});
    CHECK(calls == Names{"setup", "on_predict_start", "on_predict_epoch_start",
                         "on_predict_batch_start", "on_predict_batch_end", "on_predict_epoch_end",
                         "on_predict_end", "teardown"});
  }
}

TEST_CASE("LambdaCallback calls its functions for checkpoints and exceptions", "[callbacks]") {
  const lightning_tests::TemporaryFolder folder;
  lightning::TrainerOptions options = one_batch(folder.path());
  options.enable_checkpointing = true;
  const auto count = [](const Names& calls, const std::string& name) {
    return std::count(calls.begin(), calls.end(), name);
  };
  Names first;
  lightning::Trainer first_trainer(options, {notes_all(first)}, lightning::Loggers{});
  first_trainer.fit(std::make_shared<BoringModule>(), boring_loader());
  CHECK(count(first, "on_save_checkpoint") == 1);
  CHECK(count(first, "on_save_weights") == 0);
  first_trainer.save_checkpoint(folder.path() / "weights.ckpt", /*weights_only=*/true);
  CHECK(count(first, "on_save_checkpoint") == 1);
  CHECK(count(first, "on_save_weights") == 1);
  CHECK(count(first, "on_load_checkpoint") == 0);
  options.max_epochs = 2;
  Names second;
  lightning::Trainer(options, {notes_all(second)}, lightning::Loggers{})
      .fit(std::make_shared<BoringModule>(), boring_loader(), {}, {.ckpt_path = "last"});
  CHECK(count(second, "on_load_checkpoint") == 1);

  std::string what;
  const auto watches = std::make_shared<LambdaCallback>(LambdaHooks{
      .on_train_epoch_end = [](auto&, auto&) { throw std::runtime_error("mine"); },
      .on_exception = [&](auto&, auto&, const std::exception& error) { what = error.what(); }});
  lightning::Trainer trainer(one_batch(folder.path()), {watches}, lightning::Loggers{});
  CHECK_THROWS_WITH(trainer.fit(std::make_shared<BoringModule>(), boring_loader()), "mine");
  CHECK(what == "mine");
}
