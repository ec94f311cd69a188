/// RunState: what the loops of one run share. The Trainer owns it; each part is changed by one
/// loop.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <lightning/callbacks/callback.h>
#include <lightning/checkpoint/detail/checkpoint_writer.h>
#include <lightning/core/lightning_data_module.h>
#include <lightning/core/lightning_module.h>
#include <lightning/distributed/world.h>
#include <lightning/loggers/logger.h>
#include <lightning/precision/detail/nonfinite_guard.h>
#include <lightning/precision/precision.h>
#include <lightning/run/detail/dry_run.h>
#include <lightning/run/detail/host_metrics.h>
#include <lightning/run/detail/logger_connector.h>
#include <lightning/run/detail/metric_sync.h>
#include <lightning/run/detail/run_lease.h>
#include <lightning/run/detail/stop_control.h>
#include <lightning/run/resolved_options.h>
#include <lightning/strategies/strategy.h>

namespace lightning {

/// A point between two hooks at which a checkpoint may be written, and from which a run goes on.
enum class SafePoint : int64_t {
  kBatchEnd,       // hooks and log row of the batch are done; a validation may be due
  kValidationEnd,  // that validation is done
  kEpochEnd,       // the epoch is counted; the next one begins
};

/// Counters of completed units. Saved and restored.
struct Progress {
  int64_t epoch = 0;
  int64_t batch_idx = 0;  // completed batches of the epoch under way
  int64_t total_batches = 0;
  int64_t global_step = 0;  // optimizer steps
  int64_t samples_seen = 0;
  double elapsed_seconds = 0.0;  // of earlier sessions of this run
  /// Batches of each validation loader in all validations: where the rows of their steps stand.
  std::vector<int64_t> validation_batches;
  SafePoint position = SafePoint::kEpochEnd;
};

struct SaveRequest {
  std::filesystem::path path;
  bool weights_only = false;
  std::function<void()> committed;
};

struct RunState {
  TrainerContext& context;
  ResolvedOptions options;
  Stage stage = Stage::kFit;
  bool sanity_checking = false;
  bool validating = false;

  std::shared_ptr<LightningModule> module;
  std::shared_ptr<LightningDataModule> data_module;  // may be null
  std::shared_ptr<World> world;                      // null with one rank
  std::unique_ptr<Strategy> strategy;
  std::unique_ptr<Precision> precision;
  std::vector<std::shared_ptr<Callback>> callbacks;
  std::vector<std::shared_ptr<Logger>> loggers;
  std::vector<OptimizerConfig> optimizers;

  DataLoaders train_loaders;
  DataLoaders val_loaders;
  DataLoaders eval_loaders;  // of validate(), test() and predict()
  bool val_loaders_ready = false;
  bool train_loaders_ready = false;
  bool validated = false;  // a validation was completed

  MetricLog train_metrics;
  MetricLog eval_metrics;
  HostMetrics host_metrics;
  LoggerConnector logger_connector;
  std::optional<MetricSync> metric_sync;  // with several ranks
  std::optional<DryRun> dry_run;          // only in one
  NonFiniteGuard nonfinite;

  Progress progress;
  bool restored = false;  // from a checkpoint, before the first batch of this session
  std::chrono::steady_clock::time_point started = std::chrono::steady_clock::now();
  // For the speed at the end: the first steps of a session warm up and don't count.
  int64_t first_step = 0;
  int64_t timed_steps = 0;
  double training_seconds = 0.0;
  int64_t eval_batch_idx = 0;
  std::optional<int64_t> num_eval_batches;

  StopControl stop;
  bool in_fit_loops = false;

  std::vector<SaveRequest> save_requests;
  std::unique_ptr<CheckpointWriter> writer;
  std::filesystem::path run_dir;
  std::optional<RunLease> lease;  // of run_dir, on rank 0 inside a SLURM job
  std::string config;             // resolved config as YAML
  /// Loggers' positions to be saved instead of the present ones: rows after them are written again
  /// by the run that resumes (FitLoop::end_epoch, EvaluationLoop::run_validation).
  std::optional<StateDict> logger_positions;

  explicit RunState(TrainerContext& trainer_context) : context(trainer_context) {}

  int pending_signal() const { return stop.signal(); }
  int64_t world_size() const { return strategy->world_size(); }
  bool is_global_zero() const { return strategy->global_rank() == 0; }
  /// Rank 0's text, on every rank. Every rank must call it.
  std::string from_rank_zero(std::string_view name, const std::string& text) const {
    return world == nullptr ? text : world->control().broadcast(name, text);
  }
  /// Where this rank is, for messages about it. `phase` must be a literal; in a long phase
  /// (prepare_data, setup, checkpoints) the others wait without an end. Nothing with one rank.
  void set_status(const char* phase, bool long_phase = false) const {
    if (world == nullptr) return;
    world->control().set_status(
        {.global_step = progress.global_step, .phase = phase, .long_phase = long_phase});
  }
  /// Throws DistributedError when a rank has failed: what collectives have given since may be
  /// garbage (a GPU's queue runs on after an abort), so nothing is made of it. One load.
  void throw_if_failed() const {
    if (world != nullptr) world->control().throw_if_failed();
  }
  /// What is sent from here on is that part's, in the report of a dry run.
  void enter_section(std::string_view part) {
    if (dry_run) dry_run->enter(part, progress.global_step);
  }
  /// The part of the data that this rank loads in training, or in evaluations.
  DataShard shard(UnevenInputs uneven) const {
    if (!options.user.use_distributed_sampler) return {};
    return {strategy->global_rank(), strategy->world_size(), uneven};
  }
  /// Values logged for `level` become those of all ranks, where they are to be. Every rank must
  /// call it.
  void reduce_metrics(MetricLog& log, MetricLog::Level level, std::string_view interval) {
    if (metric_sync) metric_sync->reduce(log, level, interval);
  }
  double elapsed_seconds() const {
    const std::chrono::duration<double> session = std::chrono::steady_clock::now() - started;
    return progress.elapsed_seconds + session.count();
  }
  /// The training loader; fit() has exactly one.
  DataLoader& train_loader() const { return train_loaders[0]; }
  /// Training batches per epoch after limit_train_batches; nothing when unknown.
  std::optional<int64_t> num_training_batches() const {
    return options.user.limit_train_batches.resolve(train_loaders[0].num_batches(),
                                                    "limit_train_batches");
  }
};

/// Calls one hook of every callback, in order.
template <typename... Params, typename... Args>
void call_callbacks(RunState& run,
                    void (Callback::*hook)(TrainerContext&, LightningModule&, Params...),
                    Args&&... args) {
  for (const auto& callback : run.callbacks) {
    ((*callback).*hook)(run.context, *run.module, args...);
  }
}

}  // namespace lightning
