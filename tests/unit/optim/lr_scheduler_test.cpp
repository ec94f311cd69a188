#include <lightning/optim/lr_scheduler.h>

#include <torch/torch.h>
#include <catch2/catch.hpp>

#include <lightning/config/class_spec.h>
#include <lightning/optim/optimizer_state.h>
#include <lightning/optim/registry.h>
#include <lightning/util/error.h>

#include "golden/optim/lr_scheduler_goldens.h"

using namespace lightning::optim;
using OptimizerPtr = std::shared_ptr<torch::optim::Optimizer>;

namespace {

OptimizerPtr two_groups(double first_rate, double second_rate) {
  std::vector<torch::optim::OptimizerParamGroup> groups;
  groups.emplace_back(std::vector<at::Tensor>{torch::ones({1})},
                      std::make_unique<torch::optim::SGDOptions>(first_rate));
  groups.emplace_back(std::vector<at::Tensor>{torch::ones({1})},
                      std::make_unique<torch::optim::SGDOptions>(second_rate));
  return std::make_shared<torch::optim::SGD>(groups, torch::optim::SGDOptions(0.1));
}

std::unique_ptr<LRScheduler> make(const std::string& name, OptimizerPtr optimizer) {
  using Ptr = std::unique_ptr<LRScheduler>;
  if (name == "step_3_half") return Ptr(new StepLR(optimizer, 3, 0.5));
  if (name == "linear_warmup_4_of_15") return Ptr(new LinearWarmupLR(optimizer, 4, 15));
  if (name == "linear_warmup_0_of_7") return Ptr(new LinearWarmupLR(optimizer, 0, 7));
  if (name == "linear_warmup_9_of_5") return Ptr(new LinearWarmupLR(optimizer, 9, 5));
  if (name == "cosine_warmup_3_of_12") return Ptr(new CosineAnnealingLR(optimizer, 12, 3));
  if (name == "cosine_torch_10") return Ptr(new CosineAnnealingLR(optimizer, 10));
  if (name == "cosine_torch_10_min_tenth") {
    return Ptr(new CosineAnnealingLR(optimizer, 10, 0, 0.1));
  }
  if (name == "cosine_warmup_3_of_12_min_fifth") {
    return Ptr(new CosineAnnealingLR(optimizer, 12, 3, 0.2));
  }
  FAIL("no scheduler for the golden " << name);
  return nullptr;
}

}  // namespace

TEST_CASE("schedules equal those of torch and transformers", "[optim]") {
  REQUIRE(golden::kScheduleGoldens.size() == 8);
  for (const auto& expected : golden::kScheduleGoldens) {
    const double base = golden::kScheduleBaseRate;
    auto optimizer = two_groups(base, base / 10);
    const auto scheduler = make(expected.name, optimizer);
    for (size_t step = 0; step < expected.rates.size(); ++step) {
      CAPTURE(expected.name, step);
      const double rate = expected.rates[step];
      const auto rates = scheduler->get_last_lr();
      CHECK(rates[0] == Approx(rate).epsilon(1e-12).margin(1e-15));
      CHECK(rates[1] == Approx(rate / 10).epsilon(1e-12).margin(1e-15));
      CHECK(scheduler->step_count() == static_cast<int64_t>(step));
      scheduler->step();
    }
  }
}

TEST_CASE("the linear warmup schedule is bitwise that of transformers", "[optim]") {
  for (const auto& expected : golden::kScheduleGoldens) {
    if (std::string(expected.name).rfind("linear", 0) != 0) continue;
    const auto scheduler =
        make(expected.name, two_groups(golden::kScheduleBaseRate, golden::kScheduleBaseRate));
    for (const double rate : expected.rates) {
      CHECK(scheduler->get_last_lr()[0] == rate);
      scheduler->step();
    }
  }
}

