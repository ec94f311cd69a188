#include <lightning/callbacks/stochastic_weight_averaging.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include <torch/optim/optimizer.h>

#include <lightning/callbacks/detail/single_average.h>
#include <lightning/callbacks/detail/weight_copy.h>
#include <lightning/optim/lr_scheduler.h>
#include <lightning/util/detail/strings.h>
#include <lightning/util/error.h>
#include <lightning/util/log.h>

namespace lightning {
namespace {

constexpr double kPi = 3.14159265358979323846;

/// LR schedules of an optimizer set its rates no more in this fit; as in Lightning they aren't
/// taken up again.
void remove_schedules(OptimizerConfig& config) { config.lr_scheduler = {}; }

/// The rates as they were configured: a schedule sets those of its first step when it is made.
void undo_first_step(OptimizerConfig& config) {
  if (config.lr_scheduler.empty()) return;
  const std::vector<double>& rates = config.lr_scheduler[0].scheduler->base_lrs();
  auto& groups = config.optimizer->param_groups();
  for (size_t i = 0; i < std::min(groups.size(), rates.size()); ++i) {
    groups[i].options().set_lr(rates[i]);
  }
}

bool has_schedule(const OptimizerConfig& config) { return !config.lr_scheduler.empty(); }

bool all_positive(const std::vector<double>& rates) {
  return std::all_of(rates.begin(), rates.end(),
                     [](double rate) { return rate > 0.0 && std::isfinite(rate); });
}

}  // namespace

class StochasticWeightAveraging::Average : public detail::WeightCopy {};

int64_t EpochStart::index(std::optional<int64_t> max_epochs) const {
  // As Lightning: a fraction gives a number of epochs, which is then taken for a number from 1.
  if (is_number()) return *number_ - 1;
  LIGHTNING_CHECK(max_epochs.has_value(), ConfigError,
                  "StochasticWeightAveraging: swa_epoch_start is ", to_text(),
                  ", a fraction of max_epochs, which isn't set, expected a number of an epoch. "
                  "HINT: give an integer, or set max_epochs.");
  const auto number = static_cast<int64_t>(fraction_ * static_cast<double>(*max_epochs));
  return std::max<int64_t>(number - 1, 0);
}

EpochStart EpochStart::from_text(std::string_view text) {
  if (const auto number = parse_number<int64_t>(text)) return EpochStart(*number);
  if (const auto fraction = parse_number<double>(text)) return EpochStart(*fraction);
  throw ConfigError("expected the number of an epoch (8) or a fraction of max_epochs (0.8)");
}

std::string EpochStart::to_text() const {
  if (number_) return std::to_string(*number_);
  std::string text = detail::concat(fraction_);
  // The decimal point is what makes it a fraction.
  return std::isfinite(fraction_) && text.find_first_of(".e") == std::string::npos ? text + ".0"
                                                                                   : text;
}

StochasticWeightAveraging::StochasticWeightAveraging(StochasticWeightAveragingOptions options)
    : options_(std::move(options)), average_(std::make_unique<Average>()) {
  LIGHTNING_CHECK(!options_.swa_lrs.empty() && all_positive(options_.swa_lrs), ConfigError,
                  "StochasticWeightAveraging: swa_lrs is ",
                  options_.swa_lrs.empty() ? "empty" : "not positive",
                  ", expected learning rates above 0. HINT: set one, such as [0.05].");
  const EpochStart& start = options_.swa_epoch_start;
  const bool in_range =
      start.is_number() ? start.number() >= 1 : start.fraction() >= 0.0 && start.fraction() <= 1.0;
  LIGHTNING_CHECK(in_range, ConfigError, "StochasticWeightAveraging: swa_epoch_start is ",
                  start.to_text(),
                  ", expected the number of an epoch, from 1, or a fraction from 0.0 to 1.0. HINT: "
                  "0.8 averages the last fifth.");
  LIGHTNING_CHECK(options_.annealing_epochs >= 0, ConfigError,
                  "StochasticWeightAveraging: annealing_epochs is ", options_.annealing_epochs,
                  ", expected a value >= 0. HINT: use 0 to set swa_lrs at once.");
}

StochasticWeightAveraging::~StochasticWeightAveraging() = default;

void StochasticWeightAveraging::check_plan(std::optional<int64_t> max_epochs,
                                           std::optional<int64_t> epochs) const {
  const int64_t first = options_.swa_epoch_start.index(max_epochs);
  LIGHTNING_CHECK(
      !epochs || first < *epochs, ConfigError, "StochasticWeightAveraging: swa_epoch_start is ",
      options_.swa_epoch_start.to_text(), " and the fit has ", epochs.value_or(0),
      epochs == 1 ? " epoch" : " epochs", ", expected one of them. HINT: epochs count from 1.");
}

void StochasticWeightAveraging::setup(TrainerContext& trainer, LightningModule&, Stage stage) {
  average_->drop();
  first_epoch_ = -1;
  latest_update_epoch_ = -1;
  averaged_ = 0;
  base_rates_.clear();
  loaded_average_ = {};
  resumed_ = false;
  if (stage == Stage::kFit) detail::check_single_average(trainer);
}

void StochasticWeightAveraging::on_fit_start(TrainerContext& trainer, LightningModule& module) {
  check_module(trainer, module);
  OptimizerConfig& config = trainer.optimizers().front();
  average_->attach(module, detail::CopiedWeights::kParameters, /*average_buffers=*/false);
  // Those of a resumed fit may have been added since its start, and later callbacks add them again.
  if (!resumed_) check_rates(trainer);
  if (started()) {
    // Before schedules are restored: the checkpoint has none.
    undo_first_step(config);
    remove_schedules(config);
    average_->load_state_dict(std::exchange(loaded_average_, {}), state_key());
  }
  trainer.renew_statistics_at_end();
}

void StochasticWeightAveraging::check_module(TrainerContext& trainer,
                                             const LightningModule& module) const {
  LIGHTNING_CHECK(module.automatic_optimization(), ConfigError,
                  "StochasticWeightAveraging: the module steps its optimizers itself, expected "
                  "automatic optimization. HINT: use WeightAveraging with manual optimization.");
  const size_t optimizers = trainer.optimizers().size();
  LIGHTNING_CHECK(optimizers == 1, ConfigError, "StochasticWeightAveraging: there are ", optimizers,
                  " optimizers, expected one. HINT: use WeightAveraging with several.");
}

void StochasticWeightAveraging::check_rates(TrainerContext& trainer) const {
  const size_t groups = trainer.optimizers().front().optimizer->param_groups().size();
  const size_t rates = options_.swa_lrs.size();
  const bool matches = rates == 1 || rates == groups || (resumed_ && rates < groups);
  LIGHTNING_CHECK(matches, ConfigError, "StochasticWeightAveraging: swa_lrs has ", rates,
                  " learning rates and the optimizer has ", groups,
                  groups == 1 ? " parameter group" : " parameter groups",
                  ", expected one for all or one for each. HINT: give one rate.");
  LIGHTNING_CHECK(base_rates_.size() <= groups, CheckpointError,
                  "StochasticWeightAveraging: the checkpoint has the rates of ", base_rates_.size(),
                  " parameter groups, and the optimizer has ", groups,
                  ", expected at most as many. HINT: resume with the optimizer it was saved with.");
}

void StochasticWeightAveraging::on_train_start(TrainerContext& trainer, LightningModule&) {
  if (resumed_) check_rates(trainer);
  // In the middle of an epoch, where a resumed optimizer may have the config's rates.
  if (!started() || trainer.batch_idx() == 0) return;
  set_rates(*trainer.optimizers().front().optimizer, trainer.current_epoch());
}

void StochasticWeightAveraging::on_train_epoch_start(TrainerContext& trainer, LightningModule&) {
  const int64_t epoch = trainer.current_epoch();
  const std::optional<int64_t> max_epochs = trainer.max_epochs();
  const bool is_planned = !max_epochs || epoch < *max_epochs;
  if (is_planned && !started() && epoch >= options_.swa_epoch_start.index(max_epochs)) {
    start(trainer);
  }
  if (!started()) return;
  set_rates(*trainer.optimizers().front().optimizer, epoch);
  if (!is_planned) {
    average_->copy_to_module();
  } else if (epoch > latest_update_epoch_) {
    average();
    latest_update_epoch_ = epoch;
  }
}

void StochasticWeightAveraging::start(TrainerContext& trainer) {
  OptimizerConfig& config = trainer.optimizers().front();
  first_epoch_ = trainer.current_epoch();
  base_rates_.clear();
  for (const auto& group : std::as_const(*config.optimizer).param_groups()) {
    base_rates_.push_back(group.options().get_lr());
  }
  if (has_schedule(config)) {
    log_info(detail::concat("StochasticWeightAveraging: from epoch ", first_epoch_,
                            " on it sets the learning rates, in place of the LR schedule."));
  }
  remove_schedules(config);
}

void StochasticWeightAveraging::set_rates(torch::optim::Optimizer& optimizer, int64_t epoch) const {
  const int64_t annealing = options_.annealing_epochs;
  const double passed =
      annealing == 0 ? 1.0
                     : static_cast<double>(epoch - first_epoch_) / static_cast<double>(annealing);
  const double t = std::clamp(passed, 0.0, 1.0);
  const double alpha =
      options_.annealing_strategy == AnnealingStrategy::kCos ? (1.0 - std::cos(kPi * t)) / 2.0 : t;
  auto& groups = optimizer.param_groups();
  // Groups that were added since have rates of their own.
  for (size_t i = 0; i < std::min(groups.size(), base_rates_.size()); ++i) {
    const double target = options_.swa_lrs.size() == 1  ? options_.swa_lrs[0]
                          : i < options_.swa_lrs.size() ? options_.swa_lrs[i]
                                                        : base_rates_[i];
    groups[i].options().set_lr(target * alpha + base_rates_[i] * (1.0 - alpha));
  }
}

void StochasticWeightAveraging::average() {
  if (averaged_++ == 0) {
    average_->copy_from_module();
  } else {
    average_->lerp(1.0 / static_cast<double>(averaged_));
  }
}

void StochasticWeightAveraging::on_train_end(TrainerContext& trainer, LightningModule&) {
  if (averaged_ == 0) return;
  const std::optional<int64_t> max_epochs = trainer.max_epochs();
  if (!max_epochs || trainer.current_epoch() >= *max_epochs) {
    average_->copy_to_module();
    return;
  }
  log_warning(detail::concat("StochasticWeightAveraging: the fit ended in epoch ",
                             trainer.current_epoch(), " of ", *max_epochs,
                             ", the module keeps the trained weights. HINT: resume to finish it."));
}

StateDict StochasticWeightAveraging::state_dict() const {
  StateDict state;
  state.set("first_epoch", first_epoch_);
  state.set("latest_update_epoch", latest_update_epoch_);
  state.set("averaged", averaged_);
  state.set("base_rates", base_rates_);
  state.set("average", average_->state_dict());
  return state;
}

void StochasticWeightAveraging::load_state_dict(const StateDict& state) {
  const auto first = state.get<int64_t>("first_epoch");
  const auto latest = state.get<int64_t>("latest_update_epoch");
  const auto averaged = state.get<int64_t>("averaged");
  const auto& rates = state.get<std::vector<double>>("base_rates");
  StateDict average = state.nested("average");
  const bool has_started = first >= 0;
  LIGHTNING_CHECK(first >= -1 && latest >= first && averaged >= 0 &&
                      has_started == (averaged > 0) && has_started == !rates.empty() &&
                      has_started == !average.empty(),
                  CheckpointError, "StochasticWeightAveraging: the checkpoint has ", averaged,
                  " averaged epochs from ", first, " to ", latest, ", ", rates.size(),
                  " rates and an average of ", average.entries().size(),
                  " weights, expected all or nothing. HINT: resume from a different checkpoint.");
  LIGHTNING_CHECK(
      std::all_of(rates.begin(), rates.end(), [](double rate) { return std::isfinite(rate); }),
      CheckpointError,
      "StochasticWeightAveraging: a rate in the checkpoint isn't finite, expected "
      "numbers. HINT: resume from a different checkpoint.");
  first_epoch_ = first;
  latest_update_epoch_ = latest;
  averaged_ = averaged;
  base_rates_ = rates;
  loaded_average_ = std::move(average);
  resumed_ = true;
}

}  // namespace lightning
