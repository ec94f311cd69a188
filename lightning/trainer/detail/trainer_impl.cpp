#include <lightning/trainer/detail/trainer_impl.h>

#include <algorithm>
#include <csignal>
#include <exception>
#include <limits>
#include <utility>

#include <lightning/callbacks/gradient_accumulation_scheduler.h>
#include <lightning/callbacks/prediction_writer.h>
#include <lightning/checkpoint/detail/names.h>
#include <lightning/launch/peer_failure.h>
#include <lightning/loops/callback_states.h>
#include <lightning/loops/fit_loop.h>
#include <lightning/loops/hooks.h>
#include <lightning/loops/prediction_loop.h>
#include <lightning/precision/precision.h>
#include <lightning/run/detail/run_folder.h>
#include <lightning/run/detail/torch_flags.h>
#include <lightning/trainer/detail/dry_run_report.h>
#include <lightning/trainer/detail/report.h>
#include <lightning/util/detail/disk.h>
#include <lightning/util/detail/generator_state.h>
#include <lightning/util/detail/terminal.h>
#include <lightning/util/error.h>
#include <lightning/util/file_system.h>
#include <lightning/util/format.h>
#include <lightning/util/interrupted.h>
#include <lightning/util/log.h>

namespace lightning {
namespace {

namespace fs = std::filesystem;

/// While it lives, a process that must be ended because its main thread is blocked writes the rows
/// of its loggers and the reason to its log first.
class FlushOnAbort {
 public:
  explicit FlushOnAbort(const RunContext& run) : world_(run.world) {
    if (world_ == nullptr) return;
    world_->control().set_abort_handler([&run] {
      log_to_file(run.world->control().failure().text, LogLevel::kError);
      for (const auto& logger : run.loggers) logger->flush();
    });
  }
  ~FlushOnAbort() {
    if (world_ != nullptr) world_->control().set_abort_handler({});
  }
  FlushOnAbort(const FlushOnAbort&) = delete;
  FlushOnAbort& operator=(const FlushOnAbort&) = delete;

