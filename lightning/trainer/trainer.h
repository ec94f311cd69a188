/// Trainer: runs a LightningModule. Options are Lightning's; what a run writes lies in one folder;
/// an interrupted run resumes exactly where it stopped.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <lightning/callbacks/callback.h>
#include <lightning/core/lightning_data_module.h>
#include <lightning/core/lightning_module.h>
#include <lightning/core/trainer_context.h>
#include <lightning/loggers/logger.h>
#include <lightning/profilers/profiler.h>
#include <lightning/run/options.h>
#include <lightning/run/prediction_sink.h>
#include <lightning/run/resolved_options.h>
#include <lightning/util/export.h>

namespace lightning {

class Precision;
class Strategy;
struct StrategyContext;

using Callbacks = std::vector<std::shared_ptr<Callback>>;
using Loggers = std::vector<std::shared_ptr<Logger>>;

/// What a program may give to a Trainer beside its options. What is left out is the default.
struct TrainerParts {
  Callbacks callbacks = {};
  /// None: a CSVLogger and a TensorBoardLogger in the run's folder; an empty list logs nothing.
  std::optional<Loggers> loggers = std::nullopt;
  /// Measures the run, on every rank; null: nothing is measured.
  std::shared_ptr<Profiler> profiler = nullptr;
  /// Go before the options of the same names; null: those decide. What these make is used for one
  /// run; each of them runs on every rank.
  std::function<std::shared_ptr<Strategy>(const StrategyContext&)> strategy = nullptr;
  std::function<std::shared_ptr<Precision>(at::Device)> precision = nullptr;
  std::shared_ptr<const ClusterEnvironment> cluster = nullptr;
  /// What configure_optimizers() gives for modules that don't override it: the keys `optimizer` and
  /// `lr_scheduler` of a config. From C++: {"AdamW"}, or
  /// config::SpecOf<optim::optimizer_registry>::of("AdamW", optim::AdamWArguments{.lr = 1e-4}).
  OptimizerSpecs optimizers = {};
};

/// Arguments of fit(), validate(), test() and predict().
struct RunArguments {
  /// A checkpoint directory, "last" or "best"; empty: none. fit() resumes from it exactly; the
  /// others take the weights.
  std::string ckpt_path = "";
};

/// Every rank makes the same calls. A run ends by returning, or with:
///   ConfigError, DataError, CheckpointError  what is wrong and what to do about it
///   Interrupted                              SIGINT, SIGTERM or SIGHUP in fit(); a checkpoint was
///                                            written
///   DistributedError                         a rank failed: on all others, with the same text
///   whatever a hook threw                    unchanged, after on_exception of the callbacks
class LIGHTNING_API Trainer final : public TrainerContext {
 public:
  /// Checks and resolves the options; throws ConfigError. Unless switched off by options, a
  /// ModelCheckpoint, a progress bar and a model summary are added to the callbacks.
  Trainer(TrainerOptions options, TrainerParts parts);
  explicit Trainer(TrainerOptions options = {}, Callbacks callbacks = {},
                   std::optional<Loggers> loggers = std::nullopt);
  ~Trainer() override;
  Trainer(const Trainer&) = delete;
  Trainer& operator=(const Trainer&) = delete;

  void fit(std::shared_ptr<LightningModule> module,
           std::shared_ptr<LightningDataModule> data_module, RunArguments arguments = {});
  /// Loaders that are left out are asked of the module.
  void fit(std::shared_ptr<LightningModule> module, DataLoaders train = {}, DataLoaders val = {},
           RunArguments arguments = {});

  /// Returns the metrics of each loader, and prints them.
  std::vector<MetricMap> validate(std::shared_ptr<LightningModule> module,
                                  std::shared_ptr<LightningDataModule> data_module,
                                  RunArguments arguments = {});
  std::vector<MetricMap> validate(std::shared_ptr<LightningModule> module, DataLoaders loaders = {},
                                  RunArguments arguments = {});
  std::vector<MetricMap> test(std::shared_ptr<LightningModule> module,
                              std::shared_ptr<LightningDataModule> data_module,
                              RunArguments arguments = {});
  std::vector<MetricMap> test(std::shared_ptr<LightningModule> module, DataLoaders loaders = {},
                              RunArguments arguments = {});

  /// Streams the outputs of predict_step() to `sink`, in order of the data.
  void predict(std::shared_ptr<LightningModule> module,
               std::shared_ptr<LightningDataModule> data_module, const PredictionSink& sink,
               RunArguments arguments = {});
  void predict(std::shared_ptr<LightningModule> module, DataLoaders loaders,
               const PredictionSink& sink, RunArguments arguments = {});

  /// The configuration to be saved with the run and in checkpoints, as YAML; the command that runs
  /// this program ("build/bin/sample_li"), for the line that shows how to resume. Without it, the
  /// options and the hyperparameters of module and data module are saved.
  void set_config(std::string yaml, std::string program);

  const ResolvedOptions& options() const;

  // ---- TrainerContext
  Stage stage() const override;
  bool sanity_checking() const override;
  bool validating() const override;
  int64_t global_step() const override;
  int64_t current_epoch() const override;
  int64_t batch_idx() const override;
  int64_t samples_seen() const override;
  std::optional<int64_t> num_training_batches() const override;
  std::optional<int64_t> num_evaluation_batches() const override;
  bool validates_once_per_epoch() const override;
  bool awaits_validation() const override;
  bool validation_follows() const override;
  bool epoch_completed() const override;
  std::optional<int64_t> max_epochs() const override;
  std::optional<int64_t> max_steps() const override;
  int64_t estimated_stepping_batches() override;
  int64_t global_rank() const override;
  int64_t local_rank() const override;
  int64_t node_rank() const override;
  int64_t world_size() const override;
  std::vector<std::string> all_gather_bytes(std::string_view name,
                                            std::string_view payload) override;
  std::vector<StateDict> all_gather(std::string_view name, const StateDict& state) override;
  at::Tensor all_gather(const at::Tensor& tensor, bool sync_grads = false) override;
  at::Device device() const override;
  LightningModule& lightning_module() override;
  std::vector<OptimizerConfig>& optimizers() override;
  LightningOptimizer& lightning_optimizer(size_t index) override;
  void manual_backward(const at::Tensor& loss, Sync sync) override;
  int64_t accumulate_grad_batches() const override;
  void set_accumulate_grad_batches(int64_t batches) override;
  void renew_statistics_at_end() override;
  const OptimizerSpecs& optimizer_specs() const override;
  const Callbacks& callbacks() const override;
  const Loggers& loggers() const override;
  const MetricMap& callback_metrics() override;
  std::optional<int64_t> metric_step(std::string_view name) const override;
  const MetricMap& progress_bar_metrics() override;
  const std::filesystem::path& run_dir() const override;
  const std::filesystem::path& default_root_dir() const override;
  using TrainerContext::save_checkpoint;
  void save_checkpoint(CheckpointRequest request) override;
  void request_stop(std::string reason) override;
  void skip_rest_of_epoch() override;
  bool should_stop() const override;
  void print(std::string_view line) override;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lightning
