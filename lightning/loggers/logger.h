/// Logger: where rows of metrics go. Subclasses write; the base class sees to it that only rank 0
/// does, and that nothing is written to a logger that was closed or failed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <lightning/util/export.h>
#include <lightning/util/state_dict.h>

namespace lightning {

/// One row: values that became known at the same point of the run.
struct MetricRow {
  int64_t step = 0;   // completed optimizer steps
  int64_t epoch = 0;  // current epoch
  std::vector<std::pair<std::string, double>> values;
};

/// A run begins or resumes.
struct LoggerSetup {
  std::filesystem::path run_dir;
  int64_t global_rank = 0;
  /// What state_dict() gave for the checkpoint from which the run resumes: rows written after it
  /// are cut. nullptr: a fresh run. Used only during the call.
  const StateDict* resume = nullptr;
  /// Optimizer steps done at that checkpoint; -1: a fresh run.
  int64_t resume_step = -1;
};

/// Every call throws Error (logger, path, reason, HINT) when the disk fails; the logger is closed
/// then.
class LIGHTNING_API Logger {
 public:
  virtual ~Logger();
  /// Name for messages ("CSVLogger").
  virtual std::string_view name() const = 0;

  /// Called by the Trainer on every rank before the first row. With `resume` the place is only
  /// checked, so that a resume which is refused later leaves the files as they were: open() or the
  /// first row cuts them back to it.
  void setup(const LoggerSetup& setup);
  /// Does what setup() left to do, if anything.
  void open();
  void log_metrics(const MetricRow& row);
  /// The resolved config in flat form ("model.learning_rate" -> "3e-05").
  void log_hyperparameters(const std::vector<std::pair<std::string, std::string>>& parameters);
  /// Rows written so far have left the program's buffers.
  void flush();
  /// For a checkpoint: the place after the last row. Rows so far are on the disk when it returns.
  /// Empty on ranks that don't write.
  StateDict state_dict();
  /// Closes. `status` is "success", "interrupted" or "failed".
  void finalize(std::string_view status);

 private:
  /// Throws where do_setup() would refuse `setup`; changes nothing.
  virtual void do_check(const LoggerSetup&) {}
  virtual void do_setup(const LoggerSetup& setup) = 0;
  virtual void do_log_metrics(const MetricRow& row) = 0;
  virtual void do_log_hyperparameters(const std::vector<std::pair<std::string, std::string>>&) {}
  virtual void do_flush() = 0;
  virtual StateDict do_state_dict();
  virtual void do_finalize(std::string_view status) = 0;

  template <typename Body>
  void if_open(const Body& body);

  bool open_ = false;  // this rank writes
  // What a resumed run was set up with, until its files are cut back.
  std::optional<LoggerSetup> waiting_;
  StateDict resume_;
};

}  // namespace lightning
