/// RunState: what the loops of one run share. The Trainer owns it; each part is changed by one
/// loop.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include <lightning/loops/loaders.h>
#include <lightning/precision/detail/nonfinite_guard.h>
#include <lightning/run/detail/folder_lease.h>
#include <lightning/run/detail/metric_flow.h>
#include <lightning/run/detail/phases.h>
#include <lightning/run/detail/progress.h>
#include <lightning/run/detail/run_context.h>
#include <lightning/run/detail/stop_control.h>

namespace lightning {

class Optimization;

/// What became of the batches of this session on this rank.
struct BatchCounts {
  int64_t trained = 0;
  int64_t skipped = 0;    // by StepOutput::skip()
  int64_t undefined = 0;  // left out because training_step() gave an undefined tensor
  int64_t all() const { return trained + skipped + undefined; }
};

/// TrainerContext::skip_rest_of_epoch().
enum class EpochSkip { kImpossible, kPossible, kRequested };

struct RunState {
  explicit RunState(const RunContext& run_context) : context(run_context) {}

  const RunContext& context;
  Progress progress;
  SessionClock clock;
  MetricFlow metrics;
  Phases phases;
  Loaders loaders;
  StopControl stop;
  NonFiniteGuard nonfinite;
  /// Whether a validation comes after the hooks of the current batch; empty outside of the batches
  /// of a fit.
  std::function<bool()> validation_follows;
  bool epoch_completed = false;  // the one whose end hooks run; a limit cuts others short
  EpochSkip epoch_skip = EpochSkip::kImpossible;  // possible in on_train_batch_start()
  BatchCounts batches;
  Optimization* optimization = nullptr;  // during the epochs of a fit
  bool said_nothing_trained = false;     // a warning of this fit
  bool metrics_checked = false;          // what callbacks and schedules require was logged
  /// Of LR schedules that judge a metric after steps: TrainerContext::metric_step() of the value
  /// that was judged last.
  std::map<const optim::LRScheduler*, int64_t> judged_steps;
  std::string end_reason;  // why the fit ended, set where that is decided
  /// After max_epochs comes one more epoch, without backward and steps, which renews BatchNorm's
  /// statistics.
  bool renews_statistics = false;
  RunLeases leases;  // of what the run writes into; rank 0 has them

  /// A warning that is said once in this fit, and again in the next.
  void warn(const std::string& text) const;

  /// Whether the present epoch trains; not the one that renews statistics.
  bool trains() const;
  double elapsed_seconds() const { return progress.elapsed_seconds + clock.seconds(); }
  /// Batches of the next window.
  int64_t accumulate_grad_batches() const {
    return progress.accumulate_grad_batches.value_or(context.options.user.accumulate_grad_batches);
  }
  /// Training batches per epoch after limit_train_batches; nothing when unknown.
  std::optional<int64_t> num_training_batches() const {
    return context.options.user.limit_train_batches.resolve(loaders.train_loader().num_batches(),
                                                            "limit_train_batches");
  }
  /// Optimizer steps in an epoch; nothing for a stream of unknown length.
  std::optional<int64_t> steps_per_epoch() const;
  /// global_step when the fit has reached its limits; nothing without limits, or when unknown.
  std::optional<int64_t> planned_steps() const;
};

}  // namespace lightning
