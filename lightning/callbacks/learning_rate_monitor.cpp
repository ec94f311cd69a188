#include <lightning/callbacks/learning_rate_monitor.h>

#include <map>
#include <utility>

#include <torch/optim/optimizer.h>

#include <lightning/optim/optimizer_state.h>
#include <lightning/util/format.h>

namespace lightning {

void LearningRateMonitor::on_train_start(TrainerContext& trainer, LightningModule&) {
  watched_.clear();
  std::map<std::string, int64_t> used;
  for (const OptimizerConfig& config : trainer.optimizers()) {
    for (const LRSchedulerConfig& schedule : config.lr_scheduler) {
      watch(config.optimizer, schedule.name, used);
    }
  }
  for (const OptimizerConfig& config : trainer.optimizers()) {
    if (config.lr_scheduler.empty()) watch(config.optimizer, "", used);
  }
}

void LearningRateMonitor::watch(const std::shared_ptr<torch::optim::Optimizer>& optimizer,
                                std::string name, std::map<std::string, int64_t>& used) {
  int64_t& count = used[optim::optimizer_name(*optimizer)];
  if (name.empty()) {
    ++count;
    name = detail::concat("lr-", optim::optimizer_name(*optimizer));
  }
  // As in Lightning also a name of the user's own, after two without.
  if (count > 1) name = detail::concat(name, "-", count - 1);
  Watched watched = {optimizer, {}};
  const size_t groups = optimizer->param_groups().size();
  for (size_t i = 0; i < groups; ++i) {
    watched.names.push_back(groups == 1 ? name : detail::concat(name, "/pg", i + 1));
  }
  watched_.push_back(std::move(watched));
}

void LearningRateMonitor::on_train_epoch_start(TrainerContext&, LightningModule& module) {
  if (options_.logging_interval != Interval::kEpoch) return;
  for (size_t i = 0; i < watched_.size(); ++i) log_rates(module, i, Interval::kEpoch);
}

void LearningRateMonitor::on_before_optimizer_step(TrainerContext&, LightningModule& module,
                                                   torch::optim::Optimizer& optimizer) {
  if (options_.logging_interval != Interval::kStep) return;
  for (size_t i = 0; i < watched_.size(); ++i) {
    if (watched_[i].optimizer.get() == &optimizer) log_rates(module, i, Interval::kStep);
  }
}

void LearningRateMonitor::log_rates(LightningModule& module, size_t index, Interval interval) {
  const Watched& watched = watched_[index];
  const auto& groups = std::as_const(*watched.optimizer).param_groups();
  const bool per_step = interval == Interval::kStep;
  for (size_t i = 0; i < groups.size() && i < watched.names.size(); ++i) {
    module.log(watched.names[i], groups[i].options().get_lr(),
               {.on_step = per_step, .on_epoch = !per_step, .reduce_fx = ReduceFx::kMax});
  }
}

}  // namespace lightning
