#include <lightning/loops/evaluation_loop.h>

#include <algorithm>
#include <limits>
#include <utility>

#include <ATen/core/grad_mode.h>
#include <c10/core/InferenceMode.h>

#include <lightning/loops/batch_transfer.h>
#include <lightning/loops/checkpoint_connector.h>
#include <lightning/run/detail/generator_state.h>
#include <lightning/util/error.h>
#include <lightning/util/log.h>

namespace lightning {

bool leaves_none(const BatchLimit& limit) {
  return limit.is_count() ? limit.count() == 0 : limit.fraction() == 0.0;
}

std::optional<int64_t> limited_batches(const BatchLimit& limit, const DataLoader& loader,
                                       std::string_view option) {
  const std::optional<int64_t> available = loader.num_batches();
  const std::optional<int64_t> batches = limit.resolve(available, option);
  LIGHTNING_CHECK(batches != 0 || leaves_none(limit) || available == 0, ConfigError,
                  "Trainer: ", option, " is ", limit.to_text(), " of ", available.value_or(0),
                  " batches, which leaves none. HINT: use a number of batches instead of a share.");
  return batches;
}

struct EvaluationLoop::Kind {
  const char* step_name;
  std::string_view limit_name;
  void (LightningModule::*step)(const Batch&, int64_t);
  void (LightningModule::*model_eval)();
  void (LightningModule::*model_train)();
  void (LightningModule::*start)();
  void (LightningModule::*end)();
  void (LightningModule::*epoch_start)();
  void (LightningModule::*epoch_end)();
  void (LightningModule::*batch_start)(const Batch&, int64_t);
  void (LightningModule::*batch_end)(const Batch&, int64_t);
  void (Callback::*callback_start)(TrainerContext&, LightningModule&);
  void (Callback::*callback_end)(TrainerContext&, LightningModule&);
  void (Callback::*callback_epoch_start)(TrainerContext&, LightningModule&);
  void (Callback::*callback_epoch_end)(TrainerContext&, LightningModule&);
  void (Callback::*callback_batch_start)(TrainerContext&, LightningModule&, const Batch&, int64_t);
  void (Callback::*callback_batch_end)(TrainerContext&, LightningModule&, const Batch&, int64_t);

