// What the Trainer makes ready before its loops run.
#include <lightning/trainer/detail/trainer_impl.h>

#include <algorithm>
#include <cstdlib>
#include <typeindex>
#include <typeinfo>
#include <unordered_map>
#include <utility>

#include <ATen/Context.h>
#include <c10/util/Type.h>
#include <torch/optim/optimizer.h>

#include <lightning/accelerators/accelerator.h>
#include <lightning/accelerators/detail/host_memory.h>
#include <lightning/callbacks/early_stopping.h>
#include <lightning/callbacks/model_checkpoint.h>
#include <lightning/callbacks/model_summary.h>
#include <lightning/callbacks/progress_bar.h>
#include <lightning/callbacks/spike_detection.h>
#include <lightning/checkpoint/detail/names.h>
#include <lightning/config/yaml.h>
#include <lightning/distributed/join_world.h>
#include <lightning/loggers/csv_logger.h>
#include <lightning/loggers/tensorboard_logger.h>
#include <lightning/loops/fit_loop.h>
#include <lightning/loops/hooks.h>
#include <lightning/loops/lr_schedules.h>
#include <lightning/nn/unit_slot.h>
#include <lightning/optim/optimizer_state.h>
#include <lightning/optim/parameter_groups.h>
#include <lightning/precision/precision.h>
#include <lightning/run/detail/run_folder.h>
#include <lightning/strategies/registry.h>
#include <lightning/strategies/synchronize_batch_norm.h>
#include <lightning/trainer/detail/report.h>
#include <lightning/util/error.h>
#include <lightning/util/file_system.h>
#include <lightning/util/log.h>