TEST_CASE("ConstantLR and LambdaLR set what they say", "[optim]") {
  auto optimizer = two_groups(0.3, 0.2);
  ConstantLR constant(optimizer);
  constant.step();
  CHECK(constant.get_last_lr() == std::vector<double>{0.3, 0.2});
  LambdaLR lambda(optimizer, [](int64_t step) { return step == 0 ? 0.5 : 2.0; });
  CHECK(lambda.get_last_lr() == std::vector<double>{0.15, 0.1});
  lambda.step();
  CHECK(lambda.get_last_lr() == std::vector<double>{0.6, 0.4});
}

TEST_CASE("CosineAnnealingLR stays at its minimum after the end", "[optim]") {
  CosineAnnealingLR scheduler(two_groups(1.0, 1.0), 4, 0, 0.25);
  for (int i = 0; i < 9; ++i) scheduler.step();
  CHECK(scheduler.get_last_lr()[0] == 0.25);
}

TEST_CASE("a scheduler resumes from its saved state", "[optim]") {
  auto reference_optimizer = two_groups(0.1, 0.01);
  LinearWarmupLR reference(reference_optimizer, 3, 11);
  for (int i = 0; i < 5; ++i) reference.step();
  // A rate set by hand since the last step must survive as well.
  reference_optimizer->param_groups()[1].options().set_lr(0.777);
  const lightning::StateDict state = reference.state_dict();

  // Base rates come from the state, not from the fresh optimizer.
  LinearWarmupLR resumed(two_groups(5.0, 5.0), 3, 11);
  resumed.load_state_dict(state);
  CHECK(resumed.step_count() == 5);
  for (int i = 0; i < 8; ++i) {
    CHECK(resumed.get_last_lr() == reference.get_last_lr());
    reference.step();
    resumed.step();
  }
}

TEST_CASE("a group that comes later follows the schedule from then on, as in PyTorch", "[optim]") {
  const auto add_group = [](torch::optim::Optimizer& optimizer, double rate) {
    torch::optim::OptimizerParamGroup group({torch::ones({1})});
    group.set_options(std::make_unique<torch::optim::SGDOptions>(rate));
    optimizer.add_param_group(group);
  };
  const OptimizerPtr optimizer = two_groups(0.1, 0.4);
  LinearWarmupLR scheduler(optimizer, 2, 4);
  add_group(*optimizer, 0.6);  // where the schedule is at 0: it is the base rate
  scheduler.step();
  add_group(*optimizer, 0.3);  // where it is at a half
  CHECK(scheduler.get_last_lr() == std::vector<double>{0.05, 0.2, 0.3, 0.3});
  scheduler.step();
  CHECK(scheduler.get_last_lr() == std::vector<double>{0.1, 0.4, 0.6, 0.6});

  const OptimizerPtr resumed = two_groups(0.1, 0.4);
  LinearWarmupLR other(resumed, 2, 4);
  add_group(*resumed, 0.6);
  add_group(*resumed, 0.3);
  other.include_new_groups();
  other.load_state_dict(scheduler.state_dict());
  scheduler.step();
  other.step();
  CHECK(other.get_last_lr() == scheduler.get_last_lr());
}

TEST_CASE("a scheduler refuses a state for other parameter groups", "[optim]") {
  ConstantLR scheduler(two_groups(0.1, 0.01));
  auto one_group = std::make_shared<torch::optim::SGD>(std::vector<at::Tensor>{torch::ones({1})},
                                                       torch::optim::SGDOptions(0.1));
  ConstantLR other(one_group);
  CHECK_THROWS_AS(other.load_state_dict(scheduler.state_dict()), lightning::CheckpointError);
}

TEST_CASE("schedulers refuse options out of range", "[optim]") {
  auto optimizer = two_groups(0.1, 0.01);
  CHECK_THROWS_AS(StepLR(optimizer, 0), lightning::ConfigError);
  CHECK_THROWS_AS(LinearWarmupLR(optimizer, -1, 10), lightning::ConfigError);
  CHECK_THROWS_AS(CosineAnnealingLR(optimizer, -1), lightning::ConfigError);
  CHECK_THROWS_AS(CosineAnnealingLR(optimizer, 10, 0, 1.5), lightning::ConfigError);
  CHECK_THROWS_AS(LambdaLR(optimizer, nullptr), lightning::ConfigError);
  CHECK_THROWS_AS(ConstantLR(nullptr), lightning::ConfigError);
}

