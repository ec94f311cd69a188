#include <lightning/loggers/csv_logger.h>

#include <catch2/catch.hpp>

#include <filesystem>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include <lightning/util/error.h>
#include <lightning/util/file_system.h>

#include "support/temporary_folder.h"

namespace fs = std::filesystem;
using Catch::Matchers::Contains;
using lightning::ConfigError;
using lightning::CSVLogger;
using lightning::Error;
using lightning::read_file;
using lightning::StateDict;
using lightning_tests::TemporaryFolder;

namespace {

/// The table without its time column, which is the last.
std::string table(const fs::path& path) {
  std::istringstream lines(read_file(path));
  std::string result;
  for (std::string line; std::getline(lines, line);) {
    const size_t time = line.rfind(',');
    if (result.empty()) CHECK(line.substr(time) == ",time_seconds");
    result += line.substr(0, time) + "\n";
  }
  return result;
}

void log(CSVLogger& logger, int64_t step, const std::string& name = "loss") {
  logger.log_metrics({.step = step, .epoch = 0, .values = {{name, static_cast<double>(step)}}});
}

}  // namespace

TEST_CASE("CSVLogger writes rows with exact numbers and empty cells", "[loggers]") {
  const TemporaryFolder folder;
  CSVLogger logger;
  logger.setup({.run_dir = folder / "run"});
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const double nan = -std::numeric_limits<double>::quiet_NaN();
  logger.log_metrics({.step = 1, .epoch = 0, .values = {{"loss", 0.1}, {"lr", 3e-5}}});
  logger.log_metrics({.step = 2, .epoch = 0, .values = {{"lr", -0.0}, {"loss", 1.0 / 3.0}}});
  logger.log_metrics({.step = 2, .epoch = 1, .values = {{"acc,\"top 1\"", kInfinity}}});
  logger.log_metrics({.step = 3, .epoch = 1, .values = {{"loss", nan}, {"acc,\"top 1\"", 1e300}}});
  logger.log_metrics({.step = 4, .epoch = 1, .values = {}});
  logger.finalize("success");
  CHECK(table(folder / "run/metrics.csv")
            .ends_with("\"\n"
                       "1,0,0.1,3e-05,\n"
                       "2,0,0.3333333333333333,-0,\n"
                       "2,1,,,inf\n"
                       "3,1,nan,,1e+300\n"
                       "4,1,,,\n"));
  CHECK_THAT(
      read_file(folder / "run/metrics.csv"),
      Catch::Matchers::StartsWith("step,epoch,loss,lr,\"acc,\"\"top 1\"\"\",time_seconds\n"));
}

TEST_CASE("CSVLogger adds columns for metrics that appear later", "[loggers]") {
  const TemporaryFolder folder;
  CSVLogger logger;
  logger.setup({.run_dir = folder.path()});
  log(logger, 1, "a");
  log(logger, 2, "b");
  logger.flush();
  CHECK(table(folder / "metrics.csv") == "step,epoch,a,b\n1,0,1,\n2,0,,2\n");
  logger.log_metrics({.step = 3, .epoch = 0, .values = {{"d", 4}, {"a", 1}, {"c", 3}, {"d", 5}}});
  logger.flush();
  CHECK(table(folder / "metrics.csv") == "step,epoch,a,b,d,c\n1,0,1,,,\n2,0,,2,,\n3,0,1,,5,3\n");
}

TEST_CASE("CSVLogger resumes at the checkpoint's row with the checkpoint's columns", "[loggers]") {
  const TemporaryFolder folder;
  const fs::path path = folder / "metrics.csv";
  StateDict state;
  std::string at_checkpoint;
  for (const bool new_column : {false, true}) {
    CSVLogger first;
    fs::remove(path);
    first.setup({.run_dir = folder.path()});
    log(first, 1, "a");
    log(first, 2, "b");
    state = first.state_dict();
    at_checkpoint = read_file(path);
    log(first, 2, "a");
    log(first, 3, new_column ? "later" : "b");
    first.flush();  // then the process is killed, in the middle of a row
    {
      const auto file = lightning::FileSystem::current().open_for_appending(path);
      file->write("4,0,1.2");
      file->close();
    }

    CSVLogger second;
    second.setup({.run_dir = folder.path(), .resume = &state, .resume_step = 2});
    second.open();
    CHECK(read_file(path) == at_checkpoint);
    log(second, 2, "a");
    log(second, 3, new_column ? "later" : "b");
    second.finalize("success");
    CHECK(table(path) == (new_column ? "step,epoch,a,b,later\n1,0,1,,\n2,0,,2,\n2,0,2,,\n3,0,,,3\n"
                                     : "step,epoch,a,b\n1,0,1,\n2,0,,2\n2,0,2,\n3,0,,3\n"));
  }
}

TEST_CASE("CSVLogger's time continues where the resumed run's stopped", "[loggers]") {
  const TemporaryFolder folder;
  CSVLogger first;
  first.setup({.run_dir = folder.path()});
  log(first, 1);
  StateDict state = first.state_dict();
  state.set("time_seconds", 1000.5);
  CSVLogger second;
  second.setup({.run_dir = folder.path(), .resume = &state, .resume_step = 1});
  log(second, 2);
  second.flush();
  CHECK_THAT(read_file(folder / "metrics.csv"), Contains("\n2,0,2,1000.5"));
}

