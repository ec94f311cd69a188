/// TrainerContext: what modules, data modules and callbacks see of the Trainer that runs them,
/// and what they may request of it. It stands below the Trainer, so that none of them depends on
/// the loops.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include <lightning/util/export.h>
#include <lightning/util/state_dict.h>

namespace lightning {

class Callback;
class LightningModule;
class LightningOptimizer;
class Logger;
struct OptimizerConfig;
struct OptimizerSpecs;

enum class Sync;
enum class Stage { kFit, kValidate, kTest, kPredict };
LIGHTNING_API std::string_view to_string(Stage stage);

/// Values on the host, by name.
using MetricMap = std::map<std::string, double, std::less<>>;

/// What TrainerContext::save_checkpoint() is asked for.
struct CheckpointRequest {
  std::filesystem::path path;
  bool weights_only = false;
  /// Goes into the manifest: the one that wrote a checkpoint knows it by this, whatever its name.
  std::string id = {};
  /// Runs on rank 0 when the checkpoint is complete on the disk; with async_checkpointing in the
  /// writer's thread.
  std::function<void()> committed = {};
  /// Runs, in the training's thread, when it was not written: on all ranks when the state isn't
  /// finite, on the rank that threw for an error.
  std::function<void()> failed = {};
};

class LIGHTNING_API TrainerContext {
 public:
  virtual ~TrainerContext();

  // ---- where the run is
  virtual Stage stage() const = 0;
  /// In the sanity check before training.
  virtual bool sanity_checking() const = 0;
  /// In a validation pass (of fit or of validate()).
  virtual bool validating() const = 0;
  /// Completed optimizer steps.
  virtual int64_t global_step() const = 0;
  /// Completed epochs: the index of the current epoch.
  virtual int64_t current_epoch() const = 0;
  /// Index of the current batch in its loader.
  virtual int64_t batch_idx() const = 0;
  /// Samples (as given by Batch::batch_size) trained on so far by this rank.
  virtual int64_t samples_seen() const = 0;
  /// Training batches per epoch after limit_train_batches; nothing for a stream of unknown length.
  virtual std::optional<int64_t> num_training_batches() const = 0;
  /// Batches in the current pass of `stage`, over all its loaders; nothing when unknown.
  virtual std::optional<int64_t> num_evaluation_batches() const = 0;
  /// Whether fit validates exactly once in each epoch, after its last batch (or never): callbacks
  /// that watch a metric then act at the epoch's end, else after each validation.
  virtual bool validates_once_per_epoch() const = 0;
  /// Whether this fit has validation data and hasn't come to its first validation yet: metrics from
  /// there can't be known.
  virtual bool awaits_validation() const = 0;
  /// In the hooks of a training batch: whether a validation comes right after them.
  virtual bool validation_follows() const = 0;
  /// In on_train_epoch_end(): whether the epoch came to its end, by skip_rest_of_epoch() too. False
  /// when a limit or request_stop() cut it short: a resumed run continues in its middle, with what
  /// was before this hook.
  virtual bool epoch_completed() const = 0;
  virtual std::optional<int64_t> max_epochs() const = 0;
  virtual std::optional<int64_t> max_steps() const = 0;
  /// Optimizer steps of the whole fit, for schedules. Throws ConfigError when max_steps and the
  /// length of the data or max_epochs are unknown.
  virtual int64_t estimated_stepping_batches() = 0;

  // ---- ranks
  virtual int64_t global_rank() const = 0;
  virtual int64_t local_rank() const = 0;
  virtual int64_t node_rank() const = 0;
  virtual int64_t world_size() const = 0;
  bool is_global_zero() const { return global_rank() == 0; }
  /// What each rank gives, by rank: texts or other bytes of any length, over the control plane.
  /// With one rank its own alone. Every rank must call it with the same name, and waits for the
  /// others; throws DistributedError when one fails.
  virtual std::vector<std::string> all_gather_bytes(std::string_view name,
                                                    std::string_view payload) = 0;
  /// The same with states (see World::all_gather()). Sync: tensors are copied to the host, unless
  /// there is one rank.
  virtual std::vector<StateDict> all_gather(std::string_view name, const StateDict& state) = 0;
  /// [world_size, ...] from a tensor [...] of each rank, by rank; with one rank [1, ...]. Every
  /// rank must call it, with equal shapes and types, in the same order as its other collectives. No
  /// gradient flows through it unless `sync_grads`: then that of this rank's tensor is the sum of
  /// those of all ranks, and every rank must run the backward, too. Tensors are on the run's device
  /// or the CPU. Sync: on a GPU none. Throws DistributedError when a rank fails.
  virtual at::Tensor all_gather(const at::Tensor& tensor, bool sync_grads = false) = 0;
  virtual at::Device device() const = 0;

