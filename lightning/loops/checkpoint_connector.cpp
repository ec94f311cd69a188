#include <lightning/loops/checkpoint_connector.h>

#include <algorithm>
#include <utility>

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <torch/version.h>

#include <lightning/callbacks/gradient_accumulation_scheduler.h>
#include <lightning/callbacks/model_checkpoint.h>
#include <lightning/checkpoint/load_from_checkpoint.h>
#include <lightning/control/detail/state_exchange.h>
#include <lightning/core/detail/metric_registry.h>
#include <lightning/loops/callback_states.h>
#include <lightning/loops/hooks.h>
#include <lightning/loops/nonfinite.h>
#include <lightning/loops/pending_gradients.h>
#include <lightning/optim/grad_utils.h>
#include <lightning/optim/optimizer_state.h>
#include <lightning/precision/precision.h>
#include <lightning/util/detail/generator_state.h>
#include <lightning/util/error.h>
#include <lightning/util/log.h>

namespace lightning {
namespace {

/// What bits depend on besides the checkpoint.
StateDict numeric_environment(const RunState& run) {
  StateDict state;
  state.set("torch_version", TORCH_VERSION);
  state.set("num_threads", at::get_num_threads());
  state.set("cpu_capability", at::get_cpu_capability());
  state.set("device", run.context.options.device_name);
  state.set("deterministic", run.context.options.user.deterministic.on());
  state.set("world_size", run.context.options.world_size);
  return state;
}

bool can_be_nonfinite(const at::Tensor& tensor) {
  if (!tensor.defined() || tensor.layout() != at::kStrided || tensor.numel() == 0) return false;
  const at::ScalarType type = tensor.scalar_type();
  return type == at::kFloat || type == at::kDouble || type == at::kHalf || type == at::kBFloat16;
}

/// Buffers and what the optimizers keep for their next step, where it can be non-finite.
Checkpoint::NamedTensors state_beside_parameters(const RunState& run) {
  Checkpoint::NamedTensors state;
  for (const auto& item : run.context.module->named_buffers()) {
    if (can_be_nonfinite(item.value())) state.emplace_back("buffer " + item.key(), item.value());
  }
  const optim::ParameterNames names(*run.context.module);
  for (const OptimizerConfig& config : run.context.optimizers) {
    for (const auto& [name, value] : optim::optimizer_state(*config.optimizer, names).entries()) {
      const auto* tensor = std::get_if<at::Tensor>(&value);
      if (tensor != nullptr && can_be_nonfinite(*tensor)) {
        state.emplace_back("optimizer state " + name, *tensor);
      }
    }
  }
  return state;
}

const StateDict::Value* find_entry(const StateDict& state, std::string_view name) {
  for (const auto& [key, value] : state.entries()) {
    if (key == name) return &value;
  }
  return nullptr;
}

}  // namespace

CheckpointConnector::CheckpointConnector(RunState& run)
    : run_(run), writer_(run.context.options.user.async_checkpointing) {}

void CheckpointConnector::request(CheckpointRequest request) {
  requests_.push_back(std::move(request));
  // Outside of fit nothing is in progress: the state is complete.
  if (!in_fit_loops_) write_requested();
}

void CheckpointConnector::write_requested() {
  try {
    writer_.check();
    write_all();
  } catch (...) {
    report_failed(0);
    throw;
  }
}

void CheckpointConnector::wait() {
  try {
    writer_.wait();
  } catch (...) {
    report_failed(0);
    throw;
  }
}

void CheckpointConnector::write_all() {
  std::erase_if(handed_, [](const Handed& handed) { return handed.written->load(); });
  if (requests_.empty()) return;
  const auto phase = run_.phases.enter(kCheckpoint, run_.progress);
  check_nonfinite(run_);
  const std::pair present(run_.progress.global_step, run_.progress.total_batches);
  if (!state_is_finite()) {
    settled_ = present;
    report_failed(handed_.size());
    return;
  }
  run_.context.throw_if_failed();
  run_.leases.check();
  while (!requests_.empty()) {
    Checkpoint checkpoint = dump(requests_.front());
    handed_.push_back({std::move(requests_.front()), std::make_shared<std::atomic<bool>>(false)});
    requests_.erase(requests_.begin());
    const Handed& handed = handed_.back();
    if (run_.context.is_global_zero()) {
      writer_.write(std::move(checkpoint), handed.request.path,
                    [written = handed.written, committed = handed.request.committed] {
                      *written = true;
                      if (committed) committed();
                    });
    } else {
      *handed.written = true;
    }
    if (!handed.request.weights_only) settled_ = present;
  }
}

void CheckpointConnector::report_failed(size_t first) {
  // The newest first: each takes back what it had added to the one before.
  std::vector<CheckpointRequest> failed = std::exchange(requests_, {});
  for (size_t i = handed_.size(); i > first; --i) {
    if (!handed_[i - 1].written->load()) {
      failed.insert(failed.begin(), std::move(handed_[i - 1].request));
    }
    handed_.pop_back();
  }
  for (auto request = failed.rbegin(); request != failed.rend(); ++request) {
    if (request->failed) request->failed();
  }
}

bool CheckpointConnector::present_state_is_settled() const {
  return settled_ == std::pair(run_.progress.global_step, run_.progress.total_batches);
}

void CheckpointConnector::freeze() {
  frozen_.emplace();
  save_callback_states(run_.context.callbacks, nullptr, frozen_->callbacks);
  frozen_->callbacks = copy_of(frozen_->callbacks);
  frozen_->rank = copy_of(own_rank_state());
  frozen_->callback_metrics = run_.metrics.host.state_dict();
}

void CheckpointConnector::allow_nonfinite_as_they_are() {
  nonfinite_by_design_.clear();
  for (const auto& [name, tensor] : state_beside_parameters(run_)) {
    if (!optim::all_finite({&tensor, 1})) nonfinite_by_design_.insert(name);
  }
}

std::string CheckpointConnector::find_nonfinite() const {
  std::vector<at::Tensor> tensors;
  std::vector<std::string> names;
  const auto add = [&](const std::string& name, const at::Tensor& tensor) {
    names.push_back(name);
    tensors.push_back(tensor);
  };
  for (const auto& item : run_.context.module->named_parameters()) {
    if (can_be_nonfinite(item.value())) add("parameter " + item.key(), item.value());
  }
  for (const auto& [name, tensor] : state_beside_parameters(run_)) {
    if (!nonfinite_by_design_.contains(name)) add(name, tensor);
  }
  if (optim::all_finite(tensors)) return {};
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (!optim::all_finite({&tensors[i], 1})) return names[i];
  }
  return {};
}

