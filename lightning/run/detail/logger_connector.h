/// LoggerConnector: brings rows from the device to the loggers and the progress bar without making
/// the device wait: one flat asynchronous copy per row, delivered when it has arrived.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <lightning/accelerators/detail/host_copy.h>
#include <lightning/core/metric_log.h>
#include <lightning/core/trainer_context.h>
#include <lightning/loggers/logger.h>
#include <lightning/util/export.h>
#include <lightning/util/state_dict.h>

namespace lightning {

class LIGHTNING_API LoggerConnector {
 public:
  /// Called before a row is written; what it throws leaves the row unwritten.
  void set_gate(std::function<void()> gate) { gate_ = std::move(gate); }
  void set_loggers(std::vector<std::shared_ptr<Logger>> loggers) { loggers_ = std::move(loggers); }

  /// Sends a row, now when all of it is on the host, else when its copy has arrived.
  void send(LoggedRow row, int64_t step, int64_t epoch);
  /// How many rows were sent to loggers.
  int64_t rows() const { return rows_; }
  /// Delivers rows whose copies have arrived. No sync.
  void poll();
  /// Delivers everything. Sync: waits for the copies.
  void flush();
  /// The loggers' positions after their last rows, by index. Sync: see flush().
  StateDict positions();

  /// The bar's newest values that are on the host; starts a copy of newer ones. No sync.
  const MetricMap& progress_bar(const MetricLog& metrics);

 private:
  struct Pending {
    MetricRow row;
    std::vector<size_t> on_device;  // positions in row.values
    std::unique_ptr<HostCopy> copy;
  };
  static Pending begin(LoggedRow row);
  static void finish(Pending& pending);
  void deliver(const MetricRow& row);

  std::vector<std::shared_ptr<Logger>> loggers_;
  std::function<void()> gate_;
  std::deque<Pending> pending_;
  int64_t rows_ = 0;
  Pending bar_pending_;
  MetricMap bar_;
};

}  // namespace lightning
