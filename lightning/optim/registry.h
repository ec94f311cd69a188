/// The optimizers and LR schedules that a config may name, under PyTorch's names and with PyTorch's
/// arguments and defaults.
#pragma once

#include <cstdint>
#include <vector>

#include <torch/optim/optimizer.h>

#include <lightning/config/class_spec.h>
#include <lightning/config/fields.h>
#include <lightning/config/registry.h>
#include <lightning/optim/lr_schedules.h>
#include <lightning/util/export.h>

namespace lightning::optim {

/// init_args of Adam.
struct AdamArguments {
  double lr = 1e-3;
  std::vector<double> betas = {0.9, 0.999};
  double eps = 1e-8;
  double weight_decay = 0.0;
  bool amsgrad = false;
};
LIGHTNING_FIELDS(AdamArguments, LIGHTNING_FIELD(lr, "learning rate"),
                 LIGHTNING_FIELD(betas, "decay of the two moments"),
                 LIGHTNING_FIELD(eps, "added to the denominator"),
                 LIGHTNING_FIELD(weight_decay, "L2 penalty"),
                 LIGHTNING_FIELD(amsgrad, "use the largest second moment so far"))

/// init_args of AdamW.
struct AdamWArguments {
  double lr = 1e-3;
  std::vector<double> betas = {0.9, 0.999};
  double eps = 1e-8;
  double weight_decay = 1e-2;
  bool amsgrad = false;
};
LIGHTNING_FIELDS(AdamWArguments, LIGHTNING_FIELD(lr, "learning rate"),
                 LIGHTNING_FIELD(betas, "decay of the two moments"),
                 LIGHTNING_FIELD(eps, "added to the denominator"),
                 LIGHTNING_FIELD(weight_decay, "decay of the weights, times lr"),
                 LIGHTNING_FIELD(amsgrad, "use the largest second moment so far"))

/// init_args of SGD.
struct SGDArguments {
  double lr = 1e-3;
  double momentum = 0.0;
  double dampening = 0.0;
  double weight_decay = 0.0;
  bool nesterov = false;
};
LIGHTNING_FIELDS(SGDArguments, LIGHTNING_FIELD(lr, "learning rate"),
                 LIGHTNING_FIELD(momentum, "fraction of the last step in the next"),
                 LIGHTNING_FIELD(dampening, "fraction of the gradient kept out of the momentum"),
                 LIGHTNING_FIELD(weight_decay, "L2 penalty"),
                 LIGHTNING_FIELD(nesterov, "Nesterov momentum"))

/// init_args of Adadelta.
struct AdadeltaArguments {
  double lr = 1.0;
  double rho = 0.9;
  double eps = 1e-6;
  double weight_decay = 0.0;
};
LIGHTNING_FIELDS(AdadeltaArguments, LIGHTNING_FIELD(lr, "factor on the steps"),
                 LIGHTNING_FIELD(rho, "decay of the running means"),
                 LIGHTNING_FIELD(eps, "added to the denominator"),
                 LIGHTNING_FIELD(weight_decay, "L2 penalty"))

/// init_args of RMSprop.
struct RMSpropArguments {
  double lr = 1e-2;
  double alpha = 0.99;
  double eps = 1e-8;
  double weight_decay = 0.0;
  double momentum = 0.0;
  bool centered = false;
};
LIGHTNING_FIELDS(RMSpropArguments, LIGHTNING_FIELD(lr, "learning rate"),
                 LIGHTNING_FIELD(alpha, "decay of the mean of squares"),
                 LIGHTNING_FIELD(eps, "added to the denominator"),
                 LIGHTNING_FIELD(weight_decay, "L2 penalty"),
                 LIGHTNING_FIELD(momentum, "fraction of the last step in the next"),
                 LIGHTNING_FIELD(centered, "divide by an estimate of the variance"))

/// init_args of Adagrad.
struct AdagradArguments {
  double lr = 1e-2;
  double lr_decay = 0.0;
  double weight_decay = 0.0;
  double initial_accumulator_value = 0.0;
  double eps = 1e-10;
};
LIGHTNING_FIELDS(AdagradArguments, LIGHTNING_FIELD(lr, "learning rate"),
                 LIGHTNING_FIELD(lr_decay, "decay of the learning rate"),
                 LIGHTNING_FIELD(weight_decay, "L2 penalty"),
                 LIGHTNING_FIELD(initial_accumulator_value, "sum of squares at the start"),
                 LIGHTNING_FIELD(eps, "added to the denominator"))

/// The classes that the key `optimizer` may name: Adadelta, Adagrad, Adam, AdamW, RMSprop, SGD, and
/// those that the program adds in main(). A class is constructible from its parameter groups and,
/// if it has any, its options; to be saved in checkpoints it is a StatefulOptimizer as well.
LIGHTNING_API
config::Registry<torch::optim::Optimizer, std::vector<torch::optim::OptimizerParamGroup>>&
optimizer_registry();

/// The classes that the key `lr_scheduler` may name: the schedules of lr_schedules.h but LambdaLR
/// and MultiplicativeLR, which need functions, and those that the program adds in main(). A class
/// is constructible from an LRSchedulerContext and, if it has any, its options.
LIGHTNING_API config::Registry<LRScheduler, const LRSchedulerContext&>& lr_scheduler_registry();

/// init_args of SequentialLR.
struct SequentialLRArguments {
  std::vector<config::SpecOf<lr_scheduler_registry>> schedulers = {};
  std::vector<int64_t> milestones = {};
};
LIGHTNING_FIELDS(SequentialLRArguments,
                 LIGHTNING_FIELD(schedulers, "one after the other (required)"),
                 LIGHTNING_FIELD(milestones, "where the next one begins, one less (required)"))

/// init_args of ChainedScheduler.
struct ChainedSchedulerArguments {
  std::vector<config::SpecOf<lr_scheduler_registry>> schedulers = {};
};
LIGHTNING_FIELDS(ChainedSchedulerArguments,
                 LIGHTNING_FIELD(schedulers, "whose factors are multiplied (required)"))

}  // namespace lightning::optim