TEST_CASE("The registry of LR schedulers makes each with its arguments", "[optim]") {
  using lightning::config::SpecOf;
  using Spec = SpecOf<lr_scheduler_registry>;
  const auto rates_after = [](const Spec& spec, int64_t total_steps, int64_t steps) {
    const auto scheduler = spec.create(LRSchedulerContext{two_groups(1.0, 1.0), total_steps});
    for (int64_t i = 0; i < steps; ++i) scheduler->step();
    return scheduler->get_last_lr()[0];
  };
  CHECK(rates_after("ConstantLR", 0, 5) == 1.0);
  CHECK(rates_after(Spec::of("StepLR", StepLROptions{.step_size = 2, .gamma = 0.5}), 0, 4) == 0.25);
  CHECK(rates_after(Spec::of("LinearWarmupLR", LinearWarmupLROptions{.warmup_steps = 4}), 20, 2) ==
        0.5);
  CHECK(rates_after("LinearWarmupLR", 4, 2) == 0.5);
  CHECK(rates_after(Spec::of("CosineAnnealingLR",
                             CosineAnnealingLROptions{.total_steps = 4, .min_factor = 0.25}),
                    100, 4) == 0.25);
  CHECK_THROWS_WITH(rates_after("CosineAnnealingLR", 0, 1),
                    Catch::Contains("total_steps is null") && Catch::Contains("HINT"));
  CHECK_THROWS_WITH(rates_after("SteppLR", 0, 1), Catch::Contains("did you mean \"StepLR\""));
  CHECK(lr_scheduler_registry().entries().size() == 4);
}

TEST_CASE("The registry of optimizers makes each with its arguments", "[optim]") {
  using Spec = lightning::config::SpecOf<optimizer_registry>;
  const auto groups = [] {
    std::vector<torch::optim::OptimizerParamGroup> one;
    one.emplace_back(std::vector<at::Tensor>{torch::ones({1})});
    return one;
  };
  const auto create = [&](const Spec& spec) { return spec.create(groups()); };
  const auto names = [] {
    std::vector<std::string> all;
    for (const auto& entry : optimizer_registry().entries()) all.push_back(entry.name);
    return all;
  }();
  CHECK(names ==
        std::vector<std::string>{"Adadelta", "Adagrad", "Adam", "AdamW", "RMSprop", "SGD"});
  for (const std::string& name : names) {
    const auto optimizer = create(name);
    CHECK(optimizer_name(*optimizer) == name);
    CHECK_NOTHROW(require_supported(*optimizer));
    CHECK(create("{class_path: " + name + ", init_args: {lr: 0.125}}")->defaults().get_lr() ==
          0.125);
  }
  const auto adam = create(
      Spec::of("AdamW", AdamWArguments{.betas = {0.5, 0.75}, .eps = 0.5, .weight_decay = 0.25}));
  const auto& options = static_cast<const torch::optim::AdamWOptions&>(adam->defaults());
  CHECK(options.betas() == std::make_tuple(0.5, 0.75));
  CHECK(options.eps() == 0.5);
  CHECK(options.weight_decay() == 0.25);
  CHECK_THROWS_WITH(create("{class_path: Adam, init_args: {betas: [0.9]}}"),
                    Catch::Contains("betas has 1 values"));
  CHECK_THROWS_WITH(create("AdmaW"), Catch::Contains("did you mean \"AdamW\""));
  CHECK_THROWS_WITH(create("{class_path: SGD, init_args: {momentun: 0.9}}"),
                    Catch::Contains("momentum"));
}
