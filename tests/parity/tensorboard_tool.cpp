// Writes logs as a run does, for a script that reads them with TensorBoard's own reader.
//   tensorboard_tool start DIR     steps 1 to 10; a checkpoint DIR/5.ckpt after step 5
//   tensorboard_tool resume DIR    resumes from that checkpoint, to step 12
//   tensorboard_tool axis DIR      a run that resumes at step 2, with rows of validation batches
#include <cmath>
#include <filesystem>
#include <iostream>
#include <limits>
#include <string>
#include <string_view>

#include <lightning/checkpoint/checkpoint.h>
#include <lightning/loggers/tensorboard_logger.h>

namespace {

using lightning::Checkpoint;
using lightning::StateDict;
using lightning::TensorBoardLogger;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

void log_step(TensorBoardLogger& logger, int64_t step, double offset) {
  const int64_t epoch = step / 4;
  logger.log_metrics({.step = step,
                      .epoch = epoch,
                      .values = {{"train/loss", 1.0 / static_cast<double>(step) + offset},
                                 {"lr-Adam \u00e9", 1e-3}}});
  if (step % 5 == 0) {
    logger.log_metrics({.step = step,
                        .epoch = epoch,
                        .values = {{"val_loss", static_cast<double>(step) + offset},
                                   {"nan", kNan},
                                   {"inf", -kInfinity}}});
  }
}

void start(const std::filesystem::path& folder) {
  TensorBoardLogger logger;
  logger.setup({.run_dir = folder});
  logger.log_hyperparameters({{"model.learning_rate", "3e-05"}, {"data.note", "a|b\nc"}});
  for (int64_t step = 1; step <= 10; ++step) {
    log_step(logger, step, 0);
    if (step == 5) {
      Checkpoint checkpoint;
      checkpoint.state.set("logger", logger.state_dict());
      checkpoint.write(folder / "5.ckpt");
      // Written at the same step, after the checkpoint.
      logger.log_metrics({.step = 5, .epoch = 1, .values = {{"late", 1}}});
    }
  }
  logger.finalize("failed");
}

void resume(const std::filesystem::path& folder) {
  const StateDict state = Checkpoint::read(folder / "5.ckpt").state.nested("logger");
  TensorBoardLogger logger;
  logger.setup({.run_dir = folder, .resume = &state, .resume_step = 5});
  logger.log_metrics({.step = 5, .epoch = 1, .values = {{"late", 1}}});
  for (int64_t step = 6; step <= 12; ++step) log_step(logger, step, 100);
  logger.finalize("success");
}

void axis(const std::filesystem::path& folder) {
  StateDict state;
  {
    TensorBoardLogger logger;
    logger.setup({.run_dir = folder});
    log_step(logger, 1, 0);
    log_step(logger, 2, 0);
    logger.log_metrics({.step = 8, .epoch = 0, .values = {{"val_loss_step", 8}}});
    state = logger.state_dict();
    logger.finalize("failed");
  }
  TensorBoardLogger logger;
  logger.setup({.run_dir = folder, .resume = &state, .resume_step = 2});
  log_step(logger, 3, 0);
  logger.log_metrics({.step = 12, .epoch = 0, .values = {{"val_loss_step", 12}}});
  logger.finalize("success");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: tensorboard_tool start|resume|axis DIR\n";
    return 2;
  }
  if (std::string_view(argv[1]) == "start") {
    start(argv[2]);
  } else if (std::string_view(argv[1]) == "axis") {
    axis(argv[2]);
  } else {
    resume(argv[2]);
  }
  return 0;
}
