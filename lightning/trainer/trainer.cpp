#include <lightning/trainer/trainer.h>

#include <utility>

#include <lightning/collectives/detail/gather_ranks.h>
#include <lightning/loops/evaluation_loop.h>
#include <lightning/trainer/detail/trainer_impl.h>
#include <lightning/util/log.h>

namespace lightning {

Trainer::Trainer(TrainerOptions options, TrainerParts parts)
    : impl_(std::make_unique<Impl>(*this, std::move(options), std::move(parts))) {}
Trainer::Trainer(TrainerOptions options, Callbacks callbacks, std::optional<Loggers> loggers)
    : Trainer(std::move(options),
              TrainerParts{.callbacks = std::move(callbacks), .loggers = std::move(loggers)}) {}
Trainer::~Trainer() = default;

void Trainer::fit(std::shared_ptr<LightningModule> module,
                  std::shared_ptr<LightningDataModule> data_module, RunArguments arguments) {
  impl_->fit(std::move(module), std::move(data_module), {}, {}, arguments);
}
void Trainer::fit(std::shared_ptr<LightningModule> module, DataLoaders train, DataLoaders val,
                  RunArguments arguments) {
  impl_->fit(std::move(module), nullptr, std::move(train), std::move(val), arguments);
}
std::vector<MetricMap> Trainer::validate(std::shared_ptr<LightningModule> module,
                                         std::shared_ptr<LightningDataModule> data_module,
                                         RunArguments arguments) {
  return impl_->measure(Stage::kValidate, std::move(module), std::move(data_module), {}, arguments);
}
std::vector<MetricMap> Trainer::validate(std::shared_ptr<LightningModule> module,
                                         DataLoaders loaders, RunArguments arguments) {
  return impl_->measure(Stage::kValidate, std::move(module), nullptr, std::move(loaders),
                        arguments);
}
std::vector<MetricMap> Trainer::test(std::shared_ptr<LightningModule> module,
                                     std::shared_ptr<LightningDataModule> data_module,
                                     RunArguments arguments) {
  return impl_->measure(Stage::kTest, std::move(module), std::move(data_module), {}, arguments);
}
std::vector<MetricMap> Trainer::test(std::shared_ptr<LightningModule> module, DataLoaders loaders,
                                     RunArguments arguments) {
  return impl_->measure(Stage::kTest, std::move(module), nullptr, std::move(loaders), arguments);
}
void Trainer::predict(std::shared_ptr<LightningModule> module,
                      std::shared_ptr<LightningDataModule> data_module, const PredictionSink& sink,
                      RunArguments arguments) {
  impl_->predict(std::move(module), std::move(data_module), {}, sink, arguments);
}
void Trainer::predict(std::shared_ptr<LightningModule> module, DataLoaders loaders,
                      const PredictionSink& sink, RunArguments arguments) {
  impl_->predict(std::move(module), nullptr, std::move(loaders), sink, arguments);
}

void Trainer::set_config(std::string yaml, std::string program) {
  impl_->set_config(std::move(yaml), std::move(program));
}
const ResolvedOptions& Trainer::options() const { return impl_->options(); }

Stage Trainer::stage() const { return impl_->session().context.stage; }
bool Trainer::sanity_checking() const { return impl_->session().evaluation.sanity_checking(); }
bool Trainer::validating() const { return impl_->session().evaluation.validating(); }
int64_t Trainer::global_step() const { return impl_->session().state.progress.global_step; }
int64_t Trainer::current_epoch() const { return impl_->session().state.progress.epoch; }
int64_t Trainer::batch_idx() const {
  Session& run = impl_->session();
  const bool evaluating = run.evaluation.validating() || run.context.stage != Stage::kFit;
  return evaluating ? run.evaluation.place().batch_idx : run.state.progress.batch_idx;
}
int64_t Trainer::samples_seen() const { return impl_->session().state.progress.samples_seen; }
std::optional<int64_t> Trainer::num_training_batches() const {
  const RunState& run = impl_->session().state;
  return run.loaders.train.empty() ? std::nullopt : run.num_training_batches();
}
std::optional<int64_t> Trainer::num_evaluation_batches() const {
  return impl_->session().evaluation.place().num_batches;
}
bool Trainer::validates_once_per_epoch() const {
  const TrainerOptions& user = impl_->options().user;
  const Loaders& loaders = impl_->session().state.loaders;
  const bool never = (loaders.validation_epoch && loaders.validation.empty()) ||
                     leaves_none(user.limit_val_batches);
  return never || (user.val_check_interval == BatchLimit(1.0) && user.check_val_every_n_epoch == 1);
}
bool Trainer::awaits_validation() const {
  const Session& run = impl_->session();
  return run.context.stage == Stage::kFit && run.evaluation.enabled() &&
         !run.state.progress.validated;
}
bool Trainer::validation_follows() const {
  const RunState& run = impl_->session().state;
  return run.validation_follows && run.validation_follows();
}
bool Trainer::epoch_completed() const { return impl_->session().state.epoch_completed; }
std::optional<int64_t> Trainer::max_epochs() const {
  const int64_t epochs = impl_->options().max_epochs;
  return epochs == -1 ? std::nullopt : std::optional<int64_t>(epochs);
}
std::optional<int64_t> Trainer::max_steps() const {
  const int64_t steps = impl_->options().max_steps;
  return steps == -1 ? std::nullopt : std::optional<int64_t>(steps);
}
int64_t Trainer::estimated_stepping_batches() { return impl_->estimated_stepping_batches(); }
int64_t Trainer::global_rank() const { return impl_->options().topology.global_rank; }
int64_t Trainer::local_rank() const { return impl_->options().topology.local_rank; }
int64_t Trainer::node_rank() const { return impl_->options().topology.node_rank; }
int64_t Trainer::world_size() const { return impl_->options().topology.world_size; }
std::vector<std::string> Trainer::all_gather_bytes(std::string_view name,
                                                   std::string_view payload) {
  const std::shared_ptr<World>& world = impl_->session().context.world;
  if (world == nullptr) return {std::string(payload)};
  return world->control().all_gather(name, payload);
}
std::vector<StateDict> Trainer::all_gather(std::string_view name, const StateDict& state) {
  const std::shared_ptr<World>& world = impl_->session().context.world;
  if (world == nullptr) return {state};
  return world->all_gather(name, state);
}
at::Tensor Trainer::all_gather(const at::Tensor& tensor, bool sync_grads) {
  const std::shared_ptr<World>& world = impl_->session().context.world;
  return gather_ranks(world == nullptr ? nullptr : world->shared_group(), tensor, sync_grads);
}
at::Device Trainer::device() const { return impl_->options().device; }
LightningModule& Trainer::lightning_module() { return *impl_->session().context.module; }
std::vector<OptimizerConfig>& Trainer::optimizers() { return impl_->session().context.optimizers; }
LightningOptimizer& Trainer::lightning_optimizer(size_t index) {
  return impl_->optimization("optimizer()").manual_optimizer(index);
}
void Trainer::manual_backward(const at::Tensor& loss, Sync sync) {
  impl_->optimization("manual_backward()").manual_backward(loss, sync);
}
int64_t Trainer::accumulate_grad_batches() const {
  return impl_->session().state.accumulate_grad_batches();
}
void Trainer::set_accumulate_grad_batches(int64_t batches) {
  impl_->set_accumulate_grad_batches(batches);
}
void Trainer::renew_statistics_at_end() { impl_->renew_statistics_at_end(); }
const OptimizerSpecs& Trainer::optimizer_specs() const { return impl_->optimizer_specs(); }
const Callbacks& Trainer::callbacks() const { return impl_->session().context.callbacks; }
const Loggers& Trainer::loggers() const { return impl_->session().context.loggers; }
const MetricMap& Trainer::callback_metrics() {
  RunState& run = impl_->session().state;
  if (run.context.stage == Stage::kFit) run.metrics.host.merge(run.metrics.train.callback_row());
  return run.metrics.host.read();
}
std::optional<int64_t> Trainer::metric_step(std::string_view name) const {
  return impl_->session().state.metrics.host.step_of(name);
}
const MetricMap& Trainer::progress_bar_metrics() {
  RunState& run = impl_->session().state;
  return run.metrics.connector.progress_bar(run.metrics.train);
}
const std::filesystem::path& Trainer::run_dir() const { return impl_->run_dir(); }
const std::filesystem::path& Trainer::default_root_dir() const {
  return impl_->options().user.default_root_dir;
}
void Trainer::save_checkpoint(CheckpointRequest request) {
  impl_->save_checkpoint(std::move(request));
}
void Trainer::request_stop(std::string reason) {
  impl_->session().state.stop.request(std::move(reason));
}
void Trainer::skip_rest_of_epoch() { impl_->skip_rest_of_epoch(); }
bool Trainer::should_stop() const { return impl_->session().state.stop.requested(); }
void Trainer::print(std::string_view line) { log_info(line); }

}  // namespace lightning
