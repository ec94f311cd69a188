#include <lightning/callbacks/learning_rate_monitor.h>

#include <torch/optim/optimizer.h>

#include <lightning/optim/optimizer_state.h>

namespace lightning {

void LearningRateMonitor::on_train_start(TrainerContext& trainer, LightningModule&) {
  names_.clear();
  const OptimizerConfig& config = trainer.optimizers().front();
  const std::string& given = config.lr_scheduler.name;
  const std::string name = given.empty() ? "lr-" + optim::optimizer_name(*config.optimizer) : given;
  const size_t groups = config.optimizer->param_groups().size();
  for (size_t i = 0; i < groups; ++i) {
    names_.push_back(groups == 1 ? name : name + "/pg" + std::to_string(i + 1));
  }
}

void LearningRateMonitor::on_train_epoch_start(TrainerContext& trainer, LightningModule& module) {
  if (options_.logging_interval == Interval::kEpoch) {
    log_rates(module, *trainer.optimizers().front().optimizer, Interval::kEpoch);
  }
}

void LearningRateMonitor::on_before_optimizer_step(TrainerContext&, LightningModule& module,
                                                   torch::optim::Optimizer& optimizer) {
  if (options_.logging_interval == Interval::kStep) log_rates(module, optimizer, Interval::kStep);
}

void LearningRateMonitor::log_rates(LightningModule& module,
                                    const torch::optim::Optimizer& optimizer, Interval interval) {
  const auto& groups = optimizer.param_groups();
  const bool per_step = interval == Interval::kStep;
  for (size_t i = 0; i < groups.size() && i < names_.size(); ++i) {
    module.log(names_[i], groups[i].options().get_lr(),
               {.on_step = per_step, .on_epoch = !per_step, .reduce_fx = ReduceFx::kMax});
  }
}

}  // namespace lightning
