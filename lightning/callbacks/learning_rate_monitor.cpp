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
    std::string name = config.lr_scheduler.name;
    if (name.empty()) name = detail::concat("lr-", optim::optimizer_name(*config.optimizer));
    const int64_t before = used[name]++;
    if (before > 0) name = detail::concat(name, "-", before);
    Watched watched = {config.optimizer, {}};
    const size_t groups = config.optimizer->param_groups().size();
    for (size_t i = 0; i < groups; ++i) {
      watched.names.push_back(groups == 1 ? name : detail::concat(name, "/pg", i + 1));
    }
    watched_.push_back(std::move(watched));
  }
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

void LearningRateMonitor::log_rates(LightningModule& module, size_t optimizer, Interval interval) {
  const Watched& watched = watched_[optimizer];
  const auto& groups = std::as_const(*watched.optimizer).param_groups();
  const bool per_step = interval == Interval::kStep;
  for (size_t i = 0; i < groups.size() && i < watched.names.size(); ++i) {
    module.log(watched.names[i], groups[i].options().get_lr(),
               {.on_step = per_step, .on_epoch = !per_step, .reduce_fx = ReduceFx::kMax});
  }
}

}  // namespace lightning
