// Dry runs: what is counted, what is printed, and that nothing is left behind. That the counts are
// those of real ranks is tests/integration/dry_run_test.py's to show.
#include <lightning/run/detail/dry_run.h>

#include <catch2/catch.hpp>

#include <lightning/callbacks/model_checkpoint.h>
#include <lightning/control/detail/fake_control_plane.h>
#include <lightning/loggers/csv_logger.h>
#include <lightning/run/detail/phases.h>
#include <lightning/trainer/trainer.h>
#include <lightning/util/error.h>
#include <lightning/util/log.h>

#include "support/boring_module.h"
#include "support/temporary_folder.h"

namespace {

using lightning::DryRun;
using lightning::MetricSync;
using lightning::Traffic;
using lightning::Trainer;
using lightning::TrainerOptions;

std::shared_ptr<lightning::World> fake_world() {
  lightning::Topology topology;
  topology.world_size = 8;
  return lightning::World::fake(topology, at::kCPU);
}

void send(lightning::World& world, int64_t numbers) {
  at::Tensor tensor = torch::zeros({numbers});
  world.group().all_reduce(tensor);
}

/// Asks for everything that would leave something on the disk.
class Writing : public BoringModule {
 public:
  explicit Writing(std::filesystem::path path) : path_(std::move(path)) {}
  std::vector<std::shared_ptr<lightning::Callback>> configure_callbacks() override {
    return {std::make_shared<lightning::ModelCheckpoint>(lightning::ModelCheckpointOptions{})};
  }
  lightning::StepOutput training_step(const lightning::Batch& batch, int64_t index) override {
    ++steps;
    estimated = trainer().estimated_stepping_batches();
    trainer().save_checkpoint(path_);
    trainer().run_dir();
    return BoringModule::training_step(batch, index);
  }
  int64_t steps = 0;
  int64_t estimated = 0;

 private:
  std::filesystem::path path_;
};

TrainerOptions dry_options(const lightning_tests::TemporaryFolder& folder) {
  TrainerOptions options = quiet_options();
  options.enable_checkpointing = true;
  options.default_root_dir = folder / "root";
  options.max_epochs = 5;
  options.dry_run = true;
  options.world_size = 1024;
  return options;
}

/// What is printed meanwhile.
std::string log_of(const std::function<void()>& body) {
  std::string lines;
  auto previous =
      lightning::set_log_sink([&](std::string_view line) { lines += std::string(line) + "\n"; });
  body();
  lightning::set_log_sink(std::move(previous));
  return lines;
}

class StatusPlane : public lightning::detail::FakeControlPlane {
 public:
  StatusPlane() : FakeControlPlane(8) {}
  void set_status(const lightning::RankStatus& told) override { status = told; }
  lightning::RankStatus status;
};

}  // namespace

TEST_CASE("a phase is told to the control plane, the dry run and log() until the next one",
          "[trainer]") {
  const auto world = fake_world();
  const MetricSync metrics(world->group(), world->control(), at::kCPU);
  StatusPlane control;
  lightning::MetricLog log;
  lightning::Phases phases;
  phases.report_to(&control, nullptr);
  phases.dry_run.emplace(world.get(), &metrics);
  lightning::Progress progress;
  progress.global_step = 3;
  const auto told = [&] { return std::string(control.status.phase); };

  {
    const auto phase =
        phases.enter(lightning::kTrainBatch, progress, log, {.hook = "a test", .allowed = true});
  }
  CHECK(told() == "run_training_batch");
  CHECK(control.status.global_step == 3);
  CHECK_FALSE(control.status.long_phase);
  CHECK(phases.dry_run->count(DryRun::kStep) == 1);
  CHECK_NOTHROW(log.record("loss", 1.0, {.on_epoch = true}));

  { const auto phase = phases.enter(lightning::kCheckpoint, progress); }
  CHECK(told() == "checkpoint");
  CHECK(control.status.long_phase);
  send(*world, 10);
  CHECK_NOTHROW(log.record("loss", 1.0, {.on_epoch = true}));

  progress.global_step = 4;
  { const auto phase = phases.enter(lightning::kTrainEpochEnd, progress, log, {}); }
  CHECK(told() == "on_train_epoch_end");
  CHECK_FALSE(control.status.long_phase);
  CHECK(phases.dry_run->count(DryRun::kEpochEnd) == 1);
  // The checkpoint has no part of its own: what it sent was sent in the step.
  CHECK(phases.dry_run->total().at("all_reduce").bytes == 40);
  CHECK(phases.dry_run->last(DryRun::kEpochEnd).empty());
  CHECK_THROWS_WITH(log.record("late", 1.0, {}),
                    Catch::Contains("\"late\" was logged in on_train_epoch_end"));
}