 private:
  std::shared_ptr<World> world_;
};

/// Ranks that all load the whole data would write each sample as often. Alike on every rank.
void check_prediction_writers(const RunContext& run) {
  if (run.world_size() == 1 || run.options.user.use_distributed_sampler) return;
  for (const auto& callback : run.callbacks) {
    const auto* writer = dynamic_cast<const PredictionWriter*>(callback.get());
    LIGHTNING_CHECK(writer == nullptr || !writer->writes_epochs(), ConfigError,
                    "PredictionWriter: write_interval writes the predictions of an epoch, and "
                    "use_distributed_sampler is false with ",
                    run.world_size(),
                    " ranks, expected ranks with different parts of the data. HINT: set "
                    "use_distributed_sampler to true or write_interval to batch.");
  }
}

/// Steps of a dry run without max_steps: the first has more to do, the others are alike.
constexpr int64_t kDryRunSteps = 3;

}  // namespace

bool Trainer::Impl::writes_files() const {
  return options_.user.fast_dev_run.batches() == 0 && !options_.user.dry_run;
}

Session& Trainer::Impl::session() {
  LIGHTNING_CHECK(session_ != nullptr, ConfigError,
                  "Trainer: no run has started. HINT: call fit(), validate(), test() or predict() "
                  "first.");
  return *session_;
}

const fs::path& Trainer::Impl::run_dir() {
  // In a dry run it is not made.
  if (options_.user.dry_run) run_dir_ = options_.user.default_root_dir / "dry_run";
  if (run_dir_.empty()) {
    const bool makes_it = session_ == nullptr || session_->context.is_global_zero();
    if (makes_it) run_dir_ = make_run_dir(options_.user.default_root_dir);
    if (session_ != nullptr)
      run_dir_ = session_->context.from_rank_zero("run folder", run_dir_.string());
  }
  if (session_ == nullptr) return run_dir_;
  session_->context.run_dir = run_dir_;
  if (options_.user.dry_run) return run_dir_;
  if (!std::exchange(has_run_files_, true) && session_->context.is_global_zero()) {
    write_run_files(run_dir_, session_->context.config, options_);
  }
  return run_dir_;
}

void Trainer::Impl::fit(std::shared_ptr<LightningModule> module,
                        std::shared_ptr<LightningDataModule> data, DataLoaders train,
                        DataLoaders val, const RunArguments& arguments) {
  // Messages wait for the log file of this run: it may be refused, and change none.
  if (writes_files()) detail::set_run_log_file({});
  // A second fit() is a separate run.
  if (std::exchange(fitted_, true)) {
    run_dir_.clear();
    logger_positions_.assign(loggers_.size(), {});
  }
  // A dry run inside a job is no part of it.
  const SlurmConnector slurm(
      options_.user.slurm,
      options_.user.dry_run ? std::nullopt : SlurmJob::from_environment(current_environment()));
  // Before anything that takes time: signals that arrive during it are acted on, too.
  SignalHandler signals(slurm.requeue_signal());
  begin_run(Stage::kFit, std::move(module), std::move(data));
  const CudnnBenchmark benchmark(options_.user);
  Loaders& loaders = session_->state.loaders;
  loaders.train_given = !train.empty();
  loaders.validation_given = !val.empty();
  loaders.train = std::move(train);
  loaders.validation = std::move(val);
  session_->state.stop.watch(&signals);
  try {
    guarded([&] { run_fit(slurm, arguments); });
  } catch (const Interrupted& stopped) {
    const RunState& run = session_->state;
    if (slurm.in_job() && stopped.signal() == slurm.requeue_signal()) {
      const int64_t steps_done = run.progress.global_step - run.clock.first_step;
      slurm.requeue(run.context, steps_done, signals, stopped);
    }
    if (stopped.signal() == SIGTERM) slurm.wait_for_preemption(run.context, signals);
    throw;
  }
}

void Trainer::Impl::run_fit(const SlurmConnector& slurm, const RunArguments& arguments) {
  Session& run = *session_;
  run.checkpoints.begin_fit();
  std::optional<fs::path> checkpoint = slurm.find_checkpoint(run.context);
  if (!checkpoint) checkpoint = resolve_checkpoint(arguments.ckpt_path);
  // A run continues in its own folder; from a checkpoint that lies elsewhere it begins a new one.
  const std::optional<fs::path> old_run = checkpoint ? run_dir_of(*checkpoint) : std::nullopt;
  if (old_run) run_dir_ = *old_run;
  has_run_files_ = old_run.has_value();
  if (writes_files()) {
    config_file_ = run_dir() / detail::kConfigFile;
  }
  slurm.begin(run.context, run.state.stop);
  if (!old_run && writes_files()) begin_writing(slurm);
  prepare_fit(slurm, checkpoint);
  open_loggers(/*resuming=*/old_run.has_value());
  call_hooks(run.state, hooks::on_fit_start);
  prepare_optimizers(checkpoint);
  if (checkpoint) use_effective_config(/*rewrite=*/!old_run);
  const Progress before = run.state.progress;
  if (options_.user.dry_run && options_.max_steps == -1) {
    // Only the loop's limit: schedules see the run that was configured.
    run.context.options.max_steps = before.global_step + kDryRunSteps;
  }
  print_run_header(run.state, checkpoint);
  if (!old_run) log_hyperparameters(run.state);

  FitLoop loop(run.state, run.evaluation, run.checkpoints);
  loop.prepare();
  if (old_run && writes_files()) continue_in_run_folder(slurm);
  {
    const AnomalyDetection anomalies(options_.user);
    loop.run();
  }
  end_fit(slurm);
  print_run_end(run.state);
  if (run.state.phases.dry_run) print_dry_run(run.state, before);
  finish("success");
}

void Trainer::Impl::begin_writing(const SlurmConnector& slurm) {
  Session& run = *session_;
  run.state.leases.set_job(slurm.lease(run.context));
  open_log_file();
}

void Trainer::Impl::continue_in_run_folder(const SlurmConnector& slurm) {
  Session& run = *session_;
  // A rank that refuses the checkpoint ends this on all others.
  if (run.context.world != nullptr) run.context.world->control().all_gather("ready to resume", "");
  begin_writing(slurm);
  if (run.context.is_global_zero()) {
    config_file_ = write_resumed_run_files(run_dir_, run.context.config, options_,
                                           run.state.progress.global_step);
  }
  for (const auto& logger : run.context.loggers) logger->open();
}

void Trainer::Impl::prepare_fit(const SlurmConnector& slurm,
                                const std::optional<fs::path>& checkpoint) {
  Session& run = *session_;
  add_module_callbacks();
  check_state_keys(run.context.callbacks);
  initial_states_.apply(run.context.callbacks);
  lease_folders(&slurm);
  setup_data_and_module();
  // First: weights of 64 bits would lose half of them in a module of 32.
  run.context.precision->convert_module(*run.context.module);
  if (checkpoint) run.checkpoints.load(*checkpoint);
  setup_strategy();
  // Every rank draws its own numbers from here on; rank 0 those of a run with one rank.
  const int64_t rank = run.context.strategy->global_rank();
  if (rank > 0) seed_rank_generators(0, rank);
  setup_optimizers();
}

void Trainer::Impl::prepare_optimizers(const std::optional<fs::path>& checkpoint) {
  Session& run = *session_;
  run.checkpoints.note_configured_optimizers();
  if (checkpoint) {
    run.checkpoints.restore_fit();
  } else {
    const size_t count = run.context.optimizers.size();
    run.state.progress.optimizer_steps.assign(count, 0);
    run.state.progress.pending_gradients.assign(count, PendingGradients::kNone);
  }
  run.checkpoints.allow_nonfinite_as_they_are();
}

/// What the files of the run say must hold: a checkpoint may have decided otherwise.
void Trainer::Impl::use_effective_config(bool rewrite) {
  Session& run = *session_;
  std::string config = run.checkpoints.effective_config();
  if (config == run.context.config) return;
  run.context.config = std::move(config);
  if (!rewrite || !writes_files() || !run.context.is_global_zero()) return;
  write_run_files(run_dir(), run.context.config, options_);
}

void Trainer::Impl::end_fit(const SlurmConnector& slurm) {
  Session& run = *session_;
  const auto phase = run.state.phases.enter(kFitEnd, run.state.progress);
  run.state.stop.finish();
  run.state.metrics.connector.flush();
  if (const int signal = run.state.stop.signal(); signal != 0) finish_interrupted(slurm, signal);
  run.checkpoints.write_requested();
  run.checkpoints.wait();
  call_hooks(run.state, hooks::on_fit_end);
}

void Trainer::Impl::open_log_file() {
  const RunContext& run = session_->context;
  const fs::path folder = run_dir_ / "logs";
  const fs::path file = folder / detail::concat("rank_", run.strategy->global_rank(), ".log");
  make_folder_of_option("Trainer: default_root_dir", folder);
  const detail::FileKind kind = detail::kind_of_entry(file);
  if (detail::kind_of_entry(folder) == detail::FileKind::kFolder &&
      (kind == detail::FileKind::kFile || kind == detail::FileKind::kMissing)) {
    detail::set_run_log_file(file);
  } else {
    // Of a run folder that came from elsewhere.
    log_warning(format("Trainer: {} is a link or no file, no log is written there.", file));
  }
  if (run.world != nullptr) log_to_file(describe(run.world->topology()));
}

void Trainer::Impl::finish_interrupted(const SlurmConnector& slurm, int signal) {
  const Progress& progress = session_->state.progress;
  std::string text = detail::concat("Trainer: stopped by ", signal_name(signal), " after step ",
                                    progress.global_step, " of epoch ", progress.epoch);
  if (progress.global_step == 0) {
    throw Interrupted(signal, text + ". Nothing was trained, so no checkpoint was written.");
  }
  if (!writes_files()) {
    throw Interrupted(
        signal, text + ". No checkpoint was written, since fast_dev_run and dry_run write none.");
  }
  const fs::path path = write_last_checkpoint(slurm);
  // A state that isn't finite is never written.
  if (session_->context.is_global_zero() && !detail::path_exists(path)) {
    throw Interrupted(signal, text + ". No checkpoint of it was written, as said above.");
  }
  text += slurm.in_job()
              ? ". The run resumes automatically when SLURM restarts the job. HINT: otherwise "
              : ". HINT: ";
  throw Interrupted(signal, text + "resume with " + resume_command(program_, config_file_, path));
}

fs::path Trainer::Impl::write_last_checkpoint(const SlurmConnector& slurm) {
  Session& run = *session_;
  const Progress& progress = run.state.progress;
  const fs::path folder = checkpoints_folder(run_dir_);
  fs::path path = slurm.in_job()
                      ? requeue_checkpoint_path(run_dir_, progress.epoch, progress.global_step)
                      : folder / detail::checkpoint_name(progress.epoch, progress.global_step);
  // Rank 0 knows what is on its disk; all write or none does.
  bool there = detail::path_exists(path);
  // One of that name that isn't this state: of weights only, or of a different run.
  if (!slurm.in_job() && !run.checkpoints.present_state_is_settled()) {
    const std::string stem = path.stem().string();
    for (int version = 1; there; ++version) {
      path = folder / detail::concat(stem, "-v", version, detail::kCheckpointSuffix);
      there = detail::path_exists(path);
    }
  }
  const std::string missing = there ? std::string() : path.filename().string();
  const std::string to_write = run.context.from_rank_zero("last checkpoint", missing);
  if (!to_write.empty()) {
    path = folder / to_write;
    make_folder_of_option("Trainer: default_root_dir", folder);
    CheckpointRequest request;
    request.path = path;
    request.committed = [run_dir = run_dir_, folder, path] {
      FileSystem::current().replace_link(path.filename(), folder / detail::kLastLink);
      rotate_requeue_checkpoints(run_dir);
    };
    save_checkpoint(std::move(request));
  }
  run.checkpoints.write_requested();
  run.checkpoints.wait();
  return path;
}

void Trainer::Impl::evaluate(Stage stage, std::shared_ptr<LightningModule> module,
                             std::shared_ptr<LightningDataModule> data, DataLoaders loaders,
                             const RunArguments& arguments, const std::function<void()>& pass) {
  begin_run(stage, std::move(module), std::move(data));
  const CudnnBenchmark benchmark(options_.user);
  guarded([&] {
    Session& run = *session_;
    const std::optional<fs::path> checkpoint = resolve_checkpoint(arguments.ckpt_path);
    run.state.loaders.evaluation = std::move(loaders);
    add_module_callbacks();
    setup_data_and_module();
    run.context.precision->convert_module(*run.context.module);
    if (checkpoint) run.checkpoints.load(*checkpoint);
    run.checkpoints.release();
    setup_strategy();
    run.checkpoints.allow_nonfinite_as_they_are();
    prepare_evaluation_loaders(run.state);
    pass();
    finish("success");
  });
}

std::vector<MetricMap> Trainer::Impl::measure(Stage stage, std::shared_ptr<LightningModule> module,
                                              std::shared_ptr<LightningDataModule> data,
                                              DataLoaders loaders, const RunArguments& arguments) {
  std::vector<MetricMap> metrics;
  evaluate(stage, std::move(module), std::move(data), std::move(loaders), arguments, [&] {
    if (!loggers_.empty()) {
      lease_folders(nullptr);
      open_loggers(/*resuming=*/false);
    }
    metrics = session_->evaluation.run_evaluation();
    session_->state.metrics.connector.flush();
    print_metrics(stage, metrics);
  });
  return metrics;
}

void Trainer::Impl::predict(std::shared_ptr<LightningModule> module,
                            std::shared_ptr<LightningDataModule> data, DataLoaders loaders,
                            const PredictionSink& sink, const RunArguments& arguments) {
  evaluate(Stage::kPredict, std::move(module), std::move(data), std::move(loaders), arguments, [&] {
    check_prediction_writers(session_->context);
    PredictionLoop(session_->state, session_->evaluation).run(sink);
  });
}

void Trainer::Impl::guarded(const std::function<void()>& body) {
  const FlushOnAbort flush_on_abort(session_->context);
  try {
    body();
  } catch (const std::exception& exception) {
    handle_exception(&exception);
    throw;
  } catch (...) {
    handle_exception(nullptr);
    throw;
  }
}

void Trainer::Impl::handle_exception(const std::exception* exception) {
  Session& run = *session_;
  const bool interrupted = dynamic_cast<const Interrupted*>(exception) != nullptr;
  const auto* lost_rank = dynamic_cast<const DistributedError*>(exception);
  const bool taken_over =
      lost_rank != nullptr && lost_rank->failure().kind == FailureKind::kLeaseLost;
  // Another process writes there now.
  if (taken_over) {
    detail::set_run_log_file({});
    run.context.loggers.clear();
  }
  if (lost_rank != nullptr) {
    detail::report_peer_failure(exception->what());
  } else if (exception != nullptr) {
    log_to_file(exception->what(), LogLevel::kError);
  }
  // The others can't continue without this rank.
  if (run.context.world != nullptr && !interrupted && (taken_over || lost_rank == nullptr)) {
    run.context.world->control().fail(
        exception != nullptr ? exception->what() : "an exception not derived from std::exception",
        taken_over ? FailureKind::kLeaseLost : FailureKind::kThrew);
  }
  // What goes wrong while cleaning up must not hide what went wrong first.
  try {
    if (exception != nullptr && !taken_over) {
      call_callbacks(run.state, hooks::on_exception, *exception);
      call_data_module(run.state, data_hooks::on_exception, *exception);
    }
    run.checkpoints.wait();
    finish(interrupted ? "interrupted" : "failed");
  } catch (const std::exception& second) {
    log_warning(detail::concat("Trainer: cleanup after the error failed as well: ", second.what()));
  }
  run.context.module->attach(nullptr, nullptr);
  if (run.context.data_module != nullptr) run.context.data_module->attach(nullptr);
  run.state.stop.watch(nullptr);
  run.checkpoints.end_fit();
  run.state.leases.release();
}

void Trainer::Impl::finish(std::string_view status) {
  Session& run = *session_;
  {
    const auto phase = run.state.phases.enter(kTeardown, run.state.progress);
    run.context.strategy->teardown();
    call_data_module(run.state, data_hooks::teardown, run.context.stage);
    call_hooks(run.state, hooks::teardown, run.context.stage);
  }
  for (size_t i = 0; i < run.context.loggers.size(); ++i) {
    logger_positions_[i] = run.context.loggers[i]->state_dict();
    run.context.loggers[i]->finalize(status);
  }
  if (profiler_ != nullptr) {
    if (const std::string summary = profiler_->summary(); !summary.empty()) log_info(summary);
  }
  run.context.module->attach(nullptr, nullptr);
  if (run.context.data_module != nullptr) run.context.data_module->attach(nullptr);
  run.state.stop.watch(nullptr);
  run.checkpoints.end_fit();
  run.state.leases.release();
}

void Trainer::Impl::save_checkpoint(CheckpointRequest request) {
  if (options_.user.dry_run) return;
  session().checkpoints.request(std::move(request));
}

Optimization& Trainer::Impl::optimization(std::string_view call) {
  Optimization* optimization = session().state.optimization;
  LIGHTNING_CHECK(optimization != nullptr, ConfigError, "LightningModule: ", call,
                  " was called outside of fit's epochs, expected inside. HINT: call it in "
                  "training_step().");
  return *optimization;
}

void Trainer::Impl::set_accumulate_grad_batches(int64_t batches) {
  RunState& run = session().state;
  LIGHTNING_CHECK(batches >= 1, ConfigError, "Trainer: set_accumulate_grad_batches() was given ",
                  batches, ", expected 1 or more. HINT: use 1 for a step after every batch.");
  LIGHTNING_CHECK(run.context.module->automatic_optimization(), ConfigError,
                  "Trainer: set_accumulate_grad_batches() was called with manual optimization, "
                  "expected automatic optimization. HINT: accumulate by Sync::kMoreFollow.");
  run.progress.accumulate_grad_batches = batches;
  // Another callback may call this beside a scheduler, between its epochs.
  const auto* schedule = GradientAccumulationScheduler::find(run.context.callbacks);
  run.progress.accumulation_is_scheduled =
      schedule != nullptr && schedule->at(run.progress.epoch) == batches;
}

void Trainer::Impl::renew_statistics_at_end() {
  RunState& run = session().state;
  LIGHTNING_CHECK(
      run.context.module->automatic_optimization(), ConfigError,
      "Trainer: renew_statistics_at_end() was called with manual optimization, expected "
      "automatic optimization. HINT: renew the statistics in the module's "
      "on_train_end().");
  run.renews_statistics = StatisticsRenewal(*run.context.module).has_layers();
}

void Trainer::Impl::skip_rest_of_epoch() {
  EpochSkip& skip = session().state.epoch_skip;
  LIGHTNING_CHECK(skip != EpochSkip::kImpossible, ConfigError,
                  "Trainer: skip_rest_of_epoch() was called outside of on_train_batch_start(), "
                  "expected inside. HINT: note there whether the next batch is wanted.");
  skip = EpochSkip::kRequested;
}

int64_t Trainer::Impl::estimated_stepping_batches() {
  RunState& run = session().state;
  const int64_t max_steps = options_.max_steps;
  if (options_.max_epochs == -1) {
    LIGHTNING_CHECK(
        max_steps != -1, ConfigError,
        "Trainer: the schedule needs the total number of training steps, which is unknown. HINT: "
        "set max_steps or max_epochs.");
    return max_steps;
  }
  prepare_training_loader(run);
  const std::optional<int64_t> batches = run.num_training_batches();
  if (!batches) {
    LIGHTNING_CHECK(
        max_steps != -1, ConfigError,
        "Trainer: the schedule needs the total number of training steps, and the length "
        "of the training data is unknown. HINT: set max_steps or limit_train_batches.");
    return max_steps;
  }
  const int64_t per_epoch = *run.steps_per_epoch();
  int64_t steps = 0;
  if (const auto* schedule = GradientAccumulationScheduler::find(run.context.callbacks)) {
    steps = schedule->steps_in(options_.max_epochs, *batches);
  } else if (__builtin_mul_overflow(per_epoch, options_.max_epochs, &steps)) {
    steps = std::numeric_limits<int64_t>::max();
  }
  return max_steps == -1 ? steps : std::min(steps, max_steps);
}

}  // namespace lightning