  static const Kind kValidation;
  static const Kind kTest;
};

const EvaluationLoop::Kind EvaluationLoop::Kind::kValidation = {
    .step_name = "validation_step",
    .limit_name = "limit_val_batches",
    .step = &LightningModule::validation_step,
    .model_eval = &LightningModule::on_validation_model_eval,
    .model_train = &LightningModule::on_validation_model_train,
    .start = &LightningModule::on_validation_start,
    .end = &LightningModule::on_validation_end,
    .epoch_start = &LightningModule::on_validation_epoch_start,
    .epoch_end = &LightningModule::on_validation_epoch_end,
    .batch_start = &LightningModule::on_validation_batch_start,
    .batch_end = &LightningModule::on_validation_batch_end,
    .callback_start = &Callback::on_validation_start,
    .callback_end = &Callback::on_validation_end,
    .callback_epoch_start = &Callback::on_validation_epoch_start,
    .callback_epoch_end = &Callback::on_validation_epoch_end,
    .callback_batch_start = &Callback::on_validation_batch_start,
    .callback_batch_end = &Callback::on_validation_batch_end,
};

const EvaluationLoop::Kind EvaluationLoop::Kind::kTest = {
    .step_name = "test_step",
    .limit_name = "limit_test_batches",
    .step = &LightningModule::test_step,
    .model_eval = &LightningModule::on_test_model_eval,
    .model_train = &LightningModule::on_test_model_train,
    .start = &LightningModule::on_test_start,
    .end = &LightningModule::on_test_end,
    .epoch_start = &LightningModule::on_test_epoch_start,
    .epoch_end = &LightningModule::on_test_epoch_end,
    .batch_start = &LightningModule::on_test_batch_start,
    .batch_end = &LightningModule::on_test_batch_end,
    .callback_start = &Callback::on_test_start,
    .callback_end = &Callback::on_test_end,
    .callback_epoch_start = &Callback::on_test_epoch_start,
    .callback_epoch_end = &Callback::on_test_epoch_end,
    .callback_batch_start = &Callback::on_test_batch_start,
    .callback_batch_end = &Callback::on_test_batch_end,
};

bool EvaluationLoop::enabled() const {
  return has_step_ && !run_.val_loaders.empty() &&
         !leaves_none(run_.options.user.limit_val_batches);
}

void EvaluationLoop::prepare_validation() {
  if (std::exchange(run_.val_loaders_ready, true)) return;
  if (!run_.val_loaders.empty()) return;  // given to fit()
  run_.val_loaders = run_.data_module ? run_.data_module->val_dataloader() : DataLoaders();
  if (run_.val_loaders.empty()) run_.val_loaders = run_.module->val_dataloader();
}

void EvaluationLoop::run_sanity_check() {
  const int64_t steps = run_.options.user.num_sanity_val_steps;
  if (steps == 0) return;
  run_.sanity_checking = true;
  const GeneratorState generators = GeneratorState::capture();
  call_callbacks(run_, &Callback::on_sanity_check_start);
  prepare_validation();
  if (enabled()) {
    const auto at_most = steps == -1 ? std::nullopt : std::optional<int64_t>(steps);
    run_pass(Kind::kValidation, run_.val_loaders, run_.options.user.limit_val_batches, at_most,
             /*may_stop=*/true);
  }
  call_callbacks(run_, &Callback::on_sanity_check_end);
  generators.restore();
  run_.eval_metrics = {};
  run_.host_metrics.clear();
  run_.sanity_checking = false;
}

bool EvaluationLoop::run_validation(bool may_stop) {
  const GeneratorState generators = GeneratorState::capture();
  const std::vector<int64_t> batches = run_.progress.validation_batches;
  const bool completed = run_pass(Kind::kValidation, run_.val_loaders,
                                  run_.options.user.limit_val_batches, std::nullopt, may_stop);
  if (completed) {
    run_.validated = true;
    run_.logger_positions.reset();
  } else {
    // The run that resumes does it all again, and cuts the rows that were written.
    generators.restore();
    run_.progress.validation_batches = batches;
  }
  return completed;
}

std::vector<MetricMap> EvaluationLoop::run_evaluation() {
  const bool test = run_.stage == Stage::kTest;
  const TrainerOptions& options = run_.options.user;
  run_pass(test ? Kind::kTest : Kind::kValidation, run_.eval_loaders,
           test ? options.limit_test_batches : options.limit_val_batches, std::nullopt,
           /*may_stop=*/false);
  MetricMap metrics;
  read_row(run_.eval_metrics.callback_row(), metrics);
  return split_by_loader(metrics, run_.eval_loaders.size());
}

bool EvaluationLoop::run_pass(const Kind& kind, DataLoaders& loaders, const BatchLimit& limit,
                              std::optional<int64_t> at_most, bool may_stop) {
  LightningModule& module = *run_.module;
  run_.validating = kind.step == &LightningModule::validation_step;
  module.attach(&run_.context, &run_.eval_metrics);
  run_.eval_metrics.reset_epoch();
  run_.enter_section(DryRun::kValidation);
  run_.set_status(kind.step == &LightningModule::validation_step ? "validation_step" : "test_step");
  run_.strategy->synchronize_buffers();

  (module.*kind.model_eval)();
  call_callbacks(run_, kind.callback_start);
  (module.*kind.start)();
  enter_epoch_scope("an epoch start hook");
  call_callbacks(run_, kind.callback_epoch_start);
  (module.*kind.epoch_start)();

  const bool completed = run_batches(kind, loaders, limit, at_most, may_stop);
  if (completed) {
    enter_epoch_scope("an epoch end hook");
    call_callbacks(run_, kind.callback_epoch_end);
    (module.*kind.epoch_end)();
    run_.reduce_metrics(run_.eval_metrics, MetricLog::Level::kEpoch, kind.step_name);
    publish_metrics();
  }
  run_.eval_metrics.enter({.hook = "an end hook"});
  if (completed) {
    call_callbacks(run_, kind.callback_end);
    (module.*kind.end)();
    run_.stop.agree();
  }
  (module.*kind.model_train)();
  module.attach(&run_.context, &run_.train_metrics);
  run_.validating = false;
  return completed;
}

bool EvaluationLoop::run_batches(const Kind& kind, DataLoaders& loaders, const BatchLimit& limit,
                                 std::optional<int64_t> at_most, bool may_stop) {
  // fit goes on with the same tensors after a validation; inference tensors could not be trained
  // on.
  const bool inside_fit = run_.stage == Stage::kFit;
  const c10::InferenceMode inference(/*enabled=*/!inside_fit);
  const at::NoGradGuard no_grad;
  const auto precision = run_.precision->forward_context();

  for (int64_t loader_idx = 0; loader_idx < loaders.size(); ++loader_idx) {
    DataLoader& loader = loaders[loader_idx];
    loader.set_shard(run_.shard(UnevenInputs::kExact));
    run_.num_eval_batches = limited_batches(limit, loader, kind.limit_name);
    if (at_most) {
      run_.num_eval_batches =
          std::min(*at_most, run_.num_eval_batches.value_or(std::numeric_limits<int64_t>::max()));
    }
    loader.begin_epoch(run_.progress.epoch);
    run_.set_status(kind.step_name);
    for (int64_t i = 0; !run_.num_eval_batches || i < *run_.num_eval_batches; ++i) {
      if (may_stop) run_.stop.at_boundary();
      if (may_stop && run_.pending_signal() != 0) return false;
      std::optional<Batch> batch = loader.next();
      // Other ranks may have one more batch: all pass the same boundaries.
      if (!batch && run_.num_eval_batches && run_.world != nullptr) continue;
      if (!batch) break;
      batch->set_dataloader_idx(loader_idx);
      run_.eval_batch_idx = i;
      evaluate_batch(kind, *batch, i);
      if (!has_step_) return true;
    }
  }
  return true;
}

void EvaluationLoop::evaluate_batch(const Kind& kind, const Batch& loaded, int64_t batch_idx) {
  LightningModule& module = *run_.module;
  Batch batch = transfer_batch(module, *run_.precision, run_.options.device, loaded);
  batch.set_dataloader_idx(loaded.dataloader_idx());

  const DataLoaders& loaders = run_.stage == Stage::kFit ? run_.val_loaders : run_.eval_loaders;
  MetricLog::Scope scope;
  scope.hook = kind.step_name;
  scope.allowed = true;
  scope.on_epoch = true;
  scope.batch_size = static_cast<double>(std::max<int64_t>(batch.batch_size(), 1));
  scope.dataloader_idx = loaders.size() > 1 ? batch.dataloader_idx() : -1;
  run_.eval_metrics.enter(scope);

  call_callbacks(run_, kind.callback_batch_start, batch, batch_idx);
  (module.*kind.batch_start)(batch, batch_idx);
  module.reset_base_body();
  (module.*kind.step)(batch, batch_idx);
  if (module.base_body_ran()) {
    has_step_ = false;
    log_warning(
        "Trainer: there is validation data and validation_step() is not overridden; "
        "validation is left out.");
  }
  call_callbacks(run_, kind.callback_batch_end, batch, batch_idx);
  (module.*kind.batch_end)(batch, batch_idx);
  send_step_row(batch.dataloader_idx());
}

void prepare_evaluation_loaders(RunState& run) {
  const auto ask = [&run](auto& source) {
    switch (run.stage) {
      case Stage::kTest:
        return source.test_dataloader();
      case Stage::kPredict:
        return source.predict_dataloader();
      default:
        return source.val_dataloader();
    }
  };
  if (run.eval_loaders.empty() && run.data_module) run.eval_loaders = ask(*run.data_module);
  if (run.eval_loaders.empty()) run.eval_loaders = ask(*run.module);
  const char* hook = run.stage == Stage::kTest      ? "test_dataloader()"
                     : run.stage == Stage::kPredict ? "predict_dataloader()"
                                                    : "val_dataloader()";
  LIGHTNING_CHECK(!run.eval_loaders.empty(), ConfigError, "Trainer: there is no data, ",
                  to_string(run.stage),
                  "() needs it. HINT: pass a DataLoader or a data module, or "
                  "override ",
                  hook, ".");
}

void EvaluationLoop::enter_epoch_scope(std::string_view hook) {
  MetricLog::Scope scope;
  scope.hook = hook;
  scope.allowed = true;
  scope.on_epoch = true;
  scope.in_step = false;
  run_.eval_metrics.enter(scope);
}

void EvaluationLoop::send_step_row(int64_t dataloader_idx) {
  if (run_.sanity_checking) return;
  const bool inside_fit = run_.stage == Stage::kFit;
  std::vector<int64_t>& batches = inside_fit ? run_.progress.validation_batches : batches_;
  const auto loader = static_cast<size_t>(dataloader_idx);
  if (batches.size() <= loader) batches.resize(loader + 1);
  const int64_t place = batches[loader]++;
  LoggedRow row = run_.eval_metrics.take_step_row();
  if (row.empty()) return;
  if (inside_fit && !run_.logger_positions) run_.logger_positions = logger_positions(run_);
  run_.logger_connector.send(std::move(row), place, run_.progress.epoch);
}

void EvaluationLoop::publish_metrics() {
  run_.host_metrics.merge(run_.eval_metrics.callback_row());
  if (!run_.sanity_checking) {
    run_.logger_connector.send(run_.eval_metrics.epoch_row(), run_.progress.global_step,
                               run_.progress.epoch);
  }
}

}  // namespace lightning
