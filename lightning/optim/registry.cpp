#include <lightning/optim/registry.h>

#include <algorithm>
#include <memory>
#include <tuple>
#include <utility>

#include <torch/optim/adagrad.h>
#include <torch/optim/rmsprop.h>

#include <lightning/optim/adadelta.h>
#include <lightning/optim/optimizers.h>
#include <lightning/util/error.h>

namespace lightning::optim {
namespace {

using Groups = std::vector<torch::optim::OptimizerParamGroup>;

template <typename Options, typename Arguments>
Options adam_options(const Arguments& arguments, const char* optimizer) {
  LIGHTNING_CHECK(arguments.betas.size() == 2, ConfigError, optimizer, ": betas has ",
                  arguments.betas.size(), " values, expected two. HINT: [0.9, 0.999] is common.");
  return Options(arguments.lr)
      .betas(std::make_tuple(arguments.betas[0], arguments.betas[1]))
      .eps(arguments.eps)
      .weight_decay(arguments.weight_decay)
      .amsgrad(arguments.amsgrad);
}

config::Registry<torch::optim::Optimizer, Groups> builtin_optimizers() {
  config::Registry<torch::optim::Optimizer, Groups> registry("optimizer");
  registry.add_factory<AdadeltaArguments>(
      "Adadelta", "Adadelta over lists of tensors", [](Groups groups, const auto& o) {
        return std::make_shared<Adadelta>(
            groups, AdadeltaOptions(o.lr).rho(o.rho).eps(o.eps).weight_decay(o.weight_decay));
      });
  registry.add_factory<AdagradArguments>(
      "Adagrad", "LibTorch's Adagrad", [](Groups groups, const auto& o) {
        return std::make_shared<torch::optim::Adagrad>(
            std::move(groups), torch::optim::AdagradOptions(o.lr)
                                   .lr_decay(o.lr_decay)
                                   .weight_decay(o.weight_decay)
                                   .initial_accumulator_value(o.initial_accumulator_value)
                                   .eps(o.eps));
      });
  registry.add_factory<AdamArguments>("Adam", "fused Adam", [](Groups groups, const auto& o) {
    return std::make_shared<Adam>(groups, adam_options<torch::optim::AdamOptions>(o, "Adam"));
  });
  registry.add_factory<AdamWArguments>("AdamW", "fused AdamW", [](Groups groups, const auto& o) {
    return std::make_shared<AdamW>(groups, adam_options<torch::optim::AdamWOptions>(o, "AdamW"));
  });
  registry.add_factory<RMSpropArguments>("RMSprop", "LibTorch's RMSprop",
                                         [](Groups groups, const auto& o) {
                                           return std::make_shared<torch::optim::RMSprop>(
                                               std::move(groups), torch::optim::RMSpropOptions(o.lr)
                                                                      .alpha(o.alpha)
                                                                      .eps(o.eps)
                                                                      .weight_decay(o.weight_decay)
                                                                      .momentum(o.momentum)
                                                                      .centered(o.centered));
                                         });
  registry.add_factory<SGDArguments>("SGD", "fused SGD", [](Groups groups, const auto& o) {
    return std::make_shared<SGD>(groups, torch::optim::SGDOptions(o.lr)
                                             .momentum(o.momentum)
                                             .dampening(o.dampening)
                                             .weight_decay(o.weight_decay)
                                             .nesterov(o.nesterov));
  });
  return registry;
}

/// A schedule that is part of another one takes what it leaves open from its share of the fit.
std::shared_ptr<LRScheduler> make_part(const config::SpecOf<lr_scheduler_registry>& spec,
                                       const LRSchedulerContext& context, int64_t total_steps) {
  return spec.create(LRSchedulerContext{context.optimizer, std::max<int64_t>(total_steps, 0)});
}

std::shared_ptr<LRScheduler> make_sequential(const LRSchedulerContext& context,
                                             const SequentialLRArguments& arguments) {
  std::vector<std::shared_ptr<LRScheduler>> parts;
  int64_t begin = 0;
  for (const auto& spec : arguments.schedulers) {
    const size_t i = parts.size();
    const int64_t end =
        i < arguments.milestones.size() ? arguments.milestones[i] : context.total_steps;
    parts.push_back(make_part(spec, context, end - begin));
    begin = end;
  }
  return std::make_shared<SequentialLR>(context.optimizer, std::move(parts), arguments.milestones);
}

std::shared_ptr<LRScheduler> make_chained(const LRSchedulerContext& context,
                                          const ChainedSchedulerArguments& arguments) {
  std::vector<std::shared_ptr<LRScheduler>> parts;
  for (const auto& spec : arguments.schedulers) {
    parts.push_back(make_part(spec, context, context.total_steps));
  }
  return std::make_shared<ChainedScheduler>(std::move(parts), context.optimizer);
}

config::Registry<LRScheduler, const LRSchedulerContext&> builtin_lr_schedulers() {
  config::Registry<LRScheduler, const LRSchedulerContext&> registry("LR scheduler");
  registry.add_factory<ChainedSchedulerArguments>(
      "ChainedScheduler", "several at once, their factors multiplied", make_chained);
  registry.add<ConstantLR, ConstantLROptions>("ConstantLR",
                                              "factor times the base rate for total_iters epochs");
  registry.add<CosineAnnealingLR, CosineAnnealingLROptions>(
      "CosineAnnealingLR", "half a cosine to eta_min over T_max epochs, then up again");
  registry.add<CosineAnnealingWarmRestarts, CosineAnnealingWarmRestartsOptions>(
      "CosineAnnealingWarmRestarts", "half cosines, each from the base rate");
  registry.add<CosineWarmupLR, CosineWarmupLROptions>(
      "CosineWarmupLR", "linear warmup, then half a cosine; counts optimizer steps");
  registry.add<CyclicLR, CyclicLROptions>("CyclicLR",
                                          "up and down between two rates; counts optimizer steps");
  registry.add<ExponentialLR, ExponentialLROptions>("ExponentialLR", "times gamma every epoch");
  registry.add<LinearLR, LinearLROptions>(
      "LinearLR", "in a straight line between two factors over total_iters epochs");
  registry.add<LinearWarmupLR, LinearWarmupLROptions>(
      "LinearWarmupLR", "linear warmup, then linearly to 0; counts optimizer steps");
  registry.add<MultiStepLR, MultiStepLROptions>("MultiStepLR", "times gamma at each milestone");
  registry.add<OneCycleLR, OneCycleLROptions>(
      "OneCycleLR", "up to max_lr and down, once; counts optimizer steps");
  registry.add<PolynomialLR, PolynomialLROptions>("PolynomialLR",
                                                  "down to 0 over total_iters epochs");
  registry.add<ReduceLROnPlateau, ReduceLROnPlateauOptions>(
      "ReduceLROnPlateau", "times factor when a metric no longer improves");
  registry.add_factory<SequentialLRArguments>("SequentialLR", "one after the other",
                                              make_sequential);
  registry.add<StepLR, StepLROptions>("StepLR", "times gamma every step_size epochs");
  return registry;
}

}  // namespace

config::Registry<torch::optim::Optimizer, Groups>& optimizer_registry() {
  static config::Registry<torch::optim::Optimizer, Groups> registry = builtin_optimizers();
  return registry;
}

config::Registry<LRScheduler, const LRSchedulerContext&>& lr_scheduler_registry() {
  static config::Registry<LRScheduler, const LRSchedulerContext&> registry =
      builtin_lr_schedulers();
  return registry;
}

}  // namespace lightning::optim
