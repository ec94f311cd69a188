#include <lightning/loggers/logger.h>

#include <catch2/catch.hpp>

#include <memory>
#include <string>
#include <vector>

#include <lightning/config/registry.h>
#include <lightning/config/yaml.h>
#include <lightning/loggers/csv_logger.h>
#include <lightning/loggers/registry.h>
#include <lightning/loggers/tensorboard_logger.h>
#include <lightning/util/error.h>
#include <lightning/util/file_system.h>

#include "support/temporary_folder.h"

namespace fs = std::filesystem;
using Catch::Matchers::Contains;
using lightning::CheckpointError;
using lightning::Error;
using lightning::Logger;
using lightning::LoggerSetup;
using lightning::MetricRow;
using lightning::read_file;
using lightning::StateDict;
using lightning_tests::TemporaryFolder;
using Calls = std::vector<std::string>;

namespace {

class RecordingLogger : public Logger {
 public:
  std::string_view name() const override { return "RecordingLogger"; }
  Calls calls;
  bool disk_full = false;

 private:
  void do_setup(const LoggerSetup&) override { calls.push_back("setup"); }
  void do_log_metrics(const MetricRow&) override {
    if (disk_full) throw CheckpointError("the disk is full");
    calls.push_back("metrics");
  }
  void do_log_hyperparameters(const std::vector<std::pair<std::string, std::string>>&) override {
    calls.push_back("hyperparameters");
  }
  void do_flush() override { calls.push_back("flush"); }
  void do_finalize(std::string_view status) override { calls.emplace_back(status); }
};

void use(Logger& logger) {
  logger.log_hyperparameters({});
  logger.log_metrics({});
  logger.state_dict();
  logger.finalize("success");
}

}  // namespace

TEST_CASE("A logger writes on rank 0 only, and only between setup and finalize", "[loggers]") {
  RecordingLogger logger;
  use(logger);
  logger.setup({.run_dir = "", .global_rank = 1});
  use(logger);
  CHECK(logger.calls.empty());
  logger.setup({.run_dir = ""});
  use(logger);
  logger.log_metrics({});
  logger.flush();
  logger.finalize("failed");
  CHECK(logger.calls == Calls{"setup", "hyperparameters", "metrics", "flush", "success"});
}

TEST_CASE("A logger that fails says its name and is closed", "[loggers]") {
  RecordingLogger logger;
  logger.setup({.run_dir = ""});
  logger.disk_full = true;
  CHECK_THROWS_WITH(logger.log_metrics({}), "RecordingLogger: the disk is full");
  logger.disk_full = false;
  use(logger);
  CHECK(logger.calls == Calls{"setup"});
}

TEST_CASE("The built-in loggers are made by name", "[loggers]") {
  const TemporaryFolder folder;
  const auto& registry = lightning::logger_registry();
  const auto csv = registry.create(lightning::config::parse_yaml(
      "{class_path: lightning.pytorch.loggers.CSVLogger, init_args: {dir: logs}}", "test"));
  csv->setup({.run_dir = folder.path()});
  csv->finalize("success");
  CHECK(fs::exists(folder / "logs/metrics.csv"));
  const auto board = registry.create(lightning::config::parse_yaml("TensorBoardLogger", "test"));
  CHECK(board->name() == "TensorBoardLogger");
}

TEST_CASE("TensorBoardLogger's files sort in the order of their making", "[loggers]") {
  const TemporaryFolder folder;
  std::vector<std::string> names;
  for (int run = 0; run < 3; ++run) {
    lightning::TensorBoardLogger logger({.dir = "tb"});
    logger.setup({.run_dir = folder.path()});
    logger.log_metrics({.step = 1, .epoch = 0, .values = {{"loss", 1.0}}});
    names.push_back(logger.state_dict().get<std::string>("file"));
    logger.finalize("success");
    CHECK(fs::exists(folder / "tb" / names.back()));
  }
  CHECK(std::is_sorted(names.begin(), names.end()));
  CHECK(names[0] != names[1]);
  CHECK(names[1] != names[2]);
}

TEST_CASE("TensorBoardLogger takes back what was written after the checkpoint", "[loggers]") {
  const TemporaryFolder folder;
  StateDict state;
  std::string at_checkpoint;
  {
    lightning::TensorBoardLogger logger;
    logger.setup({.run_dir = folder.path()});
    logger.log_metrics({.step = 1, .epoch = 0, .values = {{"loss", 1.0}}});
    state = logger.state_dict();
    at_checkpoint = lightning::read_file(folder / state.get<std::string>("file"));
    CHECK(state.get<int64_t>("position") == static_cast<int64_t>(at_checkpoint.size()));
    logger.log_metrics({.step = 2, .epoch = 0, .values = {{"loss", 1.0}}});
    logger.finalize("failed");
  }
  for (int attempt = 0; attempt < 2; ++attempt) {
    lightning::TensorBoardLogger logger;
    logger.setup({.run_dir = folder.path(), .resume = &state, .resume_step = 1});
    logger.open();
    logger.finalize("failed");
    CHECK(lightning::read_file(folder / state.get<std::string>("file")) == at_checkpoint);
    CHECK(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()) == 2);
  }
}

