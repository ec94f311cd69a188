#include <lightning/callbacks/weight_averaging.h>

#include <cmath>
#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <lightning/callbacks/detail/single_average.h>
#include <lightning/callbacks/detail/weight_copy.h>
#include <lightning/checkpoint/checkpoint.h>
#include <lightning/util/error.h>
#include <lightning/util/log.h>

namespace lightning {
namespace {

constexpr std::string_view kCallbacks = "callbacks/";
/// Below a callback's key: whichever of average and trained weights isn't in the checkpoint's
/// model, and which one that is.
constexpr std::string_view kBeside = "/weights_beside/";
constexpr const char* kModuleHasAverage = "module_has_average";

/// Name of an averaging callback's state in a checkpoint, whatever its key is; empty: it has none,
/// or one before the first update.
std::string state_name(const StateDict& state) {
  for (const auto& [name, value] : state.entries()) {
    if (!name.starts_with(kCallbacks)) continue;
    const size_t slash = name.find('/', kCallbacks.size());
    if (slash != std::string::npos && std::string_view(name).substr(slash).starts_with(kBeside)) {
      return name.substr(0, slash);
    }
  }
  return {};
}

Checkpoint::NamedTensors named_tensors(const StateDict& state) {
  Checkpoint::NamedTensors tensors;
  for (const auto& [name, value] : state.entries()) {
    tensors.emplace_back(name, state.get<at::Tensor>(name));
  }
  return tensors;
}

}  // namespace

class WeightAveraging::Beside : public detail::WeightCopy {
 public:
  /// The copy takes the place of the module's tensors in a checkpoint.
  void replace(Checkpoint::NamedTensors& model) const {
    for (auto& [name, tensor] : model) {
      if (const auto index = find(tensor)) tensor = copy(*index);
    }
  }
};

WeightAveraging::WeightAveraging(const WeightAveragingOptions& options)
    : options_(options), class_name_("WeightAveraging"), beside_(std::make_unique<Beside>()) {}

WeightAveraging::WeightAveraging(const WeightAveragingOptions& options, std::string_view class_name,
                                 double decay)
    : options_(options),
      class_name_(class_name),
      decay_(decay),
      beside_(std::make_unique<Beside>()) {}

WeightAveraging::~WeightAveraging() = default;

bool WeightAveraging::should_update(std::optional<int64_t> step_idx,
                                    std::optional<int64_t> /*epoch_idx*/) const {
  return step_idx.has_value();
}

void WeightAveraging::check_plan(std::optional<int64_t>, std::optional<int64_t>) const {}

void WeightAveraging::setup(TrainerContext& trainer, LightningModule&, Stage stage) {
  // The average belongs to one fit. Outside of one the weights are whatever the module has.
  beside_->drop();
  updates_ = 0;
  latest_update_step_ = 0;
  latest_update_epoch_ = -1;
  counted_ = at::Tensor();
  made_ = at::Tensor();
  certainly_made_ = false;
  module_has_average_ = false;
  if (stage == Stage::kFit) detail::check_single_average(trainer);
}

void WeightAveraging::attach(const LightningModule& module) {
  beside_->attach(module, detail::CopiedWeights::kParametersAndBuffers, options_.use_buffers);
}

void WeightAveraging::on_fit_start(TrainerContext& trainer, LightningModule& module) {
  // With the weights of a checkpoint whose callback has another class or key.
  if (updates_ == 0) beside_->drop();
  attach(module);
  LIGHTNING_CHECK((updates_ > 0) == beside_->exists(), CheckpointError, class_name_,
                  ": the checkpoint has ", updates_,
                  " updates and no average, expected both. HINT: resume from a different "
                  "checkpoint.");
  if (counted_.defined()) counted_ = counted_.to(trainer.device());
}

void WeightAveraging::on_after_optimizer_step(TrainerContext&, LightningModule&,
                                              const OptimizerStep& step) {
  if (!step.skipped.defined()) {
    certainly_made_ = true;
    return;
  }
  const at::NoGradGuard no_grad;
  // Not kept as it is: the next step may overwrite it.
  const at::Tensor made = step.skipped.eq(0).reshape({});
  made_ = made_.defined() ? made_.logical_or(made) : made;
}

void WeightAveraging::on_train_batch_end(TrainerContext& trainer, LightningModule&,
                                         const StepOutput&, const Batch&, int64_t) {
  const int64_t step = trainer.global_step();
  if (std::exchange(certainly_made_, false)) made_ = at::Tensor();
  if (step > latest_update_step_ && should_update(step - 1, std::nullopt)) {
    update();
    latest_update_step_ = step;
  }
  made_ = at::Tensor();
}

void WeightAveraging::on_train_epoch_end(TrainerContext& trainer, LightningModule&) {
  const int64_t epoch = trainer.current_epoch();
  if (epoch <= latest_update_epoch_ || !should_update(std::nullopt, epoch)) return;
  update();
  latest_update_epoch_ = epoch;
}

void WeightAveraging::update() {
  const int64_t before = updates_++;
  if (before == 0) {
    beside_->copy_from_module();
    if (made_.defined()) counted_ = made_.to(at::kLong);
  } else if (made_.defined() || counted_.defined()) {
    if (!counted_.defined()) {
      counted_ = at::full({}, before, made_.options().dtype(at::kLong));
    }
    update_on_device();
  } else {
    beside_->lerp(decay_ ? 1.0 - *decay_ : 1.0 / static_cast<double>(updates_));
  }
}

void WeightAveraging::update_on_device() {
  const at::NoGradGuard no_grad;
  const at::Tensor counted = counted_.to(at::kDouble);
  at::Tensor weight = (counted + 1.0).reciprocal();
  // The first that counts is a copy, also after some that didn't.
  if (decay_) weight = at::where(counted == 0, weight, at::full_like(weight, 1.0 - *decay_));
  if (made_.defined()) {
    weight = weight * made_;
    counted_ = counted_ + made_;
  } else {
    counted_ = counted_ + 1;
  }
  beside_->lerp(weight);
}

void WeightAveraging::exchange() {
  beside_->exchange_with_module();
  module_has_average_ = !module_has_average_;
}

void WeightAveraging::on_validation_epoch_start(TrainerContext&, LightningModule&) {
  if (updates_ > 0 && !module_has_average_) exchange();
}

void WeightAveraging::on_validation_epoch_end(TrainerContext&, LightningModule&) {
  if (module_has_average_) exchange();
}

void WeightAveraging::on_train_end(TrainerContext&, LightningModule&) {
  // Exchanged, not copied: a checkpoint that is written from here on still has the trained ones.
  if (updates_ > 0 && !module_has_average_) exchange();
}

void WeightAveraging::on_exception(TrainerContext& trainer, LightningModule&,
                                   const std::exception&) {
  // In the middle of a validation.
  if (module_has_average_ && trainer.stage() == Stage::kFit) exchange();
}

StateDict WeightAveraging::state_dict() const {
  StateDict state;
  state.set("updates", updates_);
  state.set("latest_update_step", latest_update_step_);
  state.set("latest_update_epoch", latest_update_epoch_);
  if (counted_.defined()) state.set("counted", counted_);
  if (updates_ == 0) return state;
  state.set(kModuleHasAverage, module_has_average_);
  state.set(kBeside.substr(1, kBeside.size() - 2), beside_->state_dict());
  return state;
}

void WeightAveraging::load_state_dict(const StateDict& state) {
  const auto updates = state.get<int64_t>("updates");
  const auto step = state.get<int64_t>("latest_update_step");
  const auto epoch = state.get<int64_t>("latest_update_epoch");
  LIGHTNING_CHECK(updates >= 0 && step >= 0 && epoch >= -1, CheckpointError, class_name_,
                  ": the checkpoint has ", updates, " updates, the latest of them after step ",
                  step, " and epoch ", epoch,
                  ", expected counts. HINT: resume from a different checkpoint.");
  at::Tensor counted;
  if (state.contains("counted")) {
    counted = state.get<at::Tensor>("counted");
    LIGHTNING_CHECK(
        counted.defined() && counted.numel() == 1 && counted.scalar_type() == at::kLong,
        CheckpointError, class_name_,
        ": the checkpoint has no count of updates that were made, expected one integer. HINT: "
        "resume from a different checkpoint.");
    const auto count = counted.item<int64_t>();
    LIGHTNING_CHECK(count >= 0 && count <= updates, CheckpointError, class_name_,
                    ": the checkpoint has ", count, " updates that were made of ", updates,
                    ", expected at most as many. HINT: resume from a different checkpoint.");
    counted = counted.reshape({}).clone();
  }
  updates_ = updates;
  latest_update_step_ = step;
  latest_update_epoch_ = epoch;
  counted_ = counted;
}

void WeightAveraging::on_save_checkpoint(TrainerContext&, LightningModule&,
                                         Checkpoint& checkpoint) {
  StateDict& state = checkpoint.state;
  const std::string own = state_name(state);
  if (own.empty()) {
    // No update yet in the state that is saved, which may be older than this callback's.
    if (module_has_average_) beside_->replace(checkpoint.model);
    return;
  }
  const std::string flag = detail::concat(own, "/", kModuleHasAverage);
  if (state.get<bool>(flag)) return;
  std::vector<std::pair<std::string, at::Tensor>> trained;
  for (auto& [name, tensor] : checkpoint.model) {
    const std::optional<size_t> index = beside_->find(tensor);
    if (!index) continue;
    const std::string entry = detail::concat(own, kBeside, beside_->name(*index));
    trained.emplace_back(entry, module_has_average_ ? beside_->copy(*index) : tensor);
    tensor = state.get<at::Tensor>(entry);
  }
  for (const auto& [entry, tensor] : trained) state.set(entry, tensor);
  state.set(flag, true);
}

void WeightAveraging::on_save_weights(TrainerContext&, LightningModule&, Checkpoint& checkpoint) {
  if (updates_ > 0 && !module_has_average_) beside_->replace(checkpoint.model);
}

void WeightAveraging::on_load_checkpoint(TrainerContext&, LightningModule& module,
                                         const Checkpoint& checkpoint) {
  const std::string own = state_name(checkpoint.state);
  if (own.empty()) return;
  const StateDict state = checkpoint.state.nested(own);
  LIGHTNING_CHECK(state.get<bool>(kModuleHasAverage), CheckpointError, class_name_,
                  ": the checkpoint's weights aren't the average, expected the average with the "
                  "trained weights beside it. HINT: resume from a different checkpoint.");
  attach(module);
  beside_->copy_from_module();
  const Checkpoint::NamedTensors trained =
      named_tensors(state.nested(kBeside.substr(1, kBeside.size() - 2)));
  load_model_state(module, trained);
}

EMAWeightAveraging::EMAWeightAveraging(const EMAWeightAveragingOptions& options)
    : WeightAveraging({.use_buffers = options.use_buffers}, "EMAWeightAveraging", options.decay),
      options_(options) {
  LIGHTNING_CHECK(options.decay >= 0.0 && options.decay <= 1.0, ConfigError,
                  "EMAWeightAveraging: decay is ", options.decay,
                  ", expected a value from 0 to 1. HINT: 0.999 is common.");
  LIGHTNING_CHECK(options.update_every_n_steps >= 0, ConfigError,
                  "EMAWeightAveraging: update_every_n_steps is ", options.update_every_n_steps,
                  ", expected a value >= 0. HINT: use 1 to update after each step.");
  LIGHTNING_CHECK(options.update_starting_at_step.value_or(0) >= 0, ConfigError,
                  "EMAWeightAveraging: update_starting_at_step is ",
                  options.update_starting_at_step.value_or(0),
                  ", expected a value >= 0. HINT: steps count from 0.");
  LIGHTNING_CHECK(options.update_starting_at_epoch.value_or(0) >= 0, ConfigError,
                  "EMAWeightAveraging: update_starting_at_epoch is ",
                  options.update_starting_at_epoch.value_or(0),
                  ", expected a value >= 0. HINT: epochs count from 0.");
  LIGHTNING_CHECK(options.update_every_n_steps > 0 || options.update_starting_at_epoch, ConfigError,
                  "EMAWeightAveraging: update_every_n_steps is 0 and update_starting_at_epoch is "
                  "null, expected "
                  "one that updates the average. HINT: set update_starting_at_epoch: 0 for an "
                  "update after each "
                  "epoch.");
}

bool EMAWeightAveraging::should_update(std::optional<int64_t> step_idx,
                                       std::optional<int64_t> epoch_idx) const {
  if (step_idx && *step_idx >= options_.update_starting_at_step.value_or(0) &&
      options_.update_every_n_steps > 0 && *step_idx % options_.update_every_n_steps == 0) {
    return true;
  }
  return epoch_idx && options_.update_starting_at_epoch &&
         *epoch_idx >= *options_.update_starting_at_epoch;
}

void EMAWeightAveraging::check_plan(std::optional<int64_t> steps,
                                    std::optional<int64_t> epochs) const {
  const auto& first_step = options_.update_starting_at_step;
  LIGHTNING_CHECK(!first_step || !steps || *first_step < *steps, ConfigError,
                  "EMAWeightAveraging: update_starting_at_step is ", first_step.value_or(0),
                  " and the fit ends after ", steps.value_or(0),
                  " steps, expected a step of the fit. HINT: steps count from 0.");
  const auto& first_epoch = options_.update_starting_at_epoch;
  LIGHTNING_CHECK(!first_epoch || !epochs || *first_epoch < *epochs, ConfigError,
                  "EMAWeightAveraging: update_starting_at_epoch is ", first_epoch.value_or(0),
                  " and the fit has ", epochs.value_or(0),
                  " epochs, expected one of them. HINT: epochs count from 0.");
}

}  // namespace lightning