bool CheckpointConnector::state_is_finite() {
  // Buffers may differ from rank to rank; those of rank 0 would be written.
  std::string found;
  if (run_.context.is_global_zero()) found = find_nonfinite();
  found = run_.context.from_rank_zero("non-finite state", found);
  if (found.empty()) return true;
  const std::string text = detail::concat(
      "Trainer: ", found, " is not finite after step ", run_.progress.global_step,
      ", no checkpoint was written. HINT: resume from an earlier checkpoint with a lower learning "
      "rate or gradient_clip_val.");
  if (run_.context.options.user.on_nonfinite == OnNonfinite::kError) throw DataError(text);
  log_warning(text);
  return false;
}

Checkpoint CheckpointConnector::dump(const CheckpointRequest& request) {
  Checkpoint checkpoint;
  checkpoint.id = request.id;
  checkpoint.model = model_state(*run_.context.module);
  checkpoint.config = run_.context.config;
  checkpoint.assets = run_.context.module->checkpoint_assets();
  StateDict& state = checkpoint.state;
  Progress progress = run_.progress;
  progress.elapsed_seconds = run_.elapsed_seconds();
  state.set("loop", to_state_dict(progress));
  state.set("environment", numeric_environment(run_));
  if (!request.weights_only) dump_fit_state(state);
  StateDict module_state;
  call_module(run_, module_hooks::on_save_checkpoint, module_state);
  state.set("module", module_state);
  call_callbacks(run_, request.weights_only ? hooks::on_save_weights : hooks::on_save_checkpoint,
                 checkpoint);
  return checkpoint;
}

void CheckpointConnector::dump_fit_state(StateDict& state) {
  run_.metrics.connector.flush();
  const optim::ParameterNames names(*run_.context.module);
  for (size_t i = 0; i < run_.context.optimizers.size(); ++i) {
    state.set("optimizer/" + std::to_string(i),
              optim::optimizer_state(*run_.context.optimizers[i].optimizer, names));
    dump_schedules(i, state);
  }
  save_callback_states(run_.context.callbacks, frozen_ ? &frozen_->callbacks : nullptr, state);
  if (run_.context.data_module != nullptr) {
    StateDict data_state;
    run_.context.data_module->state_dict(data_state);
    state.set("data_module", data_state);
  }
  state.set("configured", configured_);
  state.set("precision", run_.context.precision->state_dict());
  if (!run_.loaders.train.empty()) {
    state.set("data_loader/train", run_.loaders.train_loader().state_dict());
  }
  dump_rank_states(state);
  MetricFlow& metrics = run_.metrics;
  state.set("callback_metrics", frozen_ ? frozen_->callback_metrics : metrics.host.state_dict());
  state.set("loggers",
            metrics.saved_positions ? *metrics.saved_positions : metrics.connector.positions());
}