TEST_CASE("TensorBoardLogger says where it can't write", "[loggers]") {
  const TemporaryFolder folder;
  lightning::write_file_atomically(folder / "runs", "");
  lightning::TensorBoardLogger logger;
  CHECK_THROWS_AS(logger.setup({.run_dir = folder / "runs/1"}), Error);
  CHECK_THROWS_WITH(
      logger.setup({.run_dir = folder / "runs/1"}),
      Contains("TensorBoardLogger: dir: can't create folder") && Contains("runs\" is a file"));
}

TEST_CASE("A logger that resumes touches nothing before it is opened or gets a row", "[loggers]") {
  const StateDict state;
  RecordingLogger logger;
  logger.setup({.run_dir = "", .resume = &state, .resume_step = 1});
  CHECK(logger.calls.empty());
  logger.flush();
  logger.state_dict();
  SECTION("refused") {
    logger.finalize("failed");
    CHECK(logger.calls.empty());
  }
  SECTION("opened") {
    logger.open();
    logger.open();
    logger.finalize("success");
    CHECK(logger.calls == Calls{"setup", "success"});
  }
  SECTION("a row") {
    logger.log_metrics({});
    logger.open();
    CHECK(logger.calls == Calls{"setup", "metrics"});
  }
}

TEST_CASE("A logger's place in a file is checked before anything is cut", "[loggers]") {
  const TemporaryFolder folder;
  for (const std::shared_ptr<Logger>& logger :
       {std::shared_ptr<Logger>(
            std::make_shared<lightning::CSVLogger>(lightning::CSVLoggerOptions{})),
        std::shared_ptr<Logger>(std::make_shared<lightning::TensorBoardLogger>())}) {
    CAPTURE(logger->name());
    StateDict state;
    state.set("rows", std::string("many"));
    state.set("file", std::string("events.out.tfevents.1"));
    state.set("position", std::string("many"));
    CHECK_THROWS(logger->setup({.run_dir = folder.path(), .resume = &state, .resume_step = 1}));
    CHECK(fs::is_empty(folder.path()));
  }
}

TEST_CASE("TensorBoardLogger cuts and removes event files of its folder, nothing else",
          "[loggers]") {
  const TemporaryFolder folder;
  const fs::path run = folder / "run";
  const fs::path precious = folder / "events.out.tfevents.9";
  fs::create_directory(run);
  const std::string text(100, 'x');
  lightning::write_file_atomically(precious, text);
  lightning::write_file_atomically(run / "events.out.tfevents.1", text);
  lightning::write_file_atomically(run / "notes.txt", text);
  // Where newer event files are removed, folders and what links lead to stay.
  fs::create_directories(run / "events.out.tfevents.8/inside");
  fs::create_symlink(precious, run / "events.out.tfevents.7");
  StateDict state;
  state.set("file", std::string("events.out.tfevents.1"));
  state.set("position", int64_t{0});
  SECTION("a path up") { state.set("file", std::string("../events.out.tfevents.9")); }
  SECTION("an absolute path") { state.set("file", precious.string()); }
  SECTION("a path with the right beginning") {
    fs::create_directory(run / "events.out.tfevents.");
    state.set("file", std::string("events.out.tfevents./../../events.out.tfevents.9"));
  }
  SECTION("another file of the run") { state.set("file", std::string("notes.txt")); }
  SECTION("a link") { state.set("file", std::string("events.out.tfevents.7")); }
  SECTION("a folder") { state.set("file", std::string("events.out.tfevents.8")); }
  SECTION("a negative place") { state.set("position", int64_t{-1}); }
  SECTION("its own file") {
    // Also when a copy made of hard links shares it.
    fs::create_hard_link(run / "events.out.tfevents.1", folder / "copy");
  }
  lightning::TensorBoardLogger logger;
  logger.setup({.run_dir = run, .resume = &state, .resume_step = 1});
  logger.open();
  logger.finalize("success");
  const bool own = fs::exists(folder / "copy");
  CHECK(read_file(run / "events.out.tfevents.1") == (own ? "" : text));
  if (own) CHECK(read_file(folder / "copy") == text);
  CHECK(read_file(precious) == text);
  CHECK(read_file(run / "notes.txt") == text);
  CHECK(fs::is_directory(run / "events.out.tfevents.8/inside"));
  CHECK(fs::is_symlink(run / "events.out.tfevents.7"));
}
