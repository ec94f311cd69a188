#include <lightning/optim/lr_scheduler.h>

#include <limits>

#include <torch/torch.h>
#include <catch2/catch.hpp>

#include <lightning/config/class_spec.h>
#include <lightning/optim/lr_schedules.h>
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
  if (name == "cosine_warmup_3_of_12") return Ptr(new CosineWarmupLR(optimizer, 12, 3));
  if (name == "cosine_torch_10") return Ptr(new CosineWarmupLR(optimizer, 10));
  if (name == "cosine_torch_10_min_tenth") {
    return Ptr(new CosineWarmupLR(optimizer, 10, 0, 0.1));
  }
  if (name == "cosine_warmup_3_of_12_min_fifth") {
    return Ptr(new CosineWarmupLR(optimizer, 12, 3, 0.2));
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

TEST_CASE("LambdaLR takes a function for each group", "[optim]") {
  auto optimizer = two_groups(0.3, 0.2);
  LambdaLR lambda(
      optimizer, {[](int64_t step) { return step == 0 ? 0.5 : 2.0; }, [](int64_t) { return 1.0; }});
  CHECK(lambda.get_last_lr() == std::vector<double>{0.15, 0.2});
  lambda.step();
  CHECK(lambda.get_last_lr() == std::vector<double>{0.6, 0.2});
}

TEST_CASE("CosineWarmupLR stays at its minimum after the end", "[optim]") {
  CosineWarmupLR scheduler(two_groups(1.0, 1.0), 4, 0, 0.25);
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
  StepLR scheduler(two_groups(0.1, 0.01), 1);
  auto one_group = std::make_shared<torch::optim::SGD>(std::vector<at::Tensor>{torch::ones({1})},
                                                       torch::optim::SGDOptions(0.1));
  StepLR other(one_group, 1);
  CHECK_THROWS_AS(other.load_state_dict(scheduler.state_dict()), lightning::CheckpointError);
}

TEST_CASE("schedulers refuse options out of range", "[optim]") {
  using lightning::ConfigError;
  auto optimizer = two_groups(0.1, 0.01);
  CHECK_THROWS_AS(StepLR(optimizer, 0), ConfigError);
  CHECK_THROWS_AS(MultiStepLR(optimizer, {}), ConfigError);
  CHECK_THROWS_AS(MultiStepLR(optimizer, {5, 3}), ConfigError);
  CHECK_THROWS_AS(ConstantLR(optimizer, 1.5), ConfigError);
  CHECK_THROWS_AS(LinearLR(optimizer, 0.0), ConfigError);
  CHECK_THROWS_AS(LinearLR(optimizer, 0.5, 1.0, 0), ConfigError);
  CHECK_THROWS_AS(ExponentialLR(optimizer, std::numeric_limits<double>::quiet_NaN()), ConfigError);
  CHECK_THROWS_AS(PolynomialLR(optimizer, 0), ConfigError);
  CHECK_THROWS_AS(LinearWarmupLR(optimizer, -1, 10), ConfigError);
  CHECK_THROWS_AS(CosineWarmupLR(optimizer, -1), ConfigError);
  CHECK_THROWS_AS(CosineWarmupLR(optimizer, 10, 0, 1.5), ConfigError);
  CHECK_THROWS_AS(CosineAnnealingLR(optimizer, 0), ConfigError);
  CHECK_THROWS_AS(CosineAnnealingLR(two_groups(0.1, 0.0), 10, 0.01), ConfigError);
  CHECK_THROWS_AS(CosineAnnealingWarmRestarts(optimizer, 5, 0), ConfigError);
  CHECK_THROWS_AS(LambdaLR(optimizer, LambdaLR::Function()), ConfigError);
  CHECK_THROWS_AS(StepLR(nullptr, 1), ConfigError);
  CHECK_THROWS_WITH(CyclicLR(optimizer, CyclicLROptions{.base_lr = 0.1}),
                    Catch::Contains("max_lr is not given"));
  CHECK_THROWS_WITH(
      OneCycleLR(optimizer, OneCycleLROptions{.max_lr = {0.1, 0.2, 0.3}, .total_steps = 5}),
      Catch::Contains("max_lr has 3 numbers and the optimizer 2"));
  CHECK_THROWS_WITH(OneCycleLR(optimizer, OneCycleLROptions{.max_lr = 0.1}),
                    Catch::Contains("total_steps is null"));
  CHECK_THROWS_WITH(ReduceLROnPlateau(optimizer, {.factor = 1.0}), Catch::Contains("factor is 1"));
  CHECK_THROWS_WITH(ReduceLROnPlateau(optimizer, {.patience = -1}), Catch::Contains("patience"));
}

TEST_CASE("OneCycleLR and CyclicLR need an optimizer whose momentum they can move", "[optim]") {
  const auto adagrad = std::make_shared<torch::optim::Adagrad>(
      std::vector<at::Tensor>{torch::ones({1})}, torch::optim::AdagradOptions(0.1));
  OneCycleLROptions options{.max_lr = 0.1, .total_steps = 5};
  CHECK_THROWS_WITH(OneCycleLR(adagrad, options), Catch::Contains("neither momentum nor beta1"));
  options.cycle_momentum = false;
  CHECK_NOTHROW(OneCycleLR(adagrad, options));
}

TEST_CASE("OneCycleLR refuses a step beyond its end and stays where it is", "[optim]") {
  OneCycleLR schedule(two_groups(0.1, 0.1), {.max_lr = 0.1, .total_steps = 3});
  for (int i = 0; i < 3; ++i) schedule.step();
  const auto rates = schedule.get_last_lr();
  CHECK_THROWS_WITH(schedule.step(), Catch::Contains("step 4") && Catch::Contains("HINT"));
  CHECK(schedule.step_count() == 3);
  CHECK(schedule.get_last_lr() == rates);
}

TEST_CASE("A schedule takes a metric if it watches one, and only then", "[optim]") {
  auto optimizer = two_groups(0.1, 0.01);
  StepLR step(optimizer, 1);
  ReduceLROnPlateau plateau(optimizer);
  CHECK_THROWS_WITH(step.step(1.0), Catch::Contains("watches no metric"));
  CHECK_THROWS_WITH(plateau.step(), Catch::Contains("without a metric"));
  CHECK(plateau.step_count() == 0);
}

TEST_CASE("Schedules of one optimizer share its base rates", "[optim]") {
  auto optimizer = two_groups(0.8, 0.4);
  StepLR first(optimizer, 1, 0.5);
  first.step();
  {
    // Not the present rates, 0.4 and 0.2.
    StepLR second(optimizer, 1, 0.25);
    CHECK(second.base_lrs() == std::vector<double>{0.8, 0.4});
    second.step();
    CHECK(first.get_last_lr() == std::vector<double>{0.1, 0.05});
    // A rate of 0 is no end.
    LambdaLR zero(optimizer, [](int64_t step) { return step == 0 ? 0.0 : 1.0; });
    CHECK(first.get_last_lr() == std::vector<double>{0.0, 0.0});
    zero.step();
    CHECK(first.get_last_lr() == std::vector<double>{0.1, 0.05});
  }
  first.step();
  CHECK(first.get_last_lr() == std::vector<double>{0.2, 0.1});
  // Another optimizer has its own.
  CHECK(StepLR(two_groups(3.0, 2.0), 1).base_lrs() == std::vector<double>{3.0, 2.0});
}

TEST_CASE("Parts of a schedule are stepped by the whole alone", "[optim]") {
  auto optimizer = two_groups(0.1, 0.01);
  const auto part = [&] { return std::make_shared<StepLR>(optimizer, 1, 0.5); };
  const auto first = part();
  {
    ChainedScheduler chained({first, part()});
    chained.step();
    CHECK(chained.get_last_lr()[0] == 0.1 * 0.25);
    CHECK_THROWS_WITH(first->step(), Catch::Contains("part of another one"));
    CHECK_THROWS_WITH(ChainedScheduler({first}), Catch::Contains("part of two schedules"));
  }
  using Parts = std::vector<std::shared_ptr<LRScheduler>>;
  CHECK_THROWS_WITH(ChainedScheduler(Parts{}), Catch::Contains("there is no schedule"));
  CHECK_THROWS_WITH(ChainedScheduler({std::make_shared<ReduceLROnPlateau>(optimizer)}),
                    Catch::Contains("watch no metric"));
  CHECK_THROWS_WITH(SequentialLR(two_groups(1.0, 1.0), Parts{part()}, {}),
                    Catch::Contains("of another optimizer"));
  CHECK_THROWS_WITH(SequentialLR(optimizer, Parts{part(), part()}, {}),
                    Catch::Contains("0 milestones and 2 schedules"));
  CHECK_THROWS_WITH(SequentialLR(optimizer, Parts{part(), part(), part()}, {5, 5}),
                    Catch::Contains("milestones is [5, 5]"));
}

TEST_CASE("A schedule says how many steps it can make", "[optim]") {
  auto optimizer = two_groups(0.1, 0.01);
  const auto cycle = [&](int64_t steps) {
    return std::make_shared<OneCycleLR>(optimizer,
                                        OneCycleLROptions{.max_lr = 0.1, .total_steps = steps});
  };
  const auto endless = [&] { return std::make_shared<StepLR>(optimizer, 1); };
  using Parts = std::vector<std::shared_ptr<LRScheduler>>;
  CHECK(cycle(7)->max_steps() == 7);
  CHECK_FALSE(endless()->max_steps().has_value());
  CHECK(ChainedScheduler(Parts{cycle(7), endless()}).max_steps() == 7);
  CHECK(SequentialLR(optimizer, Parts{endless(), cycle(7)}, {5}).max_steps() == 12);
  CHECK_FALSE(SequentialLR(optimizer, Parts{cycle(7), endless()}, {8}).max_steps().has_value());
  CHECK(SequentialLR(optimizer, Parts{cycle(7), endless()}, {9}).max_steps() == 7);
}

namespace {

/// All state that the next step depends on.
struct Scheduled {
  OptimizerPtr optimizer;
  std::vector<std::shared_ptr<LRScheduler>> schedules;

  explicit Scheduled(double rate) : optimizer(two_groups(rate, rate / 4)) {
    schedules.push_back(std::make_shared<SequentialLR>(
        optimizer,
        std::vector<std::shared_ptr<LRScheduler>>{
            std::make_shared<LinearLR>(optimizer, 0.1, 1.0, 6),
            std::make_shared<CosineAnnealingLR>(optimizer, 9, 0.001)},
        std::vector<int64_t>{6}));
    schedules.push_back(std::make_shared<ReduceLROnPlateau>(
        optimizer, ReduceLROnPlateauOptions{
                       .factor = 0.7, .patience = 1, .cooldown = 1, .min_lr = {0.01, 0.002}}));
    schedules.push_back(std::make_shared<MultiplicativeLR>(
        optimizer, [](int64_t step) { return 1.0 - 0.1 / static_cast<double>(step); }));
  }
  void step(int64_t i) {
    for (const auto& schedule : schedules) {
      schedule->watches_metric() ? schedule->step(static_cast<double>(i * 7 % 5))
                                 : schedule->step();
    }
  }
  std::vector<double> rates() const { return schedules[0]->get_last_lr(); }
};

}  // namespace

TEST_CASE("Schedules resume bitwise at every step", "[optim]") {
  static constexpr int64_t kSteps = 30;
  for (int64_t stop = 0; stop <= kSteps; ++stop) {
    CAPTURE(stop);
    Scheduled whole(0.2);
    for (int64_t i = 0; i < stop; ++i) whole.step(i);
    Scheduled resumed(5.0);  // base rates come from the state
    for (size_t k = 0; k < whole.schedules.size(); ++k) {
      resumed.schedules[k]->load_state_dict(whole.schedules[k]->state_dict());
    }
    CHECK(resumed.rates() == whole.rates());
    for (int64_t i = stop; i < kSteps; ++i) {
      whole.step(i);
      resumed.step(i);
      REQUIRE(resumed.rates() == whole.rates());
    }
  }
}

TEST_CASE("Schedules refuse a state that can't be theirs, and stay as they are", "[optim]") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const auto make = [] {
    ReduceLROnPlateauOptions options{.patience = 2, .cooldown = 3};
    return std::make_shared<ReduceLROnPlateau>(two_groups(0.1, 0.2), options);
  };
  const auto source = make();
  source->step(1.0);
  const auto refused = [&](const std::string& name, lightning::StateDict::Value value) {
    CAPTURE(name);
    lightning::StateDict state = source->state_dict();
    state.set(name, std::move(value));
    const auto schedule = make();
    CHECK_THROWS_AS(schedule->load_state_dict(state), lightning::CheckpointError);
    CHECK(schedule->step_count() == 0);
    CHECK(schedule->best() == std::numeric_limits<double>::infinity());
    CHECK(schedule->get_last_lr() == std::vector<double>{0.1, 0.2});
  };
  using Doubles = std::vector<double>;
  refused("step_count", int64_t{-1});
  refused("step_count", std::numeric_limits<int64_t>::max());
  refused("step_count", 1.0);
  refused("base_lrs", Doubles{0.1});
  refused("base_lrs", Doubles{0.1, nan});
  refused("last_lrs", Doubles{0.1, -1.0});
  refused("last_lrs", Doubles{0.1, 0.1, 0.1});
  refused("best", nan);
  refused("num_bad_epochs", int64_t{3});
  refused("num_bad_epochs", int64_t{-1});
  refused("cooldown_counter", int64_t{4});
  refused("reductions", Doubles{1.0, 2.0});
  refused("reductions", Doubles{1.0, nan});
  refused("reductions", Doubles{1.0, 1.0, 1.0});
  refused("reductions", std::string("none"));
  CHECK_NOTHROW(make()->load_state_dict(source->state_dict()));

  OneCycleLR cycle(two_groups(0.1, 0.2), {.max_lr = 0.1, .total_steps = 3});
  lightning::StateDict state = cycle.state_dict();
  state.set("step_count", 4);
  CHECK_THROWS_AS(cycle.load_state_dict(state), lightning::CheckpointError);
}

