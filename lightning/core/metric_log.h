/// MetricLog: what LightningModule::log() writes to. Values stay on the device they came from; the
/// Trainer moves a whole row at once to the host, when a row is due.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include <lightning/util/export.h>
#include <lightning/util/state_dict.h>

namespace lightning {

/// How the values of an epoch become one.
enum class ReduceFx { kMean, kSum, kMin, kMax };

struct LogOptions {
  /// Record the value of this step; none: the default of the hook (yes in training_step).
  std::optional<bool> on_step = std::nullopt;
  /// Accumulate and reduce over the epoch; none: the default of the hook (yes in validation_step).
  std::optional<bool> on_epoch = std::nullopt;
  /// Show it on the progress bar.
  bool prog_bar = false;
  /// Send it to the loggers.
  bool logger = true;
  ReduceFx reduce_fx = ReduceFx::kMean;
  /// Reduce over ranks at the end of the interval.
  bool sync_dist = false;
  /// Append "/dataloader_idx_N" when there are several loaders.
  bool add_dataloader_idx = true;
  /// Weight of this value in the epoch's mean; none: Batch::batch_size of the batch under way.
  std::optional<double> batch_size = std::nullopt;
};

/// Values of one row that still are on the device: values[i] belongs to names[i].
struct DeviceRow {
  std::vector<std::string> names;
  std::vector<at::Tensor> values;  // 0-dim, detached
};

class LIGHTNING_API MetricLog {
 public:
  /// Which hook is running: it decides the defaults and whether log() is allowed at all.
  struct Scope {
    std::string_view hook;      // for error messages
    bool allowed = false;
    bool on_step = false;       // defaults
    bool on_epoch = false;
    double batch_size = 1.0;    // weight of the batch under way
    int64_t dataloader_idx = -1;  // -1: one loader, names stay as they are
  };
  /// Set by the loops around each hook; costs a few stores.
  void enter(const Scope& scope) { scope_ = scope; }

  /// Called by LightningModule::log(). No sync. Throws ConfigError outside hooks that may log, for
  /// a value that is not one element, and for one name logged with different options.
  void record(std::string_view name, const at::Tensor& value, const LogOptions& options);
  void record(std::string_view name, double value, const LogOptions& options);

  /// The newest on_step values that go to the loggers / to the bar. The names fork to `name_step`
  /// and `name_epoch` when a value is logged at both levels.
  DeviceRow step_row() const;
  DeviceRow progress_bar_row() const;
  /// Everything at its newest: step values and the reduced epoch values so far.
  DeviceRow callback_row() const;
  /// The reduced values of the epoch (those that go to loggers, or all).
  DeviceRow epoch_row(bool only_logger) const;
  /// Forgets the epoch's accumulators (names and options stay).
  void reset_epoch();
  /// Forgets everything.
  void clear();
  bool empty() const { return entries_.empty(); }

  /// Accumulators and newest step values, for exact resume in the middle of an epoch.
  StateDict state_dict() const;
  void load_state_dict(const StateDict& state);

 private:
  struct Entry {
    std::string name;
    LogOptions options;  // on_step and on_epoch resolved
    at::Tensor step_value;
    at::Tensor accumulated;  // sum of value * weight, sum, min or max
    double weight = 0.0;     // sum of weights (mean)
    double host_step_value = 0.0;   // values given as numbers stay numbers
    bool is_host = false;
    double host_accumulated = 0.0;
    bool has_step = false;
    bool has_epoch = false;
  };
  Entry& entry_for(std::string_view name, const LogOptions& options);

  Scope scope_;
  std::vector<Entry> entries_;  // few: found by a linear search from the last hit
  size_t next_hit_ = 0;
};

}  // namespace lightning
