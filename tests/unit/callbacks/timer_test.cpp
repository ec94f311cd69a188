// The time that stages take, and a fit that ends when its time is up.
#include <chrono>
#include <limits>
#include <thread>

#include <catch2/catch.hpp>

#include <lightning/callbacks/registry.h>
#include <lightning/callbacks/timer.h>
#include <lightning/config/yaml.h>
#include <lightning/trainer/trainer.h>
#include <lightning/util/error.h>

#include "support/boring_module.h"
#include "support/temporary_folder.h"

namespace {

using lightning::Interval;
using lightning::Stage;
using lightning::Timer;
using lightning::TimerOptions;
using std::chrono::milliseconds;

/// Each batch takes at least 20 ms.
class Sleeps : public BoringModule {
 public:
  lightning::StepOutput training_step(const lightning::Batch& batch, int64_t index) override {
    std::this_thread::sleep_for(milliseconds(20));
    return BoringModule::training_step(batch, index);
  }
  void validation_step(const lightning::Batch& batch, int64_t index) override {
    std::this_thread::sleep_for(milliseconds(20));
    BoringModule::validation_step(batch, index);
  }
};

struct Fit {
  int64_t steps = 0;
  int64_t epochs = 0;
};

Fit fit(const std::shared_ptr<Timer>& timer, lightning::TrainerOptions options,
        const std::string& ckpt_path = "") {
  lightning::Trainer trainer(options, {timer}, lightning::Loggers{});
  trainer.fit(std::make_shared<Sleeps>(), boring_loader(), boring_loader(),
              {.ckpt_path = ckpt_path});
  return {trainer.global_step(), trainer.current_epoch()};
}

}  // namespace

TEST_CASE("Timer measures stages", "[callbacks]") {
  const auto timer = std::make_shared<Timer>();
  CHECK_FALSE(timer->start_time());
  CHECK(timer->time_elapsed() == 0.0);
  CHECK_FALSE(timer->time_remaining());
  lightning::TrainerOptions options = quiet_options();
  options.max_epochs = 2;
  lightning::Trainer trainer(options, {timer}, lightning::Loggers{});
  const auto module = std::make_shared<Sleeps>();
  trainer.fit(module, boring_loader(), boring_loader());
  // 6 batches of training and 6 of validation.
  CHECK(timer->time_elapsed() >= 12 * 0.02);
  // The latest pass.
  CHECK(timer->time_elapsed(Stage::kValidate) >= 3 * 0.02);
  CHECK(timer->time_elapsed(Stage::kValidate) < timer->time_elapsed());
  REQUIRE(timer->start_time());
  REQUIRE(timer->end_time());
  CHECK(*timer->start_time() < *timer->end_time());
  CHECK(timer->time_elapsed(Stage::kTest) == 0.0);
  const double trained = timer->time_elapsed();
  trainer.test(module, boring_loader());
  CHECK(timer->time_elapsed(Stage::kTest) > 0.0);
  CHECK(timer->time_elapsed() == trained);
}

TEST_CASE("Timer ends the fit when the duration is over", "[callbacks]") {
  lightning::TrainerOptions options = quiet_options();
  options.max_epochs = 100;
  SECTION("after a step") {
    const auto timer = std::make_shared<Timer>(TimerOptions{.duration = milliseconds(10)});
    CHECK(fit(timer, options).steps == 1);
    REQUIRE(timer->time_remaining());
    CHECK(*timer->time_remaining() < 0.0);
  }
  SECTION("after an epoch") {
    const auto timer = std::make_shared<Timer>(
        TimerOptions{.duration = milliseconds(10), .interval = Interval::kEpoch});
    CHECK(fit(timer, options).steps == 3);
  }
  SECTION("not before min_epochs are over") {
    options.min_epochs = 2;
    const auto timer = std::make_shared<Timer>(TimerOptions{.duration = milliseconds(10)});
    CHECK(fit(timer, options).epochs == 2);
  }
  SECTION("not in the middle of an accumulation window") {
    options.accumulate_grad_batches = 2;
    const auto timer = std::make_shared<Timer>(TimerOptions{.duration = milliseconds(10)});
    lightning::Trainer trainer(options, {timer}, lightning::Loggers{});
    trainer.fit(std::make_shared<Sleeps>(), boring_loader());
    CHECK(trainer.global_step() == 1);
    CHECK(trainer.samples_seen() == 4);
  }
}

TEST_CASE("Timer counts on when a run is resumed", "[callbacks]") {
  const lightning_tests::TemporaryFolder folder;
  lightning::TrainerOptions options = quiet_options();
  options.enable_checkpointing = true;
  options.default_root_dir = folder.path();
  options.max_epochs = 2;
  const auto first = std::make_shared<Timer>();
  CHECK(fit(first, options).steps == 6);
  options.max_epochs = 10;
  // Another duration; the time of before is over it already.
  const auto second = std::make_shared<Timer>(TimerOptions{.duration = milliseconds(100)});
  CHECK(fit(second, options, "last").steps == 6);
  CHECK(second->time_elapsed() >= 6 * 0.02);
  // A fit of its own begins at 0.
  const lightning_tests::TemporaryFolder other;
  options.default_root_dir = other.path();
  options.max_steps = 1;
  CHECK(fit(second, options).steps == 1);
  CHECK(second->time_elapsed() < 6 * 0.02);
}

TEST_CASE("Timer refuses what is no time", "[callbacks]") {
  CHECK_THROWS_WITH(Timer({.duration = milliseconds(0)}), Catch::Contains("duration is 0"));
  Timer timer;
  lightning::StateDict state = timer.state_dict();
  for (const double seconds :
       {-1.0, std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()}) {
    state.set("time_elapsed/train", seconds);
    CHECK_THROWS_AS(timer.load_state_dict(state), lightning::CheckpointError);
  }
  CHECK(timer.time_elapsed() == 0.0);
}

TEST_CASE("Timer is made from YAML", "[callbacks]") {
  const auto timer = std::dynamic_pointer_cast<Timer>(
      lightning::callback_registry().create(lightning::config::parse_yaml(
          "{class_path: Timer, init_args: {duration: '00:12:00:00', interval: epoch}}", "config")));
  REQUIRE(timer != nullptr);
  REQUIRE(timer->time_remaining());
  CHECK(*timer->time_remaining() == 12 * 3600.0);
  CHECK(timer->state_key() == "Timer(interval=epoch)");
}
