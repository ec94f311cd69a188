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
  CHECK_THROWS_WITH(logger.setup({.run_dir = folder / "runs/1"}),
                    Contains("TensorBoardLogger: ") && Contains("runs\" is a file"));
}
