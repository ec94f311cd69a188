// Every schedule of torch.optim.lr_scheduler sets what PyTorch's does: 200 rates each, and momenta
// (tests/golden/optim/record_schedules.py).
#include <fstream>
#include <functional>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include <torch/torch.h>
#include <catch2/catch.hpp>

#include <lightning/optim/lr_schedules.h>
#include <lightning/optim/optimizers.h>

using namespace lightning::optim;
using OptimizerPtr = std::shared_ptr<torch::optim::Optimizer>;
using SchedulePtr = std::shared_ptr<LRScheduler>;

namespace {

constexpr size_t kValues = 200;

/// "0.2*3 0.1": a number that stands n times in a row is written once.
std::vector<double> numbers(std::istringstream& line) {
  std::vector<double> values;
  for (std::string item; line >> item;) {
    const size_t star = item.find('*');
    const size_t count = star == std::string::npos ? 1 : std::stoul(item.substr(star + 1));
    values.insert(values.end(), count, std::stod(item.substr(0, star)));
  }
  return values;
}

struct Golden {
  std::vector<double> rates;
  std::vector<double> momenta;  // empty: not moved
};

std::map<std::string, Golden> goldens() {
  std::ifstream stream("tests/golden/optim/schedules.txt");
  REQUIRE(stream);
  std::map<std::string, Golden> all;
  std::string name;
  for (std::string text; std::getline(stream, text);) {
    std::istringstream line(text);
    std::string kind;
    line >> kind;
    if (kind == "lr") {
      all[name].rates = numbers(line);
    } else if (kind == "momentum") {
      all[name].momenta = numbers(line);
    } else {
      name = text;
    }
  }
  return all;
}

/// What the recorder gives ReduceLROnPlateau.
double metric(int64_t i) {
  return static_cast<double>(i * 7919 % 101) / 100.0 + 20.0 / (1.0 + static_cast<double>(i));
}

OptimizerPtr sgd() {
  return std::make_shared<SGD>(std::vector<at::Tensor>{torch::ones({1})},
                               torch::optim::SGDOptions(0.2).momentum(0.5));
}

OptimizerPtr adam() {
  return std::make_shared<Adam>(std::vector<at::Tensor>{torch::ones({1})},
                                torch::optim::AdamOptions(0.2));
}

double momentum_of(const OptimizerPtr& optimizer) {
  const auto& options = std::as_const(*optimizer).param_groups()[0].options();
  if (const auto* own = dynamic_cast<const torch::optim::SGDOptions*>(&options)) {
    return own->momentum();
  }
  return std::get<0>(dynamic_cast<const torch::optim::AdamOptions&>(options).betas());
}

/// As PyTorch's, which wrote 13 digits.
void check_near(double actual, double expected) {
  CHECK(actual == Approx(expected).epsilon(2e-12).margin(1e-16));
}

void check(const std::string& name, const OptimizerPtr& optimizer, const SchedulePtr& schedule,
           bool moves_momentum = false) {
  const auto all = goldens();
  REQUIRE(all.contains(name));
  const Golden& golden = all.at(name);
  REQUIRE(golden.rates.size() == kValues);
  REQUIRE(golden.momenta.size() == (moves_momentum ? kValues : 0));
  const double momentum = momentum_of(optimizer);
  for (size_t i = 0; i < kValues; ++i) {
    CAPTURE(name, i);
    if (i > 0 && schedule->watches_metric()) schedule->step(metric(static_cast<int64_t>(i)));
    if (i > 0 && !schedule->watches_metric()) schedule->step();
    check_near(schedule->get_last_lr()[0], golden.rates[i]);
    check_near(momentum_of(optimizer), moves_momentum ? golden.momenta[i] : momentum);
  }
}

using Make = std::function<SchedulePtr(OptimizerPtr)>;

void check_sgd(const std::string& name, const Make& make) {
  const OptimizerPtr optimizer = sgd();
  check(name, optimizer, make(optimizer));
}

}  // namespace

TEST_CASE("Schedules that are factors of the step have PyTorch's values", "[optim]") {
  check_sgd("lambda", [](auto o) {
    return std::make_shared<LambdaLR>(
        o, [](int64_t step) { return 1.0 / (1.0 + 0.5 * static_cast<double>(step)); });
  });
  check_sgd("multiplicative", [](auto o) {
    return std::make_shared<MultiplicativeLR>(
        o, [](int64_t step) { return 1.0 - 0.5 / (1.0 + static_cast<double>(step)); });
  });
  check_sgd("step", [](auto o) { return std::make_shared<StepLR>(o, 30); });
  check_sgd("multi_step", [](auto o) {
    return std::make_shared<MultiStepLR>(o, std::vector<int64_t>{20, 50, 50, 130}, 0.5);
  });
  check_sgd("constant", [](auto o) { return std::make_shared<ConstantLR>(o); });
  check_sgd("constant_tenth_for_40",
            [](auto o) { return std::make_shared<ConstantLR>(o, 0.1, 40); });
  check_sgd("linear", [](auto o) { return std::make_shared<LinearLR>(o); });
  check_sgd("linear_down_150",
            [](auto o) { return std::make_shared<LinearLR>(o, 1.0, 0.25, 150); });
  check_sgd("exponential", [](auto o) { return std::make_shared<ExponentialLR>(o, 0.97); });
  check_sgd("polynomial", [](auto o) { return std::make_shared<PolynomialLR>(o); });
  check_sgd("polynomial_180_square",
            [](auto o) { return std::make_shared<PolynomialLR>(o, 180, 2.0); });
}

