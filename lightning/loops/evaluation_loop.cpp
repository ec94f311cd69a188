#include <lightning/loops/evaluation_loop.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include <ATen/core/grad_mode.h>
#include <c10/core/InferenceMode.h>

#include <lightning/core/detail/metric_registry.h>
#include <lightning/data/combined_loader.h>
#include <lightning/loops/ask_loaders.h>
#include <lightning/loops/batch_transfer.h>
#include <lightning/loops/fit_loop.h>
#include <lightning/loops/hooks.h>
#include <lightning/loops/metric_check.h>
#include <lightning/precision/precision.h>
#include <lightning/util/detail/generator_state.h>
#include <lightning/util/error.h>
#include <lightning/util/log.h>

namespace lightning {

bool leaves_none(const BatchLimit& limit) {
  return limit.is_count() ? limit.count() == 0 : limit.fraction() == 0.0;
}

std::optional<int64_t> limited_batches(const BatchLimit& limit, const BatchSource& loader,
                                       std::string_view option) {
  const std::optional<int64_t> available = loader.num_batches();
  const std::optional<int64_t> batches = limit.resolve(available, option);
  LIGHTNING_CHECK(
      batches != 0 || leaves_none(limit) || available == 0, ConfigError, "Trainer: ", option,
      " is ", limit.to_text(), " of ", available.value_or(0),
      " batches, which leaves none. HINT: use a number of batches instead of a fraction.");
  return batches;
}

namespace {

/// overfit_batches takes the place of limit_val_batches.
std::string_view val_limit_name(const RunState& run) {
  return overfits(run.context.options.user) ? "overfit_batches" : "limit_val_batches";
}

/// The loaders with the parts of a sequential combination in its place: evaluations run loader
/// after loader.
DataLoaders with_parts_of_sequences(const DataLoaders& loaders) {
  std::vector<std::shared_ptr<BatchSource>> sources;
  for (const auto& source : loaders.sources()) {
    const auto* combined = dynamic_cast<const CombinedLoader*>(source.get());
    if (combined == nullptr || combined->mode() != CombineMode::kSequential) {
      sources.push_back(source);
      continue;
    }
    for (size_t i = 0; i < combined->size(); ++i) sources.push_back(combined->source(i));
  }
  return DataLoaders(std::move(sources));
}

/// Of every loader before the first batch of any.
void check_limits(const RunState& run, const DataLoaders& loaders, const BatchLimit& limit,
                  std::string_view option) {
  for (int64_t i = 0; i < loaders.size(); ++i) {
    loaders[i].set_shard(run.context.shard(UnevenInputs::kExact));
    loaders[i].check();
    limited_batches(limit, loaders[i], option);
  }
}

}  // namespace

void warn_of_empty_pass(const RunState& run, std::string_view pass, const DataLoaders& loaders,
                        const BatchLimit& limit, std::string_view option) {
  std::string reason = "the data gave none. HINT: check the data set.";
  if (leaves_none(limit)) {
    reason = detail::concat(option, " is ", limit.to_text(), ". HINT: use 1.0 for all batches.");
  } else if (loaders.size() > 0 && loaders[0].num_batches() == 0) {
    reason = loaders[0].why_no_batches();
  }
  run.warn(detail::concat("Trainer: ", pass, " ran no batch, since ", reason));
}

struct EvaluationLoop::Kind {
  std::string_view name;
  std::string_view limit_name;
  void (LightningModule::*step)(const Batch&, int64_t);
  OwnHook<LightningModule, void> model_eval;
  OwnHook<LightningModule, void> model_train;
  Hook<> on_start;
  Hook<> on_end;
  Hook<> on_epoch_start;
  Hook<> on_epoch_end;
  Hook<const Batch&, int64_t> on_batch_start;
  Hook<const Batch&, int64_t> on_batch_end;
  Phase start;
  Phase epoch_start;
  Phase batch_start;
  Phase run_step;
  Phase batch_end;
  Phase epoch_end;
  Phase end;