TEST_CASE("A later group follows all schedules of its optimizer", "[optim]") {
  const OptimizerPtr optimizer = two_groups(0.1, 0.4);
  StepLR step(optimizer, 1, 0.5);
  ReduceLROnPlateau plateau(optimizer, {.factor = 0.1, .patience = 0});
  step.step();
  plateau.step(1.0);
  plateau.step(2.0);  // reduces
  torch::optim::OptimizerParamGroup group({torch::ones({1})});
  group.set_options(std::make_unique<torch::optim::SGDOptions>(0.01));
  optimizer->add_param_group(group);
  step.step();
  // The plateau's reductions were the others'.
  CHECK(step.get_last_lr()[2] == Approx(0.005));
  CHECK(step.get_last_lr()[0] == Approx(0.1 * 0.25 * 0.1));
  plateau.step(2.0);
  CHECK(step.get_last_lr()[2] == Approx(0.0005));
}

TEST_CASE("The registry of LR schedulers makes each with its arguments", "[optim]") {
  using lightning::config::SpecOf;
  using Spec = SpecOf<lr_scheduler_registry>;
  const auto rates_after = [](const Spec& spec, int64_t total_steps, int64_t steps) {
    const auto scheduler = spec.create(LRSchedulerContext{two_groups(1.0, 1.0), total_steps});
    for (int64_t i = 0; i < steps; ++i) scheduler->step();
    return scheduler->get_last_lr()[0];
  };
  CHECK(rates_after("ConstantLR", 0, 4) == 1.0 / 3.0);
  CHECK(rates_after("ConstantLR", 0, 5) == 1.0);
  CHECK(rates_after(Spec::of("StepLR", StepLROptions{.step_size = 2, .gamma = 0.5}), 0, 4) == 0.25);
  CHECK(rates_after(Spec::of("LinearWarmupLR", LinearWarmupLROptions{.warmup_steps = 4}), 20, 2) ==
        0.5);
  CHECK(rates_after("LinearWarmupLR", 4, 2) == 0.5);
  CHECK(rates_after(
            Spec::of("CosineWarmupLR", CosineWarmupLROptions{.total_steps = 4, .min_factor = 0.25}),
            100, 4) == 0.25);
  CHECK(rates_after("{class_path: CosineAnnealingLR, init_args: {T_max: 4}}", 0, 8) == 1.0);
  CHECK(rates_after("{class_path: MultiStepLR, init_args: {milestones: [2, 3], gamma: 0.5}}", 0,
                    3) == 0.25);
  CHECK(rates_after("{class_path: ExponentialLR, init_args: {gamma: 0.5}}", 0, 3) == 0.125);
  CHECK(rates_after("PolynomialLR", 0, 5) == 0.0);
  CHECK(rates_after("LinearLR", 0, 5) == 1.0);
  CHECK(rates_after("{class_path: CosineAnnealingWarmRestarts, init_args: {T_0: 3}}", 0, 6) == 1.0);
  CHECK(rates_after("{class_path: OneCycleLR, init_args: {max_lr: 50, pct_start: 0.25}}", 8, 1) ==
        Approx(50.0));
  CHECK(rates_after("{class_path: CyclicLR, init_args: {base_lr: [1, 2], max_lr: 3, "
                    "step_size_up: 2}}",
                    0, 2) == Approx(3.0));
  CHECK(
      rates_after("{class_path: SequentialLR, init_args: {milestones: [2], schedulers: [LinearLR, "
                  "{class_path: ExponentialLR, init_args: {gamma: 0.5}}]}}",
                  0, 4) == 0.25);
  // What a part leaves open is its share of the fit.
  CHECK(rates_after("{class_path: SequentialLR, init_args: {milestones: [4], schedulers: "
                    "[LinearLR, LinearWarmupLR]}}",
                    12, 8) == 0.5);
  CHECK(rates_after("{class_path: ChainedScheduler, init_args: {schedulers: [StepLR, StepLR]}}", 0,
                    1) == Approx(0.01));
  CHECK_THROWS_WITH(rates_after("CosineWarmupLR", 0, 1),
                    Catch::Contains("total_steps is null") && Catch::Contains("HINT"));
  CHECK_THROWS_WITH(rates_after("CosineAnnealingLR", 0, 1), Catch::Contains("T_max is null"));
  CHECK_THROWS_WITH(rates_after("ExponentialLR", 0, 1), Catch::Contains("gamma is null"));
  CHECK_THROWS_WITH(rates_after("SteppLR", 0, 1), Catch::Contains("did you mean \"StepLR\""));
  CHECK(lr_scheduler_registry().entries().size() == 15);
  const auto plateau =
      Spec("{class_path: ReduceLROnPlateau, init_args: {monitor: val_loss, mode: max}}")
          .create(LRSchedulerContext{two_groups(1.0, 1.0), 0});
  CHECK(plateau->watches_metric());
  CHECK(plateau->monitor() == "val_loss");
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
