/// RunState: what the loops of one run share. The Trainer owns it; each part is changed by one
/// loop.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include <lightning/loops/loaders.h>
#include <lightning/precision/detail/nonfinite_guard.h>
#include <lightning/run/detail/metric_flow.h>
#include <lightning/run/detail/phases.h>
#include <lightning/run/detail/progress.h>
#include <lightning/run/detail/run_context.h>
#include <lightning/run/detail/run_lease.h>
#include <lightning/run/detail/stop_control.h>

namespace lightning {

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
  std::optional<RunLease> lease;  // of the run folder, on rank 0 inside a SLURM job

  double elapsed_seconds() const { return progress.elapsed_seconds + clock.seconds(); }
  /// Training batches per epoch after limit_train_batches; nothing when unknown.
  std::optional<int64_t> num_training_batches() const {
    return context.options.user.limit_train_batches.resolve(loaders.train_loader().num_batches(),
                                                            "limit_train_batches");
  }
};

}  // namespace lightning