StateDict CheckpointConnector::own_rank_state() const {
  StateDict own;
  own.set("rng", GeneratorState::capture().state_dict());
  own.set("metrics", run_.metrics.train.state_dict());
  const MetricRegistry& registered = run_.context.module->registered_metrics();
  if (!registered.empty()) own.set("metric_states", registered.state_dict());
  const StateDict gradients = pending_gradients(run_);
  if (!gradients.empty()) own.set("gradients", gradients);
  return own;
}

void CheckpointConnector::dump_rank_states(StateDict& state) {
  const StateDict own = frozen_ ? frozen_->rank : own_rank_state();
  std::vector<StateDict> ranks = {own};
  if (run_.context.world != nullptr) {
    ranks = all_gather_object(run_.context.world->control(), "state of each rank for a checkpoint",
                              own);
  }
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    state.set("ranks/" + std::to_string(rank), ranks[rank]);
  }
}

void CheckpointConnector::load(const std::filesystem::path& path) {
  checkpoint_ = Checkpoint::read(path);
  path_ = path;
  loaded_ = true;
  const StateDict& state = checkpoint_.state;
  LIGHTNING_CHECK(
      run_.context.stage != Stage::kFit || state.contains_nested("optimizer"), CheckpointError,
      "checkpoint ", path_.string(),
      ": it holds weights only; fit() needs the full training state to resume. HINT: start a new "
      "run from these weights with load_from_checkpoint(), or resume from a different checkpoint.");
  call_module(run_, module_hooks::on_load_checkpoint, state.nested("module"));
  LightningModule& module = *run_.context.module;
  detail::load_weights(module, checkpoint_.model, path, module.strict_loading());
  run_.progress = progress_from(state.nested("loop"));
  if (run_.context.stage != Stage::kFit) return;
  leave_out_renewal();
  leave_out_accumulation_schedule();
  if (run_.context.data_module != nullptr)
    run_.context.data_module->load_state_dict(state.nested("data_module"));
  call_callbacks(run_, hooks::on_load_checkpoint, std::as_const(checkpoint_));
  load_callback_states(run_.context.callbacks, state);
}

void CheckpointConnector::leave_out_renewal() {
  Progress& progress = run_.progress;
  const int64_t max_epochs = run_.context.options.max_epochs;
  const bool counted = progress.batch_idx == 0;
  const int64_t renewal = counted ? progress.epoch - 1 : progress.epoch;
  if (!progress.renews_statistics || (max_epochs != -1 && renewal >= max_epochs)) return;
  progress.epoch = renewal;
  progress.batch_idx = 0;
  progress.epoch_scheduled = false;
  progress.position = SafePoint::kEpochEnd;
  progress.renews_statistics = false;
}

void CheckpointConnector::leave_out_accumulation_schedule() {
  Progress& progress = run_.progress;
  if (!progress.accumulation_is_scheduled) return;
  if (GradientAccumulationScheduler::find(run_.context.callbacks) != nullptr) return;
  log_info(detail::concat(
      "Trainer: the GradientAccumulationScheduler of the checkpoint, which had ",
      "set accumulate_grad_batches to ", progress.accumulate_grad_batches.value_or(1),
      ", is not in this run: from here on the configured ",
      run_.context.options.user.accumulate_grad_batches, " holds."));
  progress.accumulate_grad_batches.reset();
  progress.accumulation_is_scheduled = false;
}

void CheckpointConnector::restore_fit() {
  const StateDict& state = checkpoint_.state;
  const size_t count = run_.context.optimizers.size();
  const size_t saved = state.nested("optimizer").top_level_names().size();
  LIGHTNING_CHECK(saved == count, CheckpointError, "checkpoint ", path_.string(),
                  ": it has the state of ", saved, saved == 1 ? " optimizer" : " optimizers",
                  ", and configure_optimizers() gave ", count,
                  ", expected as many. HINT: resume with the optimizers it was saved with.");
  for (size_t i = 0; i < count; ++i) restore_optimizer(i);
  restore_optimizer_progress();
  run_.context.precision->load_state_dict(state.nested("precision"));
  restore_metrics();
  run_.clock.first_step = run_.progress.global_step;
  settled_ = {run_.progress.global_step, run_.progress.total_batches};
  restored_ = true;
  report_changes();
  warn_about_environment();
}