TEST_CASE("Cosines have PyTorch's values, also after their first end", "[optim]") {
  check_sgd("cosine_60", [](auto o) { return std::make_shared<CosineAnnealingLR>(o, 60); });
  check_sgd("cosine_45_eta_min",
            [](auto o) { return std::make_shared<CosineAnnealingLR>(o, 45, 0.02); });
  check_sgd("restarts_25",
            [](auto o) { return std::make_shared<CosineAnnealingWarmRestarts>(o, 25); });
  check_sgd("restarts_10_times_2",
            [](auto o) { return std::make_shared<CosineAnnealingWarmRestarts>(o, 10, 2, 0.01); });
}

TEST_CASE("CyclicLR has PyTorch's rates and momenta", "[optim]") {
  const OptimizerPtr optimizer = sgd();
  check("cyclic", optimizer,
        std::make_shared<CyclicLR>(
            optimizer,
            CyclicLROptions{
                .base_lr = 0.01, .max_lr = 0.1, .step_size_up = 15, .step_size_down = 35}),
        /*moves_momentum=*/true);
  const OptimizerPtr with_betas = adam();
  check("cyclic_triangular2", with_betas,
        std::make_shared<CyclicLR>(with_betas, CyclicLROptions{.base_lr = 0.01,
                                                               .max_lr = 0.1,
                                                               .step_size_up = 20,
                                                               .mode = CyclicMode::kTriangular2}),
        /*moves_momentum=*/true);
  check_sgd("cyclic_exp_range", [](auto o) {
    return std::make_shared<CyclicLR>(o, CyclicLROptions{.base_lr = 0.01,
                                                         .max_lr = 0.1,
                                                         .step_size_up = 20,
                                                         .mode = CyclicMode::kExpRange,
                                                         .gamma = 0.99,
                                                         .cycle_momentum = false});
  });
  check_sgd("cyclic_scale_fn", [](auto o) {
    return std::make_shared<CyclicLR>(
        o,
        CyclicLROptions{
            .base_lr = 0.01, .max_lr = 0.1, .step_size_up = 20, .cycle_momentum = false},
        [](double cycle) { return 1.0 / (1.0 + cycle); });
  });
}

TEST_CASE("OneCycleLR has PyTorch's rates and momenta", "[optim]") {
  const OptimizerPtr optimizer = sgd();
  check(
      "one_cycle", optimizer,
      std::make_shared<OneCycleLR>(optimizer, OneCycleLROptions{.max_lr = 0.4, .total_steps = 199}),
      /*moves_momentum=*/true);
  const OptimizerPtr with_betas = adam();
  check("one_cycle_linear", with_betas,
        std::make_shared<OneCycleLR>(with_betas,
                                     OneCycleLROptions{.max_lr = 0.4,
                                                       .epochs = 20,
                                                       .steps_per_epoch = 10,
                                                       .pct_start = 0.25,
                                                       .anneal_strategy = AnnealStrategy::kLinear}),
        /*moves_momentum=*/true);
  const OptimizerPtr three = sgd();
  check("one_cycle_three_phase", three,
        std::make_shared<OneCycleLR>(three, OneCycleLROptions{.max_lr = 0.4,
                                                              .total_steps = 210,
                                                              .base_momentum = 0.8,
                                                              .max_momentum = 0.9,
                                                              .div_factor = 10.0,
                                                              .final_div_factor = 100.0,
                                                              .three_phase = true}),
        /*moves_momentum=*/true);
}

TEST_CASE("ReduceLROnPlateau has PyTorch's values", "[optim]") {
  check_sgd("plateau", [](auto o) { return std::make_shared<ReduceLROnPlateau>(o); });
  check_sgd("plateau_max_abs", [](auto o) {
    return std::make_shared<ReduceLROnPlateau>(
        o, ReduceLROnPlateauOptions{.mode = PlateauMode::kMax,
                                    .factor = 0.5,
                                    .patience = 4,
                                    .threshold = 0.01,
                                    .threshold_mode = ThresholdMode::kAbs,
                                    .cooldown = 3,
                                    .min_lr = 0.003});
  });
}

TEST_CASE("Schedules made of schedules have PyTorch's values", "[optim]") {
  check_sgd("sequential", [](auto o) {
    return std::make_shared<SequentialLR>(
        o,
        std::vector<SchedulePtr>{std::make_shared<LinearLR>(o, 0.1, 1.0, 20),
                                 std::make_shared<ExponentialLR>(o, 0.99),
                                 std::make_shared<CosineAnnealingLR>(o, 60, 0.001)},
        std::vector<int64_t>{20, 100});
  });
  check_sgd("chained", [](auto o) {
    return std::make_shared<ChainedScheduler>(std::vector<SchedulePtr>{
        std::make_shared<LinearLR>(o, 0.25, 1.0, 30), std::make_shared<ExponentialLR>(o, 0.98),
        std::make_shared<CosineAnnealingLR>(o, 220)});
  });
}

TEST_CASE("Several schedules of one optimizer multiply, as PyTorch's chained ones do", "[optim]") {
  const OptimizerPtr optimizer = sgd();
  LinearLR linear(optimizer, 0.1, 1.0, 40);
  ExponentialLR exponential(optimizer, 0.9);
  ReduceLROnPlateau plateau(optimizer, {.factor = 0.5, .patience = 3});
  const std::vector<double> expected = goldens().at("together").rates;
  REQUIRE(expected.size() == kValues);
  check_near(linear.get_last_lr()[0], expected[0]);
  for (int64_t i = 1; i < static_cast<int64_t>(kValues); ++i) {
    CAPTURE(i);
    linear.step();
    if (i % 10 == 0) exponential.step();
    if (i % 4 == 0) plateau.step(metric(i));
    check_near(linear.get_last_lr()[0], expected[static_cast<size_t>(i)]);
  }
}