  static const Kind kValidation;
  static const Kind kTest;
};

const EvaluationLoop::Kind EvaluationLoop::Kind::kValidation = {
    .name = "the validation",
    .limit_name = "limit_val_batches",
    .step = &LightningModule::validation_step,
    .model_eval = module_hooks::on_validation_model_eval,
    .model_train = module_hooks::on_validation_model_train,
    .on_start = hooks::on_validation_start,
    .on_end = hooks::on_validation_end,
    .on_epoch_start = hooks::on_validation_epoch_start,
    .on_epoch_end = hooks::on_validation_epoch_end,
    .on_batch_start = hooks::on_validation_batch_start,
    .on_batch_end = hooks::on_validation_batch_end,
    .start = kValidationStart,
    .epoch_start = kValidationEpochStart,
    .batch_start = kValidationBatchStart,
    .run_step = kValidationStep,
    .batch_end = kValidationBatchEnd,
    .epoch_end = kValidationEpochEnd,
    .end = kValidationEnd,
};

const EvaluationLoop::Kind EvaluationLoop::Kind::kTest = {
    .name = "the test",
    .limit_name = "limit_test_batches",
    .step = &LightningModule::test_step,
    .model_eval = module_hooks::on_test_model_eval,
    .model_train = module_hooks::on_test_model_train,
    .on_start = hooks::on_test_start,
    .on_end = hooks::on_test_end,
    .on_epoch_start = hooks::on_test_epoch_start,
    .on_epoch_end = hooks::on_test_epoch_end,
    .on_batch_start = hooks::on_test_batch_start,
    .on_batch_end = hooks::on_test_batch_end,
    .start = kTestStart,
    .epoch_start = kTestEpochStart,
    .batch_start = kTestBatchStart,
    .run_step = kTestStep,
    .batch_end = kTestBatchEnd,
    .epoch_end = kTestEpochEnd,
    .end = kTestEnd,
};

bool EvaluationLoop::enabled() const {
  return has_step_ && !run_.loaders.validation.empty() &&
         !leaves_none(run_.context.options.user.limit_val_batches);
}

void EvaluationLoop::prepare_validation() {
  if (run_.loaders.validation_epoch) return;
  DataLoaders& loaders = run_.loaders.validation;
  // Given to fit(), or asked for.
  if (loaders.empty()) {
    loaders = ask_for_loaders(run_, data_hooks::val_dataloader, module_hooks::val_dataloader);
  }
  if (!loaders.empty() && overfits(run_.context.options.user)) use_training_batches();
  loaders = with_parts_of_sequences(loaders);
  const BatchLimit& limit = run_.context.options.user.limit_val_batches;
  if (!leaves_none(limit)) check_limits(run_, loaders, limit, val_limit_name(run_));
  run_.loaders.validation_epoch = loaders_epoch(run_);
}

void EvaluationLoop::reload_validation() {
  if (run_.loaders.validation_given || run_.loaders.validation_epoch == loaders_epoch(run_)) return;
  run_.loaders.validation = {};
  run_.loaders.validation_epoch.reset();
  prepare_validation();
}

void EvaluationLoop::use_training_batches() {
  prepare_training_loader(run_);
  // A validation may run while the training loader is in the middle of its epoch.
  std::shared_ptr<BatchSource> copy = run_.loaders.train_loader().copy();
  LIGHTNING_CHECK(copy != nullptr, ConfigError, "Trainer: overfit_batches is ",
                  run_.context.options.user.overfit_batches.to_text(),
                  " and the training data is a stream, expected a data set with an index: the "
                  "validation reads the same batches. HINT: leave out the validation data.");
  run_.loaders.validation = DataLoaders(std::move(copy));
}

void EvaluationLoop::run_sanity_check() {
  const int64_t steps = run_.context.options.user.num_sanity_val_steps;
  if (steps == 0) return;
  sanity_checking_ = true;
  const GeneratorState generators = GeneratorState::capture();
  call_callbacks(run_, hooks::on_sanity_check_start);
  prepare_validation();
  if (enabled()) {
    const auto at_most = steps == -1 ? std::nullopt : std::optional<int64_t>(steps);
    const bool completed = run_pass(Kind::kValidation, run_.loaders.validation,
                                    run_.context.options.user.limit_val_batches, at_most,
                                    /*may_stop=*/true);
    sanity_checked_ = completed && has_step_ && batches_run_ > 0;
  }
  call_callbacks(run_, hooks::on_sanity_check_end);
  generators.restore();
  run_.metrics.evaluation = {};
  run_.metrics.host.clear();
  run_.context.module->registered_metrics().reset();
  sanity_checking_ = false;
}

bool EvaluationLoop::run_validation(bool may_stop) {
  reload_validation();
  const GeneratorState generators = GeneratorState::capture();
  const std::vector<int64_t> batches = run_.progress.validation_batches;
  MetricRegistry& registered = run_.context.module->registered_metrics();
  const StateDict metric_states = registered.state_dict();
  const auto give_up = [&] {
    // The run that resumes does it all again, and cuts the rows that were written.
    generators.restore();
    registered.load_state_dict(metric_states);
    run_.progress.validation_batches = batches;
  };
  bool completed = false;
  try {
    completed = run_pass(Kind::kValidation, run_.loaders.validation,
                         run_.context.options.user.limit_val_batches, std::nullopt, may_stop);
  } catch (const MetricNameError&) {
    give_up();
    throw;
  }
  if (completed) {
    run_.progress.validated = true;
    run_.metrics.saved_positions.reset();
  } else {
    give_up();
  }
  return completed;
}

std::vector<MetricMap> EvaluationLoop::run_evaluation() {
  const bool test = run_.context.stage == Stage::kTest;
  const TrainerOptions& options = run_.context.options.user;
  run_pass(test ? Kind::kTest : Kind::kValidation, run_.loaders.evaluation,
           test ? options.limit_test_batches : options.limit_val_batches, std::nullopt,
           /*may_stop=*/false);
  MetricMap metrics;
  read_row(run_.metrics.evaluation.callback_row(), metrics);
  return split_by_loader(metrics, run_.loaders.evaluation.size());
}

bool EvaluationLoop::run_pass(const Kind& kind, DataLoaders& loaders, const BatchLimit& limit,
                              std::optional<int64_t> at_most, bool may_stop) {
  LightningModule& module = *run_.context.module;
  validating_ = kind.step == &LightningModule::validation_step;
  module.attach(&run_.context.trainer, &run_.metrics.evaluation);
  run_.metrics.evaluation.reset_epoch();
  batches_run_ = 0;
  start_pass(kind);
  const bool completed = run_batches(kind, loaders, limit, at_most, may_stop);
  end_pass(kind, completed);
  module.attach(&run_.context.trainer, &run_.metrics.train);
  validating_ = false;
  if (completed && batches_run_ == 0 && at_most != 0) {
    warn_of_empty_pass(run_, kind.name, loaders, limit, kind.limit_name);
  }
  return completed;
}

void EvaluationLoop::start_pass(const Kind& kind) {
  {
    const auto phase = enter(kind.start, {});
    call_module(run_, kind.model_eval);
    call_hooks(run_, kind.on_start);
  }
  const auto phase = enter(kind.epoch_start, epoch_scope());
  call_hooks(run_, kind.on_epoch_start);
  // Callbacks may have put other weights there.
  run_.context.strategy->synchronize_buffers();
}

void EvaluationLoop::end_pass(const Kind& kind, bool completed) {
  if (completed) {
    const auto phase = enter(kind.epoch_end, epoch_scope());
    call_hooks(run_, kind.on_epoch_end);
    run_.metrics.reduce(run_.metrics.evaluation, MetricLog::Level::kEpoch, kind.run_step.name);
    // Also on a rank that had no batch: all must take part.
    if (run_.context.stage == Stage::kFit) {
      check_metrics(run_, sanity_checking_ ? MetricsKnown::kAfterSanityCheck
                                           : MetricsKnown::kAfterValidation);
    }
    publish_metrics();
  }
  const auto phase = enter(kind.end, {});
  if (completed) {
    call_hooks(run_, kind.on_end);
    run_.stop.agree();
  }
  call_module(run_, kind.model_train);
}

Profiled EvaluationLoop::enter(const Phase& phase, const MetricLog::Scope& scope) {
  return run_.phases.enter(phase, run_.progress, run_.metrics.evaluation, scope);
}

bool EvaluationLoop::run_batches(const Kind& kind, DataLoaders& loaders, const BatchLimit& limit,
                                 std::optional<int64_t> at_most, bool may_stop) {
  // fit continues with the same tensors after a validation; inference tensors could not be trained
  // on.
  const bool inside_fit = run_.context.stage == Stage::kFit;
  const bool inference_mode = run_.context.options.user.inference_mode;
  const c10::InferenceMode inference(/*enabled=*/!inside_fit && inference_mode);
  const at::NoGradGuard no_grad;
  const auto precision = run_.context.precision->forward_context();

  for (int64_t loader_idx = 0; loader_idx < loaders.size(); ++loader_idx) {
    BatchSource& loader = loaders[loader_idx];
    loader.set_shard(run_.context.shard(UnevenInputs::kExact));
    const std::string_view limit_name = validating_ ? val_limit_name(run_) : kind.limit_name;
    place_.num_batches = limited_batches(limit, loader, limit_name);
    if (at_most) {
      place_.num_batches =
          std::min(*at_most, place_.num_batches.value_or(std::numeric_limits<int64_t>::max()));
    }
    loader.begin_epoch(run_.progress.epoch);
    for (int64_t i = 0; !place_.num_batches || i < *place_.num_batches; ++i) {
      if (may_stop) run_.stop.at_boundary();
      if (may_stop && run_.stop.signal() != 0) return false;
      std::optional<Batch> batch = next_batch(run_, loader, validating_ ? "val_next" : "test_next");
      // Other ranks may have one more batch: all pass the same boundaries.
      if (!batch && place_.num_batches && run_.context.world != nullptr) continue;
      if (!batch) break;
      batch->set_dataloader_idx(loader_idx);
      place_.batch_idx = i;
      ++batches_run_;
      evaluate_batch(kind, *batch, i);
      if (!has_step_) return true;
    }
  }
  return true;
}

void EvaluationLoop::evaluate_batch(const Kind& kind, const Batch& loaded, int64_t batch_idx) {
  LightningModule& module = *run_.context.module;
  Batch batch = transfer_batch(run_, loaded);
  batch.set_dataloader_idx(loaded.dataloader_idx());

  const bool inside_fit = run_.context.stage == Stage::kFit;
  const DataLoaders& loaders = inside_fit ? run_.loaders.validation : run_.loaders.evaluation;
  MetricLog::Scope scope;
  scope.allowed = true;
  scope.on_epoch = true;
  scope.batch_size = static_cast<double>(std::max<int64_t>(batch.batch_size(), 1));
  scope.dataloader_idx = loaders.size() > 1 ? batch.dataloader_idx() : -1;
  {
    const auto phase = enter(kind.batch_start, scope);
    call_hooks(run_, kind.on_batch_start, batch, batch_idx);
  }
  module.reset_base_body();
  {
    const auto phase = enter(kind.run_step, scope);
    (module.*kind.step)(batch, batch_idx);
  }
  if (module.base_body_ran()) {
    has_step_ = false;
    log_warning(
        "Trainer: there is validation data and validation_step() is not overridden; "
        "validation is skipped.");
  }
  {
    const auto phase = enter(kind.batch_end, scope);
    call_hooks(run_, kind.on_batch_end, batch, batch_idx);
  }
  module.set_step_outputs({});
  send_step_row(batch.dataloader_idx());
}

void prepare_evaluation_loaders(RunState& run) {
  const Stage stage = run.context.stage;
  const auto& of_data = stage == Stage::kTest      ? data_hooks::test_dataloader
                        : stage == Stage::kPredict ? data_hooks::predict_dataloader
                                                   : data_hooks::val_dataloader;
  const auto& of_module = stage == Stage::kTest      ? module_hooks::test_dataloader
                          : stage == Stage::kPredict ? module_hooks::predict_dataloader
                                                     : module_hooks::val_dataloader;
  DataLoaders& loaders = run.loaders.evaluation;
  if (loaders.empty()) loaders = call_data_module(run, of_data);
  if (loaders.empty()) loaders = call_module(run, of_module);
  LIGHTNING_CHECK(!loaders.empty(), ConfigError, "Trainer: there is no data, ", to_string(stage),
                  "() needs it. HINT: pass a DataLoader or a data module, or override ",
                  of_module.name, "().");
  loaders = with_parts_of_sequences(loaders);
  const TrainerOptions& user = run.context.options.user;
  if (stage == Stage::kTest) {
    check_limits(run, loaders, user.limit_test_batches, "limit_test_batches");
  } else if (stage == Stage::kPredict) {
    check_limits(run, loaders, user.limit_predict_batches, "limit_predict_batches");
  } else {
    check_limits(run, loaders, user.limit_val_batches, val_limit_name(run));
  }
}

void EvaluationLoop::send_step_row(int64_t dataloader_idx) {
  if (sanity_checking_) return;
  const bool inside_fit = run_.context.stage == Stage::kFit;
  std::vector<int64_t>& batches = inside_fit ? run_.progress.validation_batches : batches_;
  const auto loader = static_cast<size_t>(dataloader_idx);
  if (batches.size() <= loader) batches.resize(loader + 1);
  const int64_t place = batches[loader]++;
  LoggedRow row = run_.metrics.evaluation.take_step_row();
  if (row.empty()) return;
  std::optional<StateDict>& saved_positions = run_.metrics.saved_positions;
  if (inside_fit && !saved_positions) saved_positions = run_.metrics.connector.positions();
  run_.metrics.connector.send(std::move(row), place, run_.progress.epoch);
}

void EvaluationLoop::publish_metrics() {
  run_.metrics.evaluation.end_epoch(run_.progress.global_step);
  run_.metrics.host.merge(run_.metrics.evaluation.callback_row());
  if (!sanity_checking_) {
    run_.metrics.connector.send(run_.metrics.evaluation.epoch_row(), run_.progress.global_step,
                                run_.progress.epoch);
  }
}

}  // namespace lightning