void CheckpointConnector::restore_optimizer_progress() {
  Progress& progress = run_.progress;
  const size_t count = run_.context.optimizers.size();
  // Checkpoints of earlier versions are of one optimizer.
  if (progress.optimizer_steps.empty()) {
    progress.optimizer_steps = {progress.global_step};
    progress.pending_gradients = {PendingGradients::kNone};
  }
  LIGHTNING_CHECK(
      progress.optimizer_steps.size() == count && progress.pending_gradients.size() == count,
      CheckpointError, "loop: the checkpoint has counts of ", progress.optimizer_steps.size(),
      " optimizers, expected those of ", count, ". HINT: resume from a different checkpoint.");
  restore_pending_gradients(run_, checkpoint_.state.nested("ranks"));
}

void CheckpointConnector::note_configured_optimizers() {
  for (const OptimizerConfig& config : run_.context.optimizers) {
    for (const LRSchedulerConfig& schedule : config.lr_scheduler) {
      schedule.scheduler->include_new_groups();
    }
  }
  configured_ = configured_optimizers(run_.context.optimizers);
}

void CheckpointConnector::restore_optimizer(size_t index) {
  const OptimizerConfig& config = run_.context.optimizers[index];
  const std::string number = std::to_string(index);
  const StateDict& state = checkpoint_.state;
  const StateDict saved = state.nested("optimizer/" + number);
  const bool keep_new =
      run_.context.options.user.resume_optimizer_options == ResumeOptimizerOptions::kFromConfig;
  optim::load_optimizer_state(*config.optimizer, saved, optim::ParameterNames(*run_.context.module),
                              keep_new);
  // Checkpoints of earlier versions say what held when they were written, not what was configured.
  const std::string prefix = "optimizer/" + number;
  const StateDict configured = state.nested("configured/" + prefix);
  for (const auto& [name, now] : configured_.nested(prefix).entries()) {
    const StateDict::Value* before = find_entry(configured.empty() ? saved : configured, name);
    if (before == nullptr || value_text(*before) == value_text(now)) continue;
    const bool is_rate_of_schedule = configured.empty() && name.ends_with("/lr") &&
                                     state.contains_nested("lr_scheduler/" + number);
    if (is_rate_of_schedule) continue;
    changes_.add_optimizer_option(name, *before, now, /*applied=*/keep_new);
    if (!keep_new) configured_.set(prefix + "/" + name, *before);
  }
  restore_schedules(index, keep_new);
}

void CheckpointConnector::report_changes() {
  if (run_.progress.batch_idx > 0) {
    changes_.keep_loader_options(checkpoint_.state.nested("data_loader/train"));
  }
  changes_.compare_configs(checkpoint_.config, run_.context.config);
  if (changes_.empty()) return;
  changes_.keeps_any() ? run_.warn(changes_.text(path_)) : log_info(changes_.text(path_));
}

void CheckpointConnector::save_and_throw(const ConfigError& error) {
  std::filesystem::path path;
  for (const auto& callback : run_.context.callbacks) {
    auto* checkpoint = dynamic_cast<ModelCheckpoint*>(callback.get());
    if (checkpoint == nullptr || run_.progress.global_step == 0) continue;
    if (!checkpoint->save_last_state(run_.context.trainer).empty()) continue;
    path = checkpoint->last_model_path();
    break;
  }
  if (path.empty()) throw error;
  write_requested();
  wait();
  throw ConfigError(detail::concat(error.what(), " Nothing is lost: the state after step ",
                                   run_.progress.global_step, " is in ", path.string(), "."));
}

void CheckpointConnector::restore_metrics() {
  // Not in the first checkpoints that were written.
  if (checkpoint_.state.contains_nested("callback_metrics")) {
    run_.metrics.host.load_state_dict(checkpoint_.state.nested("callback_metrics"));
  }
  restore_metric_states();
  const StateDict ranks = checkpoint_.state.nested("ranks");
  const size_t saved = ranks.top_level_names().size();
  const auto of_rank = [&](size_t rank) { return ranks.nested(std::to_string(rank) + "/metrics"); };
  const auto own = static_cast<size_t>(run_.context.strategy->global_rank());
  if (saved == static_cast<size_t>(run_.context.world_size())) {
    run_.metrics.train.load_state_dict(of_rank(own));
    return;
  }
  // A different number of ranks: the first one continues with what all of them had gathered of the
  // epoch.
  run_.metrics.train.load_state_dict(of_rank(0));
  if (own > 0) run_.metrics.train.reset_epoch();
  for (size_t rank = 1; rank < saved && own == 0; ++rank) {
    MetricLog other;
    other.load_state_dict(of_rank(rank));
    run_.metrics.train.add_epoch(other);
  }
}

