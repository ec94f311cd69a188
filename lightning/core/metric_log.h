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

namespace metrics {
class Metric;
}

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
  /// Reduce over ranks at the end of the interval; none: values of an epoch are reduced, those of a
  /// step are this rank's.
  std::optional<bool> sync_dist = std::nullopt;
  /// Append "/dataloader_idx_N" when there are several loaders.
  bool add_dataloader_idx = true;
  /// Weight of this value in the epoch's mean; none: Batch::batch_size of the current batch.
  std::optional<double> batch_size = std::nullopt;
  /// Only rank 0's value counts, whatever other ranks log: it is not reduced over ranks, which need
  /// not log it. Callbacks see it on rank 0 alone, so they can't monitor it.
  bool rank_zero_only = false;
};

/// A value of a row. What was logged from the CPU is a number at once; what was logged from another
/// device stays there.
struct LoggedValue {
  std::string name;
  double host = 0.0;
  at::Tensor device;  // 0-dim; undefined: `host` holds the value
  int64_t step = -1;  // global step that it belongs to
};
using LoggedRow = std::vector<LoggedValue>;

class LIGHTNING_API MetricLog {
 public:
  /// Which hook is running: it decides the defaults and whether log() is allowed at all.
  struct Scope {
    std::string_view hook;  // for error messages
    bool allowed = false;
    bool on_step = false;  // defaults
    bool on_epoch = false;
    bool in_step = true;          // false: outside of steps, where on_step has no meaning
    double batch_size = 1.0;      // weight of the current batch; 0: what is logged doesn't count
    int64_t dataloader_idx = -1;  // -1: one loader, names stay as they are
    int64_t step = -1;            // global step that what is logged belongs to
  };
  /// Set by the loops around each hook; costs a few stores.
  void enter(const Scope& scope) { scope_ = scope; }
  /// From here on record() does nothing; the first call says so in a warning (barebones).
  void ignore_all() { ignores_all_ = true; }

  /// Called by LightningModule::log(). No sync. Throws ConfigError outside hooks that may log, for
  /// a value that is not one element, for on_step outside of steps, and for one name logged with
  /// different options.
  void record(std::string_view name, const at::Tensor& value, const LogOptions& options);
  void record(std::string_view name, double value, const LogOptions& options);

  /// The same for a metric that is registered as `registered`: on_step is its value over the batch
  /// (Metric::compute_batch()), on_epoch what set_metric_value() gets at the interval's end. Sync:
  /// on_step waits for the device where the metric's compute() does, on_epoch the first time.
  /// Throws ConfigError too for a value that is not one element, and for options that metrics don't
  /// have.
  void record(std::string_view name, metrics::Metric& metric, std::string_view registered,
              const LogOptions& options);
  /// The name under which log() records a value here: with the loader's number.
  std::string full_name(std::string_view name, const LogOptions& options) const;
  /// Of everything that goes to the loggers, whether there is a value or not.
  std::vector<std::string> logger_names() const;

  /// The on_step values recorded since the last take: a row for the loggers. The names fork to
  /// `name_step` and `name_epoch` when a value is logged at both levels.
  LoggedRow take_step_row();
  /// The newest values logged with prog_bar.
  LoggedRow progress_bar_row() const;
  /// Everything at its newest, forked names also under the plain name. With the steps of the
  /// values.
  LoggedRow callback_row() const;
  /// What was logged since reset_epoch() belongs to `step`, at which the epoch or pass ends.
  void end_epoch(int64_t step);
  /// The reduced values of the epoch that go to the loggers.
  LoggedRow epoch_row() const;
  /// Forgets the epoch's accumulators; the newest step values stay, with their steps.
  void reset_epoch();
  bool empty() const { return entries_.empty(); }

  // ---- between ranks
  /// Numbers of the CPU are kept as doubles, values of a device as tensors there.
  struct Value {
    double host = 0.0;
    at::Tensor device;
    LoggedValue named(const std::string& name, int64_t step = -1) const {
      return {name, host, device, step};
    }
  };
  enum class Level { kStep, kEpoch };
  /// What ranks exchange of a value that must be reduced.
  struct Part {
    std::string name;
    ReduceFx reduce_fx = ReduceFx::kMean;
    bool on_step = false;
    bool on_epoch = false;
    bool prog_bar = false;
    bool logger = true;
    Value value;          // a mean: the weighted sum
    double weight = 0.0;  // 0: this rank has no value

    /// Makes this the value of both.
    void add(const Part& other);
  };
  /// The values of the next step row, or of the epoch, that must be reduced over ranks.
  std::vector<Part> parts(Level level) const;
  /// Puts the reduced ones in their place; names that this rank never logged are added.
  void set_parts(Level level, const std::vector<Part>& parts);

  // ---- registered metrics
  /// A value that is computed at the interval's end from the state of a metric.
  struct MetricPart {
    std::string name;
    std::string metric;  // as it is registered
    bool on_step = false;
    bool on_epoch = false;
    bool prog_bar = false;
    bool logger = true;
    bool sync = true;     // over ranks
    bool logged = false;  // since reset_epoch()
  };
  std::vector<MetricPart> metric_parts() const;
  /// The epoch's value of one; a part that this rank never logged is added. No sync.
  void set_metric_value(const MetricPart& part, const at::Tensor& value);

  /// Adds the values that a different rank had accumulated in the epoch.
  void add_epoch(const MetricLog& other);

  /// Accumulators and newest values, for exact resume in the middle of an epoch.
  StateDict state_dict() const;
  void load_state_dict(const StateDict& state);

 private:
  struct Entry {
    std::string name;
    std::string step_name;
    std::string epoch_name;
    std::string metric;  // as it is registered; empty: values are logged
    bool on_step = false;
    bool on_epoch = false;
    bool prog_bar = false;
    bool logger = true;
    ReduceFx reduce_fx = ReduceFx::kMean;
    bool sync_step = false;
    bool sync_epoch = true;
    Value newest;
    double newest_weight = 1.0;
    bool has_newest = false;
    bool in_next_row = false;
    Value accumulated;      // weighted sum (mean), sum, min or max
    double weight = 0.0;    // 0: nothing accumulated
    int64_t step = -1;      // global step of the newest value
    bool in_epoch = false;  // logged since reset_epoch()
    bool restored = false;  // of a checkpoint, and not logged since
  };
  void check_allowed(std::string_view name) const;
  /// `metric`: as it is registered, empty for values.
  Entry& entry_for(std::string_view name, const LogOptions& options, std::string_view metric = {});
  /// Of what is logged for the first time.
  static Entry new_entry(std::string name, bool on_step, bool on_epoch, const LogOptions& options,
                         std::string_view metric);
  static bool has_options(const Entry& entry, bool on_step, bool on_epoch, ReduceFx reduce_fx);
  void check_same(const Entry& entry, bool on_step, bool on_epoch, std::string_view metric,
                  const LogOptions& options) const;
  static Entry make_entry(std::string name, bool on_step, bool on_epoch);
  void record_value(std::string_view name, const Value& value, const LogOptions& options);
  static void accumulate(Entry& entry, const Value& value, double weight);
  static Value reduced(const Entry& entry);
  static Value value_of(const at::Tensor& scalar);

  void warn_of_ignored();

  bool ignores_all_ = false;
  bool warned_of_ignored_ = false;
  Scope scope_;
  std::vector<Entry> entries_;  // few, and logged in the same order each step
  size_t expected_ = 0;         // where the search for the next name begins
};

}  // namespace lightning
