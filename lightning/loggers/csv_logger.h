/// CSVLogger: one table of all metrics.
///
/// Columns: step, epoch, one for each metric in the order of appearance, time_seconds (since the
/// run began, without pauses between resumed parts). A cell is empty when the row lacks the metric.
/// Numbers have as many digits as are needed to get the same double back.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <lightning/config/fields.h>
#include <lightning/loggers/logger.h>
#include <lightning/util/export.h>

namespace lightning {

namespace detail {
class LogFile;
}

struct CSVLoggerOptions {
  /// Folder, relative to the run's; empty: the run's.
  std::filesystem::path dir = {};
  std::string file = "metrics.csv";
};

LIGHTNING_FIELDS(CSVLoggerOptions,
                 LIGHTNING_FIELD(dir, "folder, relative to the run's; empty: the run's"),
                 LIGHTNING_FIELD(file, "name of the table"))

/// A table that is there when a fresh run begins is kept under a different name. A metric that
/// appears late costs one rewriting of the table.
class LIGHTNING_API CSVLogger final : public Logger {
 public:
  using Options = CSVLoggerOptions;
  /// Throws ConfigError when `file` is empty.
  explicit CSVLogger(CSVLoggerOptions options = {});
  ~CSVLogger() override;
  std::string_view name() const override { return "CSVLogger"; }

 private:
  void do_check(const LoggerSetup& setup) override;
  void do_setup(const LoggerSetup& setup) override;
  void do_log_metrics(const MetricRow& row) override;
  void do_flush() override;
  StateDict do_state_dict() override;
  void do_finalize(std::string_view status) override;

  void start_table(const std::filesystem::path& path);
  void cut_back(const std::filesystem::path& path, const StateDict& state);
  void find_columns(const MetricRow& row);
  void add_columns(const std::vector<std::string>& names);
  double elapsed_seconds() const;

  CSVLoggerOptions options_;
  std::unique_ptr<detail::LogFile> file_;
  std::vector<std::string> columns_;  // metrics
  int64_t rows_ = 0;
  double seconds_before_ = 0;  // of earlier parts of the run
  std::chrono::steady_clock::time_point start_;
  // Of the current row.
  std::vector<size_t> row_columns_;
  std::vector<std::string> new_names_;
  std::vector<const double*> cells_;
};

}  // namespace lightning
