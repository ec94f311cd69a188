#include <lightning/callbacks/learning_rate_monitor.h>

#include <map>
#include <utility>

#include <torch/optim/optimizer.h>

#include <lightning/optim/optimizer_state.h>
#include <lightning/util/format.h>

namespace lightning {
namespace {

LogOptions log_options_of(Interval interval) {
  const bool per_step = interval == Interval::kStep;
  return {.on_step = per_step, .on_epoch = !per_step, .reduce_fx = ReduceFx::kMax};
}

/// Names of an optimizer's groups.
std::vector<std::string> group_names(const std::string& name, size_t groups) {
  if (groups == 1) return {name};
  std::vector<std::string> names;
  for (size_t i = 1; i <= groups; ++i) names.push_back(detail::concat(name, "/pg", i));
  return names;
}

}  // namespace

void LearningRateMonitor::on_train_start(TrainerContext& trainer, LightningModule&) {
  watched_.clear();
  std::map<std::string, int64_t> used;
  // Lightning names those with a schedule first.
  for (const OptimizerConfig& config : trainer.optimizers()) {
    for (const LRSchedulerConfig& schedule : config.lr_scheduler) {
      watch(config.optimizer, schedule.name, schedule.interval, used);
    }
  }
  for (const OptimizerConfig& config : trainer.optimizers()) {
    if (config.lr_scheduler.empty()) watch(config.optimizer, "", Interval::kStep, used);
  }
}

void LearningRateMonitor::watch(const std::shared_ptr<torch::optim::Optimizer>& optimizer,
                                std::string name, Interval own_interval,
                                std::map<std::string, int64_t>& used) {
  int64_t& count = used[optim::optimizer_name(*optimizer)];
  if (name.empty()) {
    ++count;
    name = detail::concat("lr-", optim::optimizer_name(*optimizer));
  }
  // As in Lightning also a name of the user's own, after two without.
  if (count > 1) name = detail::concat(name, "-", count - 1);
  watched_.push_back(
      {optimizer, std::move(name), options_.logging_interval.value_or(own_interval), {}});
}

void LearningRateMonitor::on_train_epoch_start(TrainerContext&, LightningModule& module) {
  for (Watched& watched : watched_) {
    if (watched.interval == Interval::kEpoch) log_rates(module, watched);
  }
}

void LearningRateMonitor::on_before_optimizer_step(TrainerContext&, LightningModule& module,
                                                   torch::optim::Optimizer& optimizer) {
  for (Watched& watched : watched_) {
    const bool due = watched.interval == Interval::kStep && watched.optimizer.get() == &optimizer;
    if (due) log_rates(module, watched);
  }
}

void LearningRateMonitor::log_rates(LightningModule& module, Watched& watched) const {
  const auto& groups = std::as_const(*watched.optimizer).param_groups();
  // Groups may be added to an optimizer at the start of any epoch.
  if (watched.names.size() != groups.size()) {
    watched.names = group_names(watched.name, groups.size());
  }
  const LogOptions log_as = log_options_of(watched.interval);
  for (size_t i = 0; i < groups.size(); ++i) {
    module.log(watched.names[i], groups[i].options().get_lr(), log_as);
  }
  if (options_.log_momentum || options_.log_weight_decay) log_options(module, watched);
}

void LearningRateMonitor::log_options(LightningModule& module, const Watched& watched) const {
  const StateDict options = optim::group_options(*watched.optimizer);
  const LogOptions log_as = log_options_of(watched.interval);
  for (size_t i = 0; i < watched.names.size(); ++i) {
    const StateDict group = options.nested(detail::concat("groups/", i));
    const auto value = [&](const char* name) {
      return group.contains(name) ? group.get<double>(name) : 0.0;
    };
    if (options_.log_momentum) {
      const bool is_adam = group.contains("beta1");
      module.log(watched.names[i] + "-momentum", value(is_adam ? "beta1" : "momentum"), log_as);
    }
    if (options_.log_weight_decay) {
      module.log(watched.names[i] + "-weight_decay", value("weight_decay"), log_as);
    }
  }
}

}  // namespace lightning
