/// Logger: where rows of metrics go. Subclasses write; the base class sees to it that only rank 0
/// does, and that nothing is written to a logger that was closed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <lightning/util/export.h>

namespace lightning {

/// One row: values that became known at the same point of the run.
struct MetricRow {
  int64_t step = 0;   // completed optimizer steps
  int64_t epoch = 0;  // epoch under way
  std::vector<std::pair<std::string, double>> values;
};

/// A run begins or goes on.
struct LoggerSetup {
  std::filesystem::path run_dir;
  int64_t global_rank = 0;
  /// Resuming in the same folder: rows of later steps than this are cut; -1: a fresh run.
  int64_t resume_step = -1;
};

class LIGHTNING_API Logger {
 public:
  virtual ~Logger();
  /// Name for messages ("CSVLogger").
  virtual std::string_view name() const = 0;

  /// Called by the Trainer on every rank before the first row.
  void setup(const LoggerSetup& setup);
  void log_metrics(const MetricRow& row);
  /// The resolved config as YAML text, and its flat form ("model.learning_rate" -> "3e-05").
  void log_hyperparameters(const std::vector<std::pair<std::string, std::string>>& parameters);
  /// Rows written so far have left the program's buffers.
  void flush();
  /// Closes. `status` is "success", "interrupted" or "failed".
  void finalize(std::string_view status);

 private:
  virtual void do_setup(const LoggerSetup& setup) = 0;
  virtual void do_log_metrics(const MetricRow& row) = 0;
  virtual void do_log_hyperparameters(const std::vector<std::pair<std::string, std::string>>&) {}
  virtual void do_flush() = 0;
  virtual void do_finalize(std::string_view status) = 0;

  bool open_ = false;  // this rank writes
};

}  // namespace lightning