void CheckpointConnector::restore_metric_states() {
  // Those of an epoch that begins anew: see leave_out_renewal().
  const auto saved_batch = checkpoint_.state.nested("loop").get<int64_t>("batch_idx");
  if (run_.progress.batch_idx == 0 && saved_batch > 0) return;
  MetricRegistry& registered = run_.context.module->registered_metrics();
  const StateDict ranks = checkpoint_.state.nested("ranks");
  const size_t saved = ranks.top_level_names().size();
  const auto of_rank = [&](size_t rank) {
    return ranks.nested(std::to_string(rank) + "/metric_states");
  };
  for (size_t rank = 0; rank < saved; ++rank) {
    check_metric_names(of_rank(rank).empty() ? std::vector<std::string>()
                                             : MetricRegistry::names_in(of_rank(rank)));
  }
  const auto own = static_cast<size_t>(run_.context.strategy->global_rank());
  const bool same_ranks = saved == static_cast<size_t>(run_.context.world_size());
  // With a different number of ranks the first one continues with what all of them had.
  for (size_t rank = 0; rank < saved; ++rank) {
    const StateDict state = of_rank(rank);
    if (state.empty() || (same_ranks ? rank != own : own > 0)) continue;
    same_ranks || rank == 0 ? registered.load_state_dict(state)
                            : registered.merge_state_dict(state);
  }
}

void CheckpointConnector::check_metric_names(const std::vector<std::string>& saved) const {
  // Between epochs metrics are empty: those that are new begin so, and others aren't missed.
  if (run_.progress.batch_idx == 0) return;
  const std::vector<std::string> names = run_.context.module->registered_metrics().names();
  const auto missing_from = [](const std::vector<std::string>& from,
                               const std::vector<std::string>& wanted) {
    std::string missing;
    for (const std::string& name : wanted) {
      if (std::find(from.begin(), from.end(), name) != from.end()) continue;
      missing += (missing.empty() ? "\"" : ", \"") + name + "\"";
    }
    return missing;
  };
  const std::string only_saved = missing_from(names, saved);
  const std::string only_registered = missing_from(saved, names);
  LIGHTNING_CHECK(
      only_saved.empty() && only_registered.empty(), CheckpointError, "checkpoint ", path_.string(),
      ": it lies in the middle of an epoch and has the states of other metrics than those that the "
      "module registers (in the checkpoint only: ",
      only_saved.empty() ? "none" : only_saved,
      "; in the module only: ", only_registered.empty() ? "none" : only_registered,
      "), expected the same names. HINT: register the metrics the run had, or "
      "resume from the end of an epoch.");
}

void CheckpointConnector::restore_data_and_generators() {
  if (!loaded_) return;
  // At an epoch's end the next epoch begins afresh; begin_epoch() puts the loader to its start.
  if (run_.progress.batch_idx > 0) {
    BatchSource& loader = run_.loaders.train_loader();
    loader.load_state_dict(checkpoint_.state.nested("data_loader/train"));
    // With another batch size (or number of ranks) the same place has another number.
    run_.progress.batch_idx = loader.batches_delivered();
  }
  const StateDict ranks = checkpoint_.state.nested("ranks");
  const std::string own = std::to_string(run_.context.strategy->global_rank());
  if (ranks.contains_nested(own)) {
    GeneratorState::from_state_dict(ranks.nested(own + "/rng")).restore();
  } else {
    // A rank that wasn't there: a separate stream, which depends on seed, step and rank alone.
    seed_rank_generators(run_.progress.global_step, run_.context.strategy->global_rank());
  }
}

void CheckpointConnector::warn_about_environment() {
  const StateDict saved = checkpoint_.state.nested("environment");
  std::string differences;
  for (const auto& [name, value] : numeric_environment(run_).entries()) {
    if (!saved.contains(name)) continue;
    for (const auto& [saved_name, saved_value] : saved.entries()) {
      if (saved_name != name || value_text(saved_value) == value_text(value)) continue;
      differences += detail::concat(differences.empty() ? "" : ", ", name, " was ",
                                    value_text(saved_value), " and is ", value_text(value));
    }
  }
  if (differences.empty()) return;
  run_.warn(detail::concat("Trainer: ", differences,
                           "; the resumed run is exact, but not bitwise equal to one that never "
                           "stopped."));
}

}  // namespace lightning