namespace lightning {
namespace {

namespace fs = std::filesystem;

template <typename T>
bool has_callback(const Callbacks& callbacks) {
  for (const auto& callback : callbacks) {
    if (dynamic_cast<const T*>(callback.get()) != nullptr) return true;
  }
  return false;
}

/// Callbacks that write checkpoints see the final state of all others.
void move_checkpoint_writers_last(Callbacks& callbacks) {
  std::stable_partition(callbacks.begin(), callbacks.end(),
                        [](const auto& callback) { return !callback->writes_checkpoints(); });
}

void set_deterministic(const Deterministic& deterministic) {
  at::globalContext().setDeterministicAlgorithms(deterministic.on(), deterministic.warns_only());
  if (!deterministic.on()) return;
  // cuBLAS is deterministic only with a dedicated workspace; what the user set stays.
  ::setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
}

/// Callbacks that barebones doesn't allow: what they do costs time beside the training, or they
/// wait for metrics that are not recorded.
void check_barebones(const Callbacks& callbacks) {
  for (const auto& callback : callbacks) {
    const auto refuse = [](const std::string& fact, std::string_view expected) {
      throw ConfigError(detail::concat("Trainer: barebones is true and ", fact, ", expected ",
                                       expected, ". HINT: remove one of the two."));
    };
    if (callback->writes_checkpoints()) {
      refuse("there is a callback that writes checkpoints (enable_checkpointing)", "none");
    }
    if (dynamic_cast<const ProgressBar*>(callback.get()) != nullptr) {
      refuse("there is a ProgressBar (enable_progress_bar)", "none");
    }
    if (dynamic_cast<const ModelSummary*>(callback.get()) != nullptr) {
      refuse("there is a ModelSummary (enable_model_summary)", "none");
    }
    const std::vector<MetricDemand> demands = callback->required_metrics();
    if (demands.empty()) continue;
    refuse(detail::concat(demands.front().option, " is \"", demands.front().name, "\""),
           "no callback that needs metrics, since log() does nothing");
  }
}

void check_barebones(const Callbacks& callbacks, const std::optional<Loggers>& loggers,
                     const Profiler* profiler) {
  check_barebones(callbacks);
  LIGHTNING_CHECK(!loggers || loggers->empty(), ConfigError, "Trainer: barebones is true and ",
                  loggers->size(),
                  " loggers are given (logger), expected none. HINT: remove one of the two.");
  LIGHTNING_CHECK(profiler == nullptr, ConfigError,
                  "Trainer: barebones is true and there is a profiler, expected none. HINT: remove "
                  "one of the two.");
}

void check_optimization_mode(const LightningModule& module, size_t optimizers,
                             const TrainerOptions& options) {
  if (module.automatic_optimization()) {
    LIGHTNING_CHECK(optimizers == 1, ConfigError, "LightningModule: configure_optimizers() gave ",
                    optimizers,
                    " optimizers with automatic optimization, expected one. HINT: put all "
                    "parameters into groups "
                    "of one optimizer, or call set_automatic_optimization(false) and step them in "
                    "training_step().");
    return;
  }
  LIGHTNING_CHECK(options.accumulate_grad_batches == 1, ConfigError,
                  "Trainer: accumulate_grad_batches is ", options.accumulate_grad_batches,
                  " and the module optimizes manually, expected 1. HINT: accumulate by "
                  "manual_backward(loss, Sync::kMoreFollow).");
  LIGHTNING_CHECK(
      !options.gradient_clip_val, ConfigError, "Trainer: gradient_clip_val is ",
      options.gradient_clip_val.value_or(0.0),
      " and the module optimizes manually, expected null. HINT: call clip_gradients() of "
      "the optimizer before its step().");
}

/// Throws ConfigError for a parameter that two optimizers would step.
void check_disjoint(const std::vector<OptimizerConfig>& optimizers,
                    const optim::ParameterNames& names) {
  std::unordered_map<const c10::TensorImpl*, size_t> owners;
  for (size_t i = 0; i < optimizers.size(); ++i) {
    for (const auto& group : optimizers[i].optimizer->param_groups()) {
      for (const at::Tensor& parameter : group.params()) {
        const auto [owner, is_new] = owners.try_emplace(parameter.unsafeGetTensorImpl(), i);
        const std::string* name = names.find(parameter);
        LIGHTNING_CHECK(
            is_new || owner->second == i, ConfigError, "LightningModule: parameter ",
            name == nullptr ? std::string("(no name)") : *name, " is in optimizers ", owner->second,
            " and ", i,
            " of configure_optimizers(), expected one of them. HINT: give each optimizer "
            "the parameters of its own layers.");
      }
    }
  }
}

}  // namespace

Trainer::Impl::Impl(Trainer& trainer, TrainerOptions options, TrainerParts parts)
    : trainer_(trainer),
      options_(resolve(options, parts.cluster)),
      parts_(std::move(parts)),
      callbacks_(std::move(parts_.callbacks)),
      profiler_(std::move(parts_.profiler)) {
  const TrainerOptions& user = options_.user;
  // Here, so that a module made after the Trainer, as programs with a command line do, is counted.
  if (options_.device.is_cpu()) keep_freed_host_memory();
  if (user.barebones) check_barebones(callbacks_, parts_.loggers, profiler_.get());
  if (user.enable_checkpointing && !has_callback<ModelCheckpoint>(callbacks_)) {
    callbacks_.push_back(std::make_shared<ModelCheckpoint>(ModelCheckpointOptions{}));
  } else if (!user.enable_checkpointing) {
    // fast_dev_run and dry runs switch off what the program brought along; a plain option
    // contradicts it.
    LIGHTNING_CHECK(!writes_files() || !has_callback<ModelCheckpoint>(callbacks_), ConfigError,
                    "Trainer: enable_checkpointing is false and there is a ModelCheckpoint, "
                    "expected one or the other. HINT: remove the ModelCheckpoint.");
    std::erase_if(callbacks_, [](const auto& c) { return c->writes_checkpoints(); });
  }
  if (user.enable_progress_bar && !has_callback<ProgressBar>(callbacks_)) {
    callbacks_.push_back(std::make_shared<ProgressBar>());
  }
  if (user.enable_model_summary && !has_callback<ModelSummary>(callbacks_)) {
    callbacks_.push_back(std::make_shared<ModelSummary>());
  }
  move_checkpoint_writers_last(callbacks_);
  if (!writes_files() || user.barebones) return;
  loggers_ = parts_.loggers
                 ? *std::move(parts_.loggers)
                 : Loggers{std::make_shared<CSVLogger>(CSVLoggerOptions{}),
                           std::make_shared<TensorBoardLogger>(TensorBoardLoggerOptions{})};
  logger_positions_.resize(loggers_.size());
}

void Trainer::Impl::begin_run(Stage stage, std::shared_ptr<LightningModule> module,
                              std::shared_ptr<LightningDataModule> data) {
  LIGHTNING_CHECK(module != nullptr, ConfigError, "Trainer: ", to_string(stage),
                  "() was given a null module, expected a shared_ptr to a LightningModule.");
  LIGHTNING_CHECK(!options_.user.dry_run || stage == Stage::kFit, ConfigError,
                  "Trainer: dry_run is true and this is ", to_string(stage),
                  "(), expected fit(): only training supports dry runs. HINT: remove dry_run.");
  session_ = std::make_unique<Session>(RunContext{.trainer = trainer_,
                                                  .options = options_,
                                                  .stage = stage,
                                                  .module = std::move(module),
                                                  .data_module = std::move(data)});
  Session& run = *session_;
  join_ranks(run);
  run.context.precision = make_precision();
  run.state.nonfinite = NonFiniteGuard(run.context.precision->loss_scaler());
  run.context.callbacks = callbacks_;
  run.context.loggers = loggers_;
  run.context.run_dir = run_dir_;
  set_deterministic(options_.user.deterministic);
  set_log_rank(static_cast<int>(run.context.strategy->global_rank()));
  MetricFlow& metrics = run.state.metrics;
  run.context.module->attach(&trainer_,
                             stage == Stage::kFit ? &metrics.train : &metrics.evaluation);
  metrics.registered = &run.context.module->registered_metrics();
  metrics.registered->reset();
  if (run.context.world != nullptr) metrics.control = &run.context.world->control();
  if (run.context.data_module != nullptr) run.context.data_module->attach(&trainer_);
  metrics.connector.set_gate([&run] {
    run.context.throw_if_failed();
    run.state.leases.check_now_and_then();
  });
  if (options_.user.barebones) begin_barebones();
  run.context.config = make_config();
}

void Trainer::Impl::begin_barebones() {
  MetricFlow& metrics = session_->state.metrics;
  metrics.train.ignore_all();
  metrics.evaluation.ignore_all();
  log_info(
      "Trainer: barebones is true. Off are: checkpoints, loggers, log(), progress bar, model "
      "summary, sanity check.");
}

std::shared_ptr<World> Trainer::Impl::join_real_ranks() const {
  ControlPlaneOptions control;
  control.connect_timeout = options_.user.connect_timeout;
  control.heartbeat_timeout = options_.user.heartbeat_timeout;
  control.collective_timeout = options_.user.collective_timeout;
  control.interface = options_.user.network_interface;
  set_log_rank(static_cast<int>(options_.topology.global_rank));
  const bool first = World::current() == nullptr;
  if (first) print_rendezvous(options_.topology);
  std::shared_ptr<World> world =
      join_world(options_.topology, {.control = control,
                                     .device = options_.device,
                                     .process_group_backend = options_.user.process_group_backend});
  if (first) print_world_ready(*world);
  return world;
}

void Trainer::Impl::join_ranks(Session& run) {
  const TrainerOptions& user = options_.user;
  const bool alone = options_.world_size == 1;
  if (alone) {
    set_current_device(options_.device);
    set_threads(options_.topology);
    run.context.strategy = make_strategy({options_.device, options_.topology, nullptr});
    run.state.phases.report_to(nullptr, profiler_.get());
    if (user.dry_run) run.state.phases.dry_run.emplace(nullptr, nullptr);
    return;
  }
  if (user.dry_run) {
    run.context.world = World::fake(options_.topology, options_.device);
  } else {
    run.context.world = join_real_ranks();
  }
  World& world = *run.context.world;
  run.context.strategy = make_strategy({options_.device, world.topology(), &world});
  run.state.metrics.sync.emplace(world.group(), world.control(), options_.device);
  run.state.phases.report_to(&world.control(), profiler_.get());
  if (user.dry_run) run.state.phases.dry_run.emplace(&world, &*run.state.metrics.sync);
  run.state.stop.set_control(&world.control());
}

std::shared_ptr<Strategy> Trainer::Impl::make_strategy(const StrategyContext& context) const {
  if (parts_.strategy) {
    std::shared_ptr<Strategy> strategy = parts_.strategy(context);
    LIGHTNING_CHECK(
        strategy != nullptr, ConfigError,
        "Trainer: TrainerParts::strategy returned null, expected a strategy. HINT: leave "
        "it out to have trainer.strategy.");
    return strategy;
  }
  const TrainerOptions& user = options_.user;
  config::ConfigNode spec = user.strategy.node();
  if (user.strategy.is_auto()) {
    spec = config::ConfigNode::map();
    spec.set_path("class_path",
                  config::ConfigNode::scalar(context.world != nullptr ? "ddp" : "single_device"));
  }
  // Also a strategy of the program's own that takes them.
  if (*strategy_registry().find_entry(spec)->options == typeid(DDPOptions)) {
    config::ConfigNode arguments = config::to_node(user.ddp);
    const auto* given = spec.find("init_args");
    if (given != nullptr && !given->is_null()) arguments.merge(*given);
    spec.set("init_args", std::move(arguments));
  }
  return strategy_registry().create(spec, "trainer.strategy", context);
}

std::shared_ptr<Precision> Trainer::Impl::make_precision() const {
  if (!parts_.precision) {
    return precision_registry().create(options_.user.precision.node(), "trainer.precision",
                                       options_.device);
  }
  std::shared_ptr<Precision> precision = parts_.precision(options_.device);
  LIGHTNING_CHECK(
      precision != nullptr, ConfigError,
      "Trainer: TrainerParts::precision returned null, expected a precision. HINT: leave "
      "it out to have trainer.precision.");
  return precision;
}

void Trainer::Impl::set_config(std::string yaml, std::string program) {
  config_ = std::move(yaml);
  program_ = std::move(program);
}

std::string Trainer::Impl::make_config() const {
  if (!config_.empty()) return config_;
  config::ConfigNode config = config::ConfigNode::map();
  config.set("trainer", config::to_node(options_.user));
  if (!parts_.optimizers.optimizer.empty()) {
    config.set("optimizer", parts_.optimizers.optimizer.to_node());
  }
  if (!parts_.optimizers.lr_scheduler.empty()) {
    config.set("lr_scheduler", parts_.optimizers.lr_scheduler.to_node());
  }
  if (!session_->context.module->hyperparameters().is_null()) {
    config.set("model", session_->context.module->hyperparameters());
  }
  if (session_->context.data_module != nullptr &&
      !session_->context.data_module->hyperparameters().is_null()) {
    config.set("data", session_->context.data_module->hyperparameters());
  }
  return config::to_yaml(config);
}

std::optional<fs::path> Trainer::Impl::resolve_checkpoint(const std::string& ckpt_path) {
  if (ckpt_path.empty()) return std::nullopt;
  if (!detail::is_last_or_best(ckpt_path)) return fs::path(ckpt_path);
  fs::path found;
  if (session_->context.is_global_zero()) {
    // Those of the fit before, by this Trainer, come first.
    std::vector<fs::path> folders;
    for (const auto& callback : callbacks_) {
      const auto* checkpoints = dynamic_cast<const ModelCheckpoint*>(callback.get());
      if (checkpoints != nullptr && !checkpoints->options().dirpath.empty()) {
        folders.push_back(checkpoints->options().dirpath);
      }
    }
    std::optional<fs::path> own;
    if (!run_dir_.empty()) own = find_checkpoint_of_run(run_dir_, folders, ckpt_path);
    found = own ? *own : find_checkpoint(options_.user.default_root_dir, ckpt_path, folders);
  }
  return fs::path(session_->context.from_rank_zero("checkpoint to resume from", found.string()));
}

void Trainer::Impl::add_module_callbacks() {
  Callbacks own = session_->context.module->configure_callbacks();
  if (options_.user.barebones) check_barebones(own);
  // Lightning's rule: the model's callback replaces those of the same type.
  for (const auto& callback : own) {
    const std::type_index type(typeid(*callback));
    std::erase_if(session_->context.callbacks,
                  [&](const auto& c) { return std::type_index(typeid(*c)) == type; });
  }
  for (auto& callback : own) session_->context.callbacks.push_back(std::move(callback));
  if (!writes_files()) {
    std::erase_if(session_->context.callbacks,
                  [](const auto& c) { return c->writes_checkpoints(); });
  }
  // A few batches say nothing about a metric.
  if (options_.user.fast_dev_run.batches() > 0) {
    std::erase_if(session_->context.callbacks, [](const auto& c) {
      return dynamic_cast<const EarlyStopping*>(c.get()) != nullptr;
    });
  }
  for (const auto& callback : session_->context.callbacks) {
    auto* spikes = dynamic_cast<SpikeDetection*>(callback.get());
    if (spikes != nullptr) spikes->set_has_run_folder(writes_files());
  }
  move_checkpoint_writers_last(session_->context.callbacks);
}

void Trainer::Impl::lease_folders(const SlurmConnector* slurm) {
  Session& run = *session_;
  if (!writes_files() || !run.context.is_global_zero()) return;
  std::vector<fs::path> folders = {run_dir()};
  for (const auto& callback : run.context.callbacks) {
    const auto* checkpoints = dynamic_cast<const ModelCheckpoint*>(callback.get());
    if (slurm == nullptr || checkpoints == nullptr) continue;
    const fs::path& dirpath = checkpoints->options().dirpath;
    if (dirpath.empty()) continue;
    // RUN/checkpoints belongs to RUN, whichever callback writes there.
    const std::optional<fs::path> owner = run_dir_of(dirpath / "x.ckpt");
    if (!owner) make_writable_folder_of_option("ModelCheckpoint: dirpath", dirpath);
    folders.push_back(owner.value_or(dirpath));
  }
  run.state.leases.take(folders, slurm == nullptr ? std::nullopt : slurm->holder());
}

void Trainer::Impl::setup_data_and_module() {
  Session& run = *session_;
  if (profiler_ != nullptr) {
    profiler_->setup(run.context.stage, writes_files() ? run_dir() : fs::path(),
                     run.context.strategy->global_rank());
  }
  prepare_data();
  const auto phase = run.state.phases.enter(kSetup, run.state.progress);
  call_data_module(run.state, data_hooks::setup, run.context.stage);
  call_hooks(run.state, hooks::setup, run.context.stage);
  call_module(run.state, module_hooks::configure_model);
}

void Trainer::Impl::prepare_data() {
  RunState& run = session_->state;
  const auto phase = run.phases.enter(kPrepareData, run.progress);
  const bool per_node = options_.user.prepare_data_per_node;
  const Topology& topology = options_.topology;
  if (per_node ? topology.local_rank == 0 : topology.global_rank == 0) {
    call_data_module(run, data_hooks::prepare_data);
    call_module(run, module_hooks::prepare_data);
  }
  run.context.strategy->barrier("prepare_data");
}

void Trainer::Impl::setup_strategy() {
  Session& run = *session_;
  if (options_.user.sync_batchnorm && run.context.world != nullptr) {
    synchronize_batch_norm(*run.context.module, run.context.world->shared_group());
  }
  const ActivationCheckpointing& wanted = options_.user.activation_checkpointing;
  const int64_t recomputing = recompute_activations(*run.context.module, wanted.every_nth());
  LIGHTNING_CHECK(recomputing > 0 || wanted.every_nth() == 0, ConfigError,
                  "Trainer: activation_checkpointing is ", wanted.to_text(),
                  " and the model has no unit, expected one. HINT: register layers by "
                  "register_unit(), or use activation_checkpointing: none.");
  run.context.strategy->setup(*run.context.module);
}

void Trainer::Impl::setup_optimizers() {
  Session& run = *session_;
  std::vector<OptimizerConfig>& optimizers = run.context.optimizers;
  // Here, since configure_optimizers() takes a ConfigError about the number of steps for an unknown
  // number.
  if (!parts_.optimizers.lr_scheduler.empty()) prepare_training_loader(run.state);
  specs_asked_for_ = false;
  optimizers = call_module(run.state, module_hooks::configure_optimizers).configs();
  check_specs_are_used();
  LIGHTNING_CHECK(
      !optimizers.empty(), ConfigError,
      "LightningModule: configure_optimizers() gave no optimizer, fit() needs one. HINT: "
      "override it and return a shared_ptr to an optimizer, or name one by the key optimizer.");
  check_optimizers();
}

void Trainer::Impl::check_specs_are_used() const {
  const OptimizerSpecs& specs = parts_.optimizers;
  if (specs_asked_for_ || (specs.optimizer.empty() && specs.lr_scheduler.empty())) return;
  const bool names_optimizer = !specs.optimizer.empty();
  const LightningModule& module = *session_->context.module;
  throw ConfigError(detail::concat(
      "Trainer: ", names_optimizer ? "optimizer" : "lr_scheduler", " is ",
      names_optimizer ? specs.optimizer.class_path() : specs.lr_scheduler.class_path(), " and ",
      c10::demangle(typeid(module).name()),
      " overrides configure_optimizers(), which doesn't ask for it, expected one of the two. HINT: "
      "remove the ",
      names_optimizer && !specs.lr_scheduler.empty() ? "keys optimizer and lr_scheduler"
      : names_optimizer                              ? "key optimizer"
                                                     : "key lr_scheduler",
      ", or have the override return LightningModule::configure_optimizers()."));
}

void Trainer::Impl::check_optimizers() {
  Session& run = *session_;
  const std::vector<OptimizerConfig>& optimizers = run.context.optimizers;
  check_optimization_mode(*run.context.module, optimizers.size(), options_.user);
  for (const OptimizerConfig& config : optimizers) {
    LIGHTNING_CHECK(config.optimizer != nullptr, ConfigError,
                    "LightningModule: configure_optimizers() gave a null optimizer.");
    optim::require_supported(*config.optimizer);
    optim::validate_parameters(*config.optimizer, *run.context.module);
  }
  check_schedule_configs(optimizers, run.context.module->automatic_optimization());
  check_disjoint(optimizers, optim::ParameterNames(*run.context.module));
}

void Trainer::Impl::open_loggers(bool resuming) {
  Session& run = *session_;
  const StateDict saved = resuming ? run.checkpoints.state().nested("loggers") : StateDict();
  // Those of a run that resumes wait until it resumes.
  for (size_t i = 0; i < run.context.loggers.size(); ++i) {
    StateDict position = resuming ? saved.nested(std::to_string(i)) : logger_positions_[i];
    run.context.loggers[i]->setup({.run_dir = run_dir(),
                                   .global_rank = run.context.strategy->global_rank(),
                                   .resume = position.empty() ? nullptr : &position,
                                   .resume_step = run.state.progress.global_step});
  }
  run.state.metrics.connector.set_loggers(run.context.loggers);
}

}  // namespace lightning