  // ---- parts
  virtual LightningModule& lightning_module() = 0;
  virtual std::vector<OptimizerConfig>& optimizers() = 0;
  /// Of manual optimization: LightningModule::optimizer() and manual_backward(). Throws ConfigError
  /// outside of fit's epochs and for an index beyond the end.
  virtual LightningOptimizer& lightning_optimizer(size_t index) = 0;
  virtual void manual_backward(const at::Tensor& loss, Sync sync) = 0;
  /// Batches of an optimizer step; with manual optimization 1.
  virtual int64_t accumulate_grad_batches() const = 0;
  /// Takes effect with the next window and holds for the rest of the run: checkpoints keep it.
  /// Throws ConfigError below 1 and with manual optimization. Every rank must call it.
  virtual void set_accumulate_grad_batches(int64_t batches) = 0;
  /// For callbacks that change the weights when max_epochs are over, in on_fit_start(): if the
  /// module has BatchNorm layers, one more epoch follows. It runs training_step() in training mode
  /// without backward, optimizer steps and schedules, and from its start on the running statistics
  /// are the means over its batches. It has all hooks of an epoch but those of optimization, and
  /// current_epoch() is max_epochs in it. Nothing without max_epochs, or when the fit ends before.
  /// Throws ConfigError with manual optimization. Every rank must call it.
  virtual void renew_statistics_at_end() = 0;
  /// What the base body of configure_optimizers() builds.
  virtual const OptimizerSpecs& optimizer_specs() const = 0;
  virtual const std::vector<std::shared_ptr<Callback>>& callbacks() const = 0;
  virtual const std::vector<std::shared_ptr<Logger>>& loggers() const = 0;

  // ---- metrics
  /// The latest values of everything logged. Sync: waits for the device.
  virtual const MetricMap& callback_metrics() = 0;
  /// The global step to which a value of callback_metrics() belongs: that of the step or validation
  /// it was logged in, at the end of an epoch that of the epoch's end. Nothing for other names.
  virtual std::optional<int64_t> metric_step(std::string_view name) const = 0;
  /// The latest values logged with prog_bar that have arrived on the host. No sync.
  virtual const MetricMap& progress_bar_metrics() = 0;

  // ---- files
  /// Folder of this run (resolved config, logs, checkpoints); the same on every rank.
  virtual const std::filesystem::path& run_dir() const = 0;
  virtual const std::filesystem::path& default_root_dir() const = 0;
  /// Writes a checkpoint directory. Inside fit it is written at the next safe point: after the
  /// hooks and the log row of the current batch, validation or epoch, so that a run resumes from
  /// it exactly there; else at once. Every rank must call it. Errors (CheckpointError;
  /// DataError for a non-finite state, which is never committed) are thrown from the safe point.
  virtual void save_checkpoint(CheckpointRequest request) = 0;
  void save_checkpoint(const std::filesystem::path& path, bool weights_only = false,
                       std::function<void()> committed = {}) {
    CheckpointRequest request;
    request.path = path;
    request.weights_only = weights_only;
    request.committed = std::move(committed);
    save_checkpoint(std::move(request));
  }

  // ---- control
  /// Ends the fit after the present step (and validation), for this reason. A request of one rank
  /// stops all ranks at the same boundary. Before min_epochs and min_steps are over it is dropped
  /// with a line in the log, as Lightning does: who still wants to stop then asks again.
  virtual void request_stop(std::string reason) = 0;
  virtual bool should_stop() const = 0;
  /// In on_train_batch_start() alone, of a callback or the module: ends the epoch before this
  /// batch, which isn't trained on (Lightning: the hook returns -1). The other hooks of
  /// on_train_batch_start() still run, then those of the epoch's end; the epoch counts as
  /// completed, and no validation of its end runs. Gradients of a window that the batch would have
  /// continued are dropped. Every rank must call it for the same batch. Throws ConfigError
  /// elsewhere.
  virtual void skip_rest_of_epoch() = 0;
  /// Prints a line on rank 0 without tearing the progress bar.
  virtual void print(std::string_view line) = 0;
};

}  // namespace lightning
