/// Trainer::Impl: one run from its options to its end. The loops do the steps; this brings their
/// parts together, in Lightning's order.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <lightning/loops/callback_states.h>
#include <lightning/loops/checkpoint_connector.h>
#include <lightning/loops/evaluation_loop.h>
#include <lightning/loops/optimization.h>
#include <lightning/loops/run_state.h>
#include <lightning/run/detail/slurm_connector.h>
#include <lightning/trainer/trainer.h>

namespace lightning {

/// All of one run: what it works with, its state, and the loops whose own state others ask for.
struct Session {
  explicit Session(RunContext run_context)
      : context(std::move(run_context)), state(context), evaluation(state), checkpoints(state) {}
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  RunContext context;
  RunState state;
  EvaluationLoop evaluation;
  CheckpointConnector checkpoints;
};

class Trainer::Impl {
 public:
  /// Resolves the options and adds what they ask for (progress bar, summary, checkpoints, loggers).
  Impl(Trainer& trainer, TrainerOptions options, TrainerParts parts);

  /// The current run or the last one. Throws ConfigError before the first.
  Session& session();
  const ResolvedOptions& options() const { return options_; }
  /// Notes that they were asked for: see check_specs_are_used().
  const OptimizerSpecs& optimizer_specs() {
    specs_asked_for_ = true;
    return parts_.optimizers;
  }

  void fit(std::shared_ptr<LightningModule> module, std::shared_ptr<LightningDataModule> data,
           DataLoaders train, DataLoaders val, const RunArguments& arguments);
  void evaluate(Stage stage, std::shared_ptr<LightningModule> module,
                std::shared_ptr<LightningDataModule> data, DataLoaders loaders,
                const RunArguments& arguments, const std::function<void()>& pass);
  std::vector<MetricMap> measure(Stage stage, std::shared_ptr<LightningModule> module,
                                 std::shared_ptr<LightningDataModule> data, DataLoaders loaders,
                                 const RunArguments& arguments);
  void predict(std::shared_ptr<LightningModule> module, std::shared_ptr<LightningDataModule> data,
               DataLoaders loaders, const PredictionSink& sink, const RunArguments& arguments);

  /// Folder of the run; made when first requested.
  const std::filesystem::path& run_dir();
  void save_checkpoint(CheckpointRequest request);
  int64_t estimated_stepping_batches();
  /// Throws ConfigError that names `call` outside of fit's epochs.
  Optimization& optimization(std::string_view call);
  void set_accumulate_grad_batches(int64_t batches);
  void renew_statistics_at_end();
  void skip_rest_of_epoch();

  void set_config(std::string yaml, std::string program);

 private:
  /// Whether a run leaves anything on the disk.
  bool writes_files() const;
  /// Joins the ranks of this program, not those of a dry run. Every rank must call it.
  std::shared_ptr<World> join_real_ranks() const;
  /// With several ranks: joins them, and gives the run what reduces over them.
  void join_ranks(Session& run);
  std::shared_ptr<Strategy> make_strategy(const StrategyContext& context) const;
  std::shared_ptr<Precision> make_precision() const;
  void begin_run(Stage stage, std::shared_ptr<LightningModule> module,
                 std::shared_ptr<LightningDataModule> data);
  /// log() does nothing from here on.
  void begin_barebones();
  std::optional<std::filesystem::path> resolve_checkpoint(const std::string& ckpt_path);
  std::string make_config() const;
  void add_module_callbacks();
  void setup_data_and_module();
  void prepare_data();
  void setup_strategy();
  void setup_optimizers();
  /// Throws ConfigError when an optimizer or a schedule is named that configure_optimizers(), which
  /// has run, didn't ask for.
  void check_specs_are_used() const;
  void open_loggers(bool resuming);
  void run_fit(const SlurmConnector& slurm, const RunArguments& arguments);
  /// Everything that a fit needs before its loops, with the state of `checkpoint` when given.
  void prepare_fit(const SlurmConnector& slurm,
                   const std::optional<std::filesystem::path>& checkpoint);
  /// What is restored after on_fit_start(), which may change the optimizers.
  void prepare_optimizers(const std::optional<std::filesystem::path>& checkpoint);
  void check_optimizers();
  void use_effective_config(bool rewrite);
  /// Makes the run folder this run's alone on rank 0 and, in a fit (`slurm` is given), the folders
  /// that checkpoints go to. Throws ConfigError when a different run writes there.
  void lease_folders(const SlurmConnector* slurm);
  /// From here on a fit changes files of its run folder. That of a run that resumes is left as it
  /// was until no rank can refuse any more. Every rank must call it.
  void begin_writing(const SlurmConnector& slurm);
  void continue_in_run_folder(const SlurmConnector& slurm);
  void end_fit(const SlurmConnector& slurm);
  /// Writes the checkpoint from which a stopped run resumes, and throws Interrupted.
  [[noreturn]] void finish_interrupted(const SlurmConnector& slurm, int signal);
  std::filesystem::path write_last_checkpoint(const SlurmConnector& slurm);
  void open_log_file();
  void finish(std::string_view status);
  void handle_exception(const std::exception* exception);
  /// Runs `body`; on an exception, notifies the other ranks, cleans up and rethrows.
  void guarded(const std::function<void()>& body);

  Trainer& trainer_;
  ResolvedOptions options_;
  TrainerParts parts_;  // except for callbacks, loggers and profiler, which are below
  Callbacks callbacks_;
  Loggers loggers_;
  std::shared_ptr<Profiler> profiler_;       // may be null
  std::vector<StateDict> logger_positions_;  // after the run before, in the same folder
  std::filesystem::path run_dir_;
  bool has_run_files_ = false;         // config.yaml and environment.json are in run_dir_
  std::filesystem::path config_file_;  // of the current fit
  std::unique_ptr<Session> session_;
  InitialStates initial_states_;  // of callbacks
  bool fitted_ = false;
  bool specs_asked_for_ = false;  // by configure_optimizers() of the current fit
  std::string config_;            // as YAML; empty: made from the options
  std::string program_;           // the command that runs it
};

}  // namespace lightning
