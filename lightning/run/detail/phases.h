/// Phases: reports where a run is to its observers: the control plane (messages about a late
/// or failed rank), a dry run (what each part sends), log() (its defaults), the profiler (how long
/// it takes).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string_view>
#include <typeindex>
#include <typeinfo>
#include <utility>

#include <lightning/control/control_plane.h>
#include <lightning/core/metric_log.h>
#include <lightning/profilers/profiler.h>
#include <lightning/run/detail/dry_run.h>
#include <lightning/run/detail/progress.h>
#include <lightning/util/export.h>

namespace lightning {

/// A constant; `name` is a literal.
struct Phase {
  const char* name;            // the hook or step, as messages and profilers call it
  std::string_view part = {};  // of a dry run; empty: the phase belongs to the current part
  bool may_take_long = false;  // one rank may take longer in it than collective_timeout
};

inline constexpr Phase kPrepareData = {.name = "prepare_data", .may_take_long = true};
inline constexpr Phase kSetup = {.name = "setup", .may_take_long = true};
inline constexpr Phase kTrainStart = {.name = "on_train_start", .may_take_long = true};
// Until the first batch is there.
inline constexpr Phase kFirstEpochStart = {.name = "on_train_epoch_start", .may_take_long = true};
inline constexpr Phase kTrainEpochStart = {.name = "on_train_epoch_start"};
inline constexpr Phase kTrainBatch = {.name = "run_training_batch", .part = DryRun::kStep};
inline constexpr Phase kTrainBatchStart = {.name = "on_train_batch_start"};
inline constexpr Phase kTrainingStep = {.name = "training_step"};
inline constexpr Phase kBackward = {.name = "backward"};
inline constexpr Phase kTrainBatchEnd = {.name = "on_train_batch_end"};
inline constexpr Phase kStepMetrics = {.name = "log_step_metrics", .part = DryRun::kStepMetrics};
inline constexpr Phase kTrainEpochEnd = {.name = "on_train_epoch_end", .part = DryRun::kEpochEnd};
inline constexpr Phase kTrainEnd = {.name = "on_train_end"};
inline constexpr Phase kCheckpoint = {.name = "checkpoint", .may_take_long = true};
inline constexpr Phase kValidationStart = {.name = "on_validation_start",
                                           .part = DryRun::kValidation};
inline constexpr Phase kValidationEpochStart = {.name = "on_validation_epoch_start"};
inline constexpr Phase kValidationBatchStart = {.name = "on_validation_batch_start"};
inline constexpr Phase kValidationStep = {.name = "validation_step"};
inline constexpr Phase kValidationBatchEnd = {.name = "on_validation_batch_end"};
inline constexpr Phase kValidationEpochEnd = {.name = "on_validation_epoch_end"};
inline constexpr Phase kValidationEnd = {.name = "on_validation_end"};
inline constexpr Phase kTestStart = {.name = "on_test_start"};
inline constexpr Phase kTestEpochStart = {.name = "on_test_epoch_start"};
inline constexpr Phase kTestBatchStart = {.name = "on_test_batch_start"};
inline constexpr Phase kTestStep = {.name = "test_step"};
inline constexpr Phase kTestBatchEnd = {.name = "on_test_batch_end"};
inline constexpr Phase kTestEpochEnd = {.name = "on_test_epoch_end"};
inline constexpr Phase kTestEnd = {.name = "on_test_end"};
inline constexpr Phase kPredictStart = {.name = "on_predict_start"};
inline constexpr Phase kPredictStep = {.name = "predict_step"};
inline constexpr Phase kFitEnd = {
    .name = "on_fit_end", .part = DryRun::kFitEnd, .may_take_long = true};
inline constexpr Phase kTeardown = {.name = "teardown"};

class LIGHTNING_API Phases {
 public:
  /// Each may be null, else it must outlive this.
  void report_to(ControlPlane* control, Profiler* profiler) {
    control_ = control;
    profiler_ = profiler;
  }

  /// What is said here holds until the next enter(). The profiler's action of that name ends with
  /// what is returned.
  [[nodiscard]] Profiled enter(const Phase& phase, const Progress& progress);
  /// `scope` is that of `log`; without a name it gets the phase's, without a step the progress's.
  [[nodiscard]] Profiled enter(const Phase& phase, const Progress& progress, MetricLog& log,
                               MetricLog::Scope scope);

  /// The action of one hook of `owner`: "[Callback]EarlyStopping.on_train_end". `kind` and `hook`
  /// must be literals. Without a profiler: one comparison.
  template <typename Owner>
  [[nodiscard]] Profiled hook(const char* kind, const Owner& owner, const char* hook) {
    if (profiler_ == nullptr) return Profiled(nullptr, 0);
    return Profiled(profiler_, hook_action(kind, typeid(owner), hook));
  }

  std::optional<DryRun> dry_run;  // in one only

 private:
  int32_t hook_action(const char* kind, const std::type_info& owner, const char* hook);

  ControlPlane* control_ = nullptr;
  Profiler* profiler_ = nullptr;
  // Numbers are requested once. Phases have no owner: void.
  std::map<std::pair<const char*, std::type_index>, int32_t> actions_;
};

}  // namespace lightning