TEST_CASE("CSVLogger resumes before its first row", "[loggers]") {
  const TemporaryFolder folder;
  CSVLogger first;
  first.setup({.run_dir = folder.path()});
  const StateDict state = first.state_dict();
  log(first, 1, "a");
  first.finalize("failed");
  CSVLogger second;
  second.setup({.run_dir = folder.path(), .resume = &state, .resume_step = 0});
  log(second, 1, "b");
  second.finalize("success");
  CHECK(table(folder / "metrics.csv") == "step,epoch,b\n1,0,1\n");
}

TEST_CASE("CSVLogger resumed in another folder begins a table", "[loggers]") {
  const TemporaryFolder folder;
  CSVLogger first;
  first.setup({.run_dir = folder / "one"});
  log(first, 1, "a");
  const StateDict state = first.state_dict();
  CSVLogger second;
  second.setup({.run_dir = folder / "two", .resume = &state, .resume_step = 1});
  log(second, 2, "a");
  second.finalize("success");
  CHECK(table(folder / "two/metrics.csv") == "step,epoch,a\n2,0,2\n");
}

TEST_CASE("CSVLogger keeps the table of an earlier run", "[loggers]") {
  const TemporaryFolder folder;
  for (int64_t run = 1; run <= 3; ++run) {
    CSVLogger logger;
    logger.setup({.run_dir = folder.path()});
    log(logger, run);
    logger.finalize("success");
  }
  CHECK(table(folder / "metrics.csv") == "step,epoch,loss\n3,0,3\n");
  CHECK(table(folder / "metrics.previous-1.csv") == "step,epoch,loss\n1,0,1\n");
  CHECK(table(folder / "metrics.previous-2.csv") == "step,epoch,loss\n2,0,2\n");
}

TEST_CASE("CSVLogger cuts only the run's own table", "[loggers]") {
  const TemporaryFolder folder;
  const fs::path path = folder / "metrics.csv";
  CSVLogger first;
  first.setup({.run_dir = folder.path()});
  log(first, 1);
  StateDict state = first.state_dict();
  log(first, 2);
  first.finalize("success");
  const std::string whole = read_file(path);
  fs::path kept = folder / "metrics.previous-1.csv";
  SECTION("a number of rows that can't be") { state.set("rows", int64_t{-1}); }
  SECTION("other columns") { state.set("columns", std::vector<std::string>{"accuracy"}); }
  SECTION("a link") {
    kept = folder / "elsewhere.csv";
    fs::rename(path, kept);
    fs::create_symlink(kept, path);
  }
  CSVLogger second;
  second.setup({.run_dir = folder.path(), .resume = &state, .resume_step = 1});
  log(second, 3);
  second.finalize("success");
  CHECK(read_file(kept) == whole);
  CHECK(table(path) == "step,epoch,loss\n3,0,3\n");
}

TEST_CASE("CSVLogger continues its table when the same logger is set up again", "[loggers]") {
  const TemporaryFolder folder;
  CSVLogger logger;
  logger.setup({.run_dir = folder.path()});
  log(logger, 1, "a");
  logger.finalize("success");
  logger.setup({.run_dir = folder.path()});
  log(logger, 1, "test_a");
  logger.finalize("success");
  CHECK(table(folder / "metrics.csv") == "step,epoch,a,test_a\n1,0,1,\n1,0,,1\n");
}

TEST_CASE("CSVLogger's state has what is on the disk", "[loggers]") {
  const TemporaryFolder folder;
  CSVLogger logger({.dir = "logs", .file = "m.csv"});
  logger.setup({.run_dir = folder.path()});
  log(logger, 1);
  const StateDict state = logger.state_dict();
  CHECK(state.get<int64_t>("rows") == 1);
  CHECK(state.get<std::vector<std::string>>("columns") == std::vector<std::string>{"loss"});
  CHECK(table(folder / "logs/m.csv") == "step,epoch,loss\n1,0,1\n");
}

TEST_CASE("CSVLogger says what is wrong", "[loggers]") {
  const TemporaryFolder folder;
  CHECK_THROWS_AS(CSVLogger({.file = ""}), ConfigError);
  {
    CSVLogger logger;
    logger.setup({.run_dir = folder.path()});
    CHECK_THROWS_WITH(log(logger, 1, "epoch"), Contains("\"epoch\"") && Contains("HINT: rename"));
  }
  {
    CSVLogger logger({.file = "/dev/full"});
    logger.setup({.run_dir = folder.path()});
    log(logger, 1);
    CHECK_THROWS_AS(logger.flush(), Error);
    CHECK(fs::is_character_file("/dev/full"));
    // It is closed then: the end of the run has nothing to add.
    CHECK_NOTHROW(log(logger, 2));
    CHECK_NOTHROW(logger.finalize("failed"));
  }
  CSVLogger logger({.file = "/dev/full"});
  logger.setup({.run_dir = folder.path()});
  log(logger, 1);
  CHECK_THROWS_WITH(logger.state_dict(), Contains("CSVLogger: ") && Contains("/dev/full") &&
                                             Contains("No space left") && Contains("HINT: free"));
  CHECK_NOTHROW(logger.setup({.run_dir = folder.path()}));  // a new run has a new chance

  lightning::write_file_atomically(folder / "runs", "");
  CSVLogger below_a_file;
  CHECK_THROWS_WITH(below_a_file.setup({.run_dir = folder / "runs/1"}),
                    Contains("CSVLogger: ") && Contains("runs\" is a file"));
}
