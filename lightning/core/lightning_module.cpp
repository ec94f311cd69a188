#include <lightning/core/lightning_module.h>

#include <ATen/Functions.h>
#include <torch/optim/optimizer.h>

#include <lightning/core/detail/metric_registry.h>
#include <lightning/metrics/metric.h>
#include <lightning/optim/grad_utils.h>
#include <lightning/util/error.h>
#include <lightning/util/log.h>

namespace lightning {

StepOutput::StepOutput(at::Tensor loss_value, double loss_weight)
    : loss(std::move(loss_value)), weight(at::scalar_tensor(loss_weight, at::kDouble)) {}

LightningModule::LightningModule() : registered_metrics_(std::make_shared<MetricRegistry>()) {}
LightningModule::~LightningModule() = default;

StepOutput LightningModule::training_step(const Batch&, int64_t) {
  throw ConfigError(
      "LightningModule: training_step() is not overridden, fit() needs it. HINT: return the loss "
      "of the batch from it, and check the signature (const Batch&, int64_t).");
}

void LightningModule::validation_step(const Batch&, int64_t) { mark_base_body(); }

void LightningModule::test_step(const Batch&, int64_t) {
  throw ConfigError(
      "LightningModule: test_step() is not overridden, test() needs it. HINT: log the metrics of "
      "the batch in it, and check the signature (const Batch&, int64_t).");
}

Batch LightningModule::predict_step(const Batch&, int64_t) {
  throw ConfigError(
      "LightningModule: predict_step() is not overridden, predict() needs it. HINT: return the "
      "predictions as a Batch, and check the signature (const Batch&, int64_t).");
}

OptimizerList LightningModule::configure_optimizers() {
  if (!has_trainer()) return {};
  const OptimizerSpecs& specs = trainer().optimizer_specs();
  LIGHTNING_CHECK(!specs.optimizer.empty() || specs.lr_scheduler.empty(), ConfigError,
                  "LightningModule: the LR scheduler ", specs.lr_scheduler.class_path(),
                  " is named and no optimizer, expected both. HINT: name an optimizer, too.");
  if (specs.optimizer.empty()) return {};
  std::vector<torch::optim::OptimizerParamGroup> groups;
  // What is frozen by now may join later in a group of its own (BaseFinetuning).
  std::vector<at::Tensor> trainable;
  for (at::Tensor& parameter : parameters()) {
    if (parameter.requires_grad()) trainable.push_back(std::move(parameter));
  }
  groups.emplace_back(trainable.empty() ? parameters() : std::move(trainable));
  OptimizerConfig config{.optimizer = specs.optimizer.create(std::move(groups))};
  if (specs.lr_scheduler.empty()) return config;
  optim::LRSchedulerContext context{.optimizer = config.optimizer, .total_steps = 0};
  try {
    context.total_steps = trainer().estimated_stepping_batches();
  } catch (const ConfigError&) {
    // Unknown: schedules that need it say so.
  }
  const auto scheduler = specs.lr_scheduler.create(context);
  config.lr_scheduler =
      LRSchedulerConfig{.scheduler = scheduler,
                        .interval = scheduler->counts_steps() ? Interval::kStep : Interval::kEpoch};
  return config;
}

Batch LightningModule::transfer_batch_to_device(Batch batch, at::Device device) {
  // Only copies out of pinned memory really run behind the host's back; others are waited for.
  return batch.to(device, /*non_blocking=*/true);
}

void LightningModule::on_validation_model_zero_grad() { zero_grad(/*set_to_none=*/true); }

void LightningModule::backward(const at::Tensor& loss) { loss.backward(); }

void LightningModule::optimizer_zero_grad(torch::optim::Optimizer& optimizer) {
  optimizer.zero_grad(/*set_to_none=*/true);
}

void LightningModule::optimizer_step(int64_t, int64_t, torch::optim::Optimizer&,
                                     const std::function<void()>& step) {
  step();
}

void LightningModule::configure_gradient_clipping(torch::optim::Optimizer& optimizer,
                                                  std::optional<double> gradient_clip_val,
                                                  GradientClipAlgorithm algorithm) {
  if (gradient_clip_val) clip_gradients(optimizer, *gradient_clip_val, algorithm);
}

void LightningModule::lr_scheduler_step(optim::LRScheduler& scheduler,
                                        std::optional<double> metric) {
  metric ? scheduler.step(*metric) : scheduler.step();
}

LightningOptimizer& LightningModule::optimizer(size_t index) {
  return trainer().lightning_optimizer(index);
}

optim::LRScheduler& LightningModule::lr_scheduler(size_t optimizer, size_t index) {
  const auto& configs = trainer().optimizers();
  LIGHTNING_CHECK(
      optimizer < configs.size() && index < configs[optimizer].lr_scheduler.size(), ConfigError,
      "LightningModule: lr_scheduler(", optimizer, ", ", index, ") was asked for, and of the ",
      configs.size(),
      " optimizers that configure_optimizers() gave none has this index and as many schedules. "
      "HINT: give the optimizer a schedule in OptimizerConfig.");
  return *configs[optimizer].lr_scheduler[index].scheduler;
}

void LightningModule::manual_backward(const at::Tensor& loss, Sync sync) {
  trainer().manual_backward(loss, sync);
}

bool LightningModule::records(const LogOptions& options) const {
  if (metric_log_ == nullptr) {
    log_warning("LightningModule: log() was called without a Trainer; nothing is recorded.");
    return false;
  }
  return !options.rank_zero_only || trainer().is_global_zero();
}

void LightningModule::log(std::string_view name, const at::Tensor& value,
                          const LogOptions& options) {
  if (records(options)) metric_log_->record(name, value, options);
}

void LightningModule::log(std::string_view name, double value, const LogOptions& options) {
  if (records(options)) metric_log_->record(name, value, options);
}

void LightningModule::log(std::string_view name, metrics::Metric& metric,
                          const LogOptions& options) {
  // The other ranks' states would never be reset, and could reach a resumed run of fewer ranks.
  LIGHTNING_CHECK(!options.rank_zero_only, ConfigError, "log: \"", name, "\" is a metric (",
                  metric.name(),
                  ") and was logged with rank_zero_only, expected a metric that all ranks log. "
                  "HINT: use sync_dist = false for each rank's own value.");
  if (!records(options)) return;
  const std::string& registered =
      registered_metrics_->note_logged(metric, *metric_log_, metric_log_->full_name(name, options));
  metric_log_->record(name, metric, registered, options);
}

void LightningModule::log(std::string_view name, const std::shared_ptr<metrics::Metric>& metric,
                          const LogOptions& options) {
  LIGHTNING_CHECK(metric != nullptr, ConfigError, "log: \"", name,
                  "\" is a null metric, expected a registered one. HINT: make it in the module's "
                  "constructor.");
  log(name, *metric, options);
}

void LightningModule::log_dict(std::initializer_list<std::pair<std::string_view, LogValue>> values,
                               const LogOptions& options) {
  for (const auto& [name, value] : values) {
    std::visit([&, log_name = name](const auto& one) { log(log_name, one, options); }, value);
  }
}

void LightningModule::log_dict(const std::map<std::string, at::Tensor>& values,
                               const LogOptions& options) {
  for (const auto& [name, value] : values) log(name, value, options);
}

void LightningModule::add_metric(std::string name, std::shared_ptr<metrics::Metric> metric) {
  registered_metrics_->add(std::move(name), std::move(metric));
}

void LightningModule::set_step_outputs(Batch outputs) { step_outputs_ = std::move(outputs); }

void LightningModule::freeze() {
  for (at::Tensor& parameter : parameters()) parameter.requires_grad_(false);
  eval();
}

void LightningModule::unfreeze() {
  for (at::Tensor& parameter : parameters()) parameter.requires_grad_(true);
  train();
}

void LightningModule::print(std::string_view line) { trainer().print(line); }

TrainerContext& LightningModule::trainer() const {
  LIGHTNING_CHECK(trainer_ != nullptr, ConfigError,
                  "LightningModule: trainer() was called on a module that is not attached to a "
                  "Trainer. HINT: call it inside hooks only, or check has_trainer() first.");
  return *trainer_;
}

at::Device LightningModule::device() const {
  const auto all = parameters();
  return all.empty() ? at::Device(at::kCPU) : all.front().device();
}

void LightningModule::attach(TrainerContext* trainer, MetricLog* metric_log) {
  trainer_ = trainer;
  metric_log_ = metric_log;
}

}  // namespace lightning
