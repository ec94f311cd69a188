/// TensorBoardLogger: event files that TensorBoard reads.
///
/// Scalars appear under their metric's name, with "epoch" beside them; hyperparameters as a table
/// under Text. A resumed run cuts the old file back to the checkpoint and begins a new one, which
/// makes a TensorBoard that is running forget the steps after it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <lightning/config/fields.h>
#include <lightning/loggers/logger.h>
#include <lightning/util/export.h>

namespace lightning {

namespace detail {
class LogFile;
}

struct TensorBoardLoggerOptions {
  /// Folder, relative to the run's; empty: the run's.
  std::filesystem::path dir = {};
};

LIGHTNING_FIELDS(TensorBoardLoggerOptions,
                 LIGHTNING_FIELD(dir, "folder, relative to the run's; empty: the run's"))

class LIGHTNING_API TensorBoardLogger final : public Logger {
 public:
  using Options = TensorBoardLoggerOptions;
  explicit TensorBoardLogger(TensorBoardLoggerOptions options = {});
  ~TensorBoardLogger() override;
  std::string_view name() const override { return "TensorBoardLogger"; }

 private:
  void do_check(const LoggerSetup& setup) override;
  void do_setup(const LoggerSetup& setup) override;
  void do_log_metrics(const MetricRow& row) override;
  void do_log_hyperparameters(
      const std::vector<std::pair<std::string, std::string>>& parameters) override;
  void do_flush() override;
  StateDict do_state_dict() override;
  void do_finalize(std::string_view status) override;

  TensorBoardLoggerOptions options_;
  std::unique_ptr<detail::LogFile> file_;
  int64_t first_step_ = 0;
  int64_t last_step_ = 0;  // the largest of any row, which may have steps of its own
  std::string summary_;    // of the current row
};

}  // namespace lightning