TEST_CASE("DryRun counts what each part has sent at its last time", "[trainer]") {
  const auto world = fake_world();
  const MetricSync metrics(world->group(), world->control(), at::kCPU);
  send(*world, 1000);  // of another run
  DryRun dry_run(world.get(), &metrics);
  CHECK(dry_run.total().empty());
  world->control().barrier("setup");
  for (int64_t step = 0; step < 3; ++step) {
    dry_run.enter(DryRun::kStep, step);
    send(*world, step == 0 ? 100 : 10);
    dry_run.enter(DryRun::kValidation, step);  // in the middle of a window
    world->control().all_gather("stop", "text");
    dry_run.enter(DryRun::kStep, step);
    send(*world, 5);
  }
  CHECK(dry_run.count(DryRun::kStep) == 3);
  const Traffic step = dry_run.last(DryRun::kStep);
  REQUIRE(step.size() == 1);
  CHECK(step.at("all_reduce").messages == 2);
  CHECK(step.at("all_reduce").bytes == 4 * (10 + 5));
  const Traffic validation = dry_run.last(DryRun::kValidation);
  REQUIRE(validation.size() == 1);
  CHECK(validation.at(DryRun::kControlPlane).messages == 1);
  CHECK(validation.at(DryRun::kControlPlane).bytes == 4);
  CHECK(dry_run.count(DryRun::kEpochEnd) == 0);
  CHECK(dry_run.last(DryRun::kEpochEnd).empty());
  CHECK(dry_run.total().at("all_reduce").bytes == 4 * (100 + 2 * 10 + 3 * 5));
  CHECK(dry_run.total().at(DryRun::kControlPlane).messages == 4);
}

TEST_CASE("DryRun leaves out the first step and comparisons of names", "[trainer]") {
  const auto world = fake_world();
  MetricSync metrics(world->group(), world->control(), at::kCPU);
  DryRun dry_run(world.get(), &metrics);
  dry_run.enter(DryRun::kStep, 0);
  send(*world, 100);
  CHECK(dry_run.last(DryRun::kStep).empty());

  dry_run.enter(DryRun::kEpochEnd, 1);
  lightning::MetricLog log;
  log.enter({.hook = "training_step", .allowed = true, .on_epoch = true, .batch_size = 2.0});
  log.record("loss", 1.0, {});
  metrics.reduce(log, lightning::MetricLog::Level::kEpoch, "the training epoch");
  // Once to find that the names are new, once with all of them.
  CHECK(dry_run.total().at("all_gather").messages == 2);
  CHECK(dry_run.total().at(DryRun::kControlPlane).messages == 1);
  const Traffic end = dry_run.last(DryRun::kEpochEnd);
  REQUIRE(end.size() == 1);
  CHECK(end.at("all_gather").messages == 1);
  CHECK(end.at("all_gather").bytes == metrics.interval_bytes());
}

TEST_CASE("a dry run trains three steps and leaves nothing on the disk", "[trainer]") {
  const lightning_tests::TemporaryFolder folder;
  const auto module = std::make_shared<Writing>(folder / "saved");
  const auto logger = std::make_shared<lightning::CSVLogger>(lightning::CSVLoggerOptions{});
  Trainer trainer(
      dry_options(folder),
      {std::make_shared<lightning::ModelCheckpoint>(lightning::ModelCheckpointOptions{})},
      lightning::Loggers{logger});
  const std::string text = log_of([&] {
    // 5 steps per epoch with 1024 ranks.
    trainer.fit(module, boring_loader(10'000), boring_loader(3000));
  });
  INFO(text);
  CHECK(module->steps == 3);
  CHECK(module->estimated == 25);  // schedules are those of the whole run
  CHECK(std::filesystem::is_empty(folder.path()));
  CHECK(trainer.loggers().empty());
  CHECK(lightning::World::current() == nullptr);
  CHECK_THAT(text, Catch::Contains("rank 0 of 1024"));
  CHECK_THAT(text, Catch::Contains("3 steps, 3 batches, 6 samples"));
  CHECK_THAT(text, Catch::Contains("rank 1023"));
}

TEST_CASE("a dry run takes as many steps as max_steps says, and can be done again", "[trainer]") {
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options = dry_options(folder);
  options.max_steps = 7;
  Trainer trainer(options);
  for (int run = 0; run < 2; ++run) {
    const auto module = std::make_shared<Writing>(folder / "saved");
    const std::string text = log_of([&] { trainer.fit(module, boring_loader(10'000)); });
    CHECK(module->steps == 7);
    CHECK_THAT(text, Catch::Contains("7 steps, 7 batches, 14 samples"));
  }
  CHECK(std::filesystem::is_empty(folder.path()));
}

TEST_CASE("a dry run prints the memory of weights, gradients, buckets and optimizer", "[trainer]") {
  const lightning_tests::TemporaryFolder folder;
  TrainerOptions options = dry_options(folder);
  const auto bytes_of = [&](const char* row) {
    Trainer trainer(options);
    const std::string text =
        log_of([&] { trainer.fit(std::make_shared<BoringModule>(), boring_loader(10'000)); });
    const size_t line = text.find(std::string("\n") + row);
    REQUIRE(line != std::string::npos);
    return std::stoll(text.substr(text.find_first_of("0123456789", line)));
  };
  // 2 x 1 + 1 numbers of 32 bits, and four that travel with them.
  CHECK(bytes_of("weights") == 12);
  CHECK(bytes_of("gradients") == 12);
  CHECK(bytes_of("gradient buckets") == 28);
  CHECK(bytes_of("optimizer state") == 0);
  options.ddp.gradient_as_bucket_view = true;
  CHECK(bytes_of("gradient buckets") == 16);
}

TEST_CASE("only fit() can be a dry run", "[trainer]") {
  const lightning_tests::TemporaryFolder folder;
  Trainer trainer(dry_options(folder));
  const auto module = std::make_shared<BoringModule>();
  CHECK_THROWS_WITH(trainer.validate(module, boring_loader()),
                    Catch::Contains("dry_run is true and this is validate()"));
  CHECK_THROWS_WITH(trainer.test(module, boring_loader()), Catch::Contains("test()"));
  CHECK_THROWS_WITH(
      trainer.predict(module, boring_loader(), [](const auto&, const auto&, int64_t) {}),
      Catch::Contains("predict()"));
}
