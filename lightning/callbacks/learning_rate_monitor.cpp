#include <lightning/callbacks/learning_rate_monitor.h>

#include <algorithm>
#include <map>
#include <utility>

#include <torch/optim/optimizer.h>

#include <lightning/optim/optimizer_state.h>
#include <lightning/util/error.h>
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

void LearningRateMonitor::setup(TrainerContext&, LightningModule&, Stage stage) {
  if (stage != Stage::kFit) return;
  watched_.clear();
  restored_.clear();
}

void LearningRateMonitor::on_train_start(TrainerContext& trainer, LightningModule&) {
  watched_.clear();
  const std::vector<OptimizerConfig>& configs = trainer.optimizers();
  const bool scheduled =
      std::any_of(configs.begin(), configs.end(),
                  [](const OptimizerConfig& config) { return !config.lr_scheduler.empty(); });
  // A callback may have taken the schedules away; what they are logged as remains.
  if (scheduled || restored_.empty()) {
    watch_configured(trainer);
  } else {
    watch_restored(trainer);
  }
  restored_.clear();
}

void LearningRateMonitor::watch_configured(TrainerContext& trainer) {
  const std::vector<OptimizerConfig>& configs = trainer.optimizers();
  std::map<std::string, int64_t> used;
  // Lightning names those with a schedule first.
  for (size_t i = 0; i < configs.size(); ++i) {
    for (const LRSchedulerConfig& schedule : configs[i].lr_scheduler) {
      watch(static_cast<int64_t>(i), configs[i].optimizer, schedule.name, schedule.interval, used);
    }
  }
  for (size_t i = 0; i < configs.size(); ++i) {
    if (!configs[i].lr_scheduler.empty()) continue;
    watch(static_cast<int64_t>(i), configs[i].optimizer, "", Interval::kStep, used);
  }
}

void LearningRateMonitor::watch_restored(TrainerContext& trainer) {
  const std::vector<OptimizerConfig>& configs = trainer.optimizers();
  const auto count = static_cast<int64_t>(configs.size());
  for (Watched& one : restored_) {
    LIGHTNING_CHECK(one.index >= 0 && one.index < count, CheckpointError,
                    "LearningRateMonitor: the checkpoint has an entry of optimizer ", one.index,
                    ", expected one of ", count,
                    ". HINT: resume with the optimizers it was saved with.");
    one.optimizer = configs[static_cast<size_t>(one.index)].optimizer;
    one.interval = options_.logging_interval.value_or(one.interval);
  }
  watched_ = std::move(restored_);
}

void LearningRateMonitor::watch(int64_t index,
                                const std::shared_ptr<torch::optim::Optimizer>& optimizer,
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
      {index, optimizer, std::move(name), options_.logging_interval.value_or(own_interval), {}});
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

std::string LearningRateMonitor::state_key() const {
  std::string interval = "null";
  if (options_.logging_interval) {
    interval = *options_.logging_interval == Interval::kStep ? "step" : "epoch";
  }
  return detail::concat("LearningRateMonitor(logging_interval=", interval,
                        ",log_momentum=", options_.log_momentum,
                        ",log_weight_decay=", options_.log_weight_decay, ")");
}

StateDict LearningRateMonitor::state_dict() const {
  StateDict state;
  if (watched_.empty()) return state;
  std::vector<std::string> names;
  std::vector<int64_t> optimizers;
  std::vector<int64_t> per_epoch;
  for (const Watched& one : watched_) {
    names.push_back(one.name);
    optimizers.push_back(one.index);
    per_epoch.push_back(one.interval == Interval::kEpoch ? 1 : 0);
  }
  state.set("names", std::move(names));
  state.set("optimizers", std::move(optimizers));
  state.set("per_epoch", std::move(per_epoch));
  return state;
}

void LearningRateMonitor::load_state_dict(const StateDict& state) {
  const auto& names = state.get<std::vector<std::string>>("names");
  const auto& optimizers = state.get<std::vector<int64_t>>("optimizers");
  const auto& per_epoch = state.get<std::vector<int64_t>>("per_epoch");
  LIGHTNING_CHECK(
      names.size() == optimizers.size() && names.size() == per_epoch.size(), CheckpointError,
      "LearningRateMonitor: the checkpoint has ", names.size(), " names, ", optimizers.size(),
      " optimizers and ", per_epoch.size(),
      " intervals, expected as many of each. HINT: resume from a different checkpoint.");
  restored_.clear();
  for (size_t i = 0; i < names.size(); ++i) {
    const Interval interval = per_epoch[i] != 0 ? Interval::kEpoch : Interval::kStep;
    restored_.push_back({optimizers[i], nullptr, names[i], interval, {}});
  }
}

}  // namespace lightning
