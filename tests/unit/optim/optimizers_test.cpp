#include <lightning/optim/optimizers.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <iostream>

#include <torch/torch.h>
#include <catch2/catch.hpp>

#include <lightning/optim/adadelta.h>
#include <lightning/util/error.h>

#include "golden/optim/optimizer_goldens.h"

namespace lo = lightning::optim;
using lightning::ConfigError;
using torch::optim::OptimizerParamGroup;

namespace {

const std::vector<std::vector<int64_t>> kShapes = {{3, 4}, {5}, {2, 3}};
constexpr int kSteps = 20;

// The same formulas as in tests/golden/optim/make_goldens.py.
at::Tensor filled(const std::vector<int64_t>& shape, const std::function<double(int64_t)>& f) {
  at::Tensor result = torch::empty(shape, torch::kDouble);
  for (int64_t k = 0; k < result.numel(); ++k) result.data_ptr<double>()[k] = f(k);
  return result;
}

std::vector<at::Tensor> make_parameters(at::ScalarType dtype) {
  std::vector<at::Tensor> params;
  for (size_t i = 0; i < kShapes.size(); ++i) {
    const auto value = [&](int64_t k) {
      return std::sin(0.7 * static_cast<double>(i) + 0.3 * static_cast<double>(k) + 0.1);
    };
    params.push_back(filled(kShapes[i], value).to(dtype).requires_grad_());
  }
  return params;
}

void set_gradients(const std::vector<at::Tensor>& params, int step, double factor = 1.0) {
  for (size_t i = 0; i < params.size(); ++i) {
    const auto value = [&](int64_t k) {
      return std::cos(1.3 * static_cast<double>(i) + 0.9 * static_cast<double>(k) + 0.5 * step) *
             (1.0 + 0.1 * static_cast<double>(k));
    };
    const bool present = !(i == 2 && (step % 7 == 0 || step % 7 == 3));
    at::Tensor& grad = params[i].mutable_grad();
    grad =
        present ? filled(kShapes[i], value).mul_(factor).to(params[i].scalar_type()) : at::Tensor();
  }
}

template <typename Optimizer, typename Options>
std::unique_ptr<torch::optim::Optimizer> with_groups(const std::vector<at::Tensor>& params,
                                                     const Options& options) {
  Options second = options;
  second.lr(options.lr() * 0.1).weight_decay(0.2);
  std::vector<OptimizerParamGroup> groups;
  groups.emplace_back(std::vector<at::Tensor>{params[0]});
  groups.emplace_back(std::vector<at::Tensor>{params[1], params[2]},
                      std::make_unique<Options>(second));
  return std::make_unique<Optimizer>(groups, options);
}

std::unique_ptr<torch::optim::Optimizer> make_optimizer(const golden::OptimizerGolden& o,
                                                        const std::vector<at::Tensor>& params) {
  const auto betas = std::make_tuple(o.beta1, o.beta2);
  if (o.optimizer == std::string("Adadelta")) {
    return with_groups<lo::Adadelta>(
        params, lo::AdadeltaOptions(o.lr).rho(o.beta1).eps(o.eps).weight_decay(o.weight_decay));
  }
  if (o.optimizer == std::string("Adam")) {
    return with_groups<lo::Adam>(params, torch::optim::AdamOptions(o.lr)
                                             .betas(betas)
                                             .eps(o.eps)
                                             .weight_decay(o.weight_decay)
                                             .amsgrad(o.amsgrad));
  }
  if (o.optimizer == std::string("AdamW")) {
    return with_groups<lo::AdamW>(params, torch::optim::AdamWOptions(o.lr)
                                              .betas(betas)
                                              .eps(o.eps)
                                              .weight_decay(o.weight_decay)
                                              .amsgrad(o.amsgrad));
  }
  return with_groups<lo::SGD>(params, torch::optim::SGDOptions(o.lr)
                                          .momentum(o.momentum)
                                          .dampening(o.dampening)
                                          .nesterov(o.nesterov)
                                          .weight_decay(o.weight_decay));
}

double largest_difference(const std::vector<at::Tensor>& params,
                          const std::vector<double>& expected) {
  double largest = 0.0;
  size_t next = 0;
  for (const at::Tensor& param : params) {
    const at::Tensor values = param.detach().to(torch::kDouble).contiguous();
    for (int64_t k = 0; k < values.numel(); ++k) {
      largest = std::max(largest, std::abs(values.data_ptr<double>()[k] - expected[next++]));
    }
  }
  REQUIRE(next == expected.size());
  return largest;
}

bool bitwise_equal(const at::Tensor& a, const at::Tensor& b) {
  return a.sizes() == b.sizes() &&
         std::memcmp(a.contiguous().data_ptr(), b.contiguous().data_ptr(), a.nbytes()) == 0;
}

std::vector<at::Tensor> copies(const std::vector<at::Tensor>& tensors) {
  std::vector<at::Tensor> result;
  for (const at::Tensor& tensor : tensors) result.push_back(tensor.detach().clone());
  return result;
}

bool all_bitwise_equal(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  for (size_t i = 0; i < a.size(); ++i) {
    if (!bitwise_equal(a[i].detach(), b[i].detach())) return false;
  }
  return a.size() == b.size();
}

at::Tensor one(double value) { return torch::full({1}, value, torch::kFloat); }

}  // namespace

TEST_CASE("fused optimizers give the weights of torch.optim", "[optim]") {
  REQUIRE(golden::kOptimizerGoldens.size() == 13);
  for (const auto& expected : golden::kOptimizerGoldens) {
    for (const auto dtype : {torch::kDouble, torch::kFloat}) {
      auto params = make_parameters(dtype);
      const auto optimizer = make_optimizer(expected, params);
      for (int step = 0; step < kSteps; ++step) {
        set_gradients(params, step);
        optimizer->step();
      }
      CAPTURE(expected.name, dtype);
      // The parameters are about 1; 20 steps of float32 rounding on values of that size.
      CHECK(largest_difference(params, expected.values) < (dtype == torch::kDouble ? 1e-12 : 5e-6));
    }
  }
}

TEST_CASE("grad_scale divides the gradients inside the step", "[optim]") {
  for (const auto& expected : golden::kOptimizerGoldens) {
    for (const auto dtype : {torch::kDouble, torch::kFloat}) {
      auto params = make_parameters(dtype);
      auto optimizer = make_optimizer(expected, params);
      for (int step = 0; step < kSteps; ++step) {
        set_gradients(params, step, 24.0);
        auto& fused = dynamic_cast<lo::FusedOptimizer&>(*optimizer);
        fused.set_step_scaling(torch::full({}, 24.0, torch::kDouble), {});
        fused.step();
      }
      CAPTURE(expected.name, dtype);
      CHECK(largest_difference(params, expected.values) < (dtype == torch::kDouble ? 1e-12 : 5e-6));
    }
  }
}

TEST_CASE("grad_scale gives the bits of gradients divided before", "[optim]") {
  for (const double scale : {65536.0, 24.0}) {
    auto params = make_parameters(torch::kFloat);
    auto reference = make_parameters(torch::kFloat);
    lo::AdamW optimizer(params, torch::optim::AdamWOptions(0.01));
    lo::AdamW reference_optimizer(reference, torch::optim::AdamWOptions(0.01));
    for (int step = 0; step < kSteps; ++step) {
      set_gradients(params, step);
      set_gradients(reference, step);
      for (const at::Tensor& param : reference) {
        if (param.grad().defined()) param.mutable_grad().div_(scale);
      }
      optimizer.set_step_scaling(one(scale), one(0.0));
      optimizer.step();
      reference_optimizer.step();
    }
    CHECK(all_bitwise_equal(params, reference));
  }
}

TEST_CASE("the scaling holds for one step only", "[optim]") {
  auto params = make_parameters(torch::kFloat);
  auto reference = make_parameters(torch::kFloat);
  lo::SGD optimizer(params, torch::optim::SGDOptions(0.1));
  lo::SGD reference_optimizer(reference, torch::optim::SGDOptions(0.1));
  optimizer.set_step_scaling(one(2.0), one(1.0));
  set_gradients(params, 0);
  optimizer.step();
  set_gradients(params, 1);
  set_gradients(reference, 1);
  optimizer.step();
  reference_optimizer.step();
  CHECK(all_bitwise_equal(params, reference));
}

TEST_CASE("found_inf leaves weights, moments and step counts as they are", "[optim]") {
  for (const auto& golden : golden::kOptimizerGoldens) {
    CAPTURE(golden.name);
    auto params = make_parameters(torch::kFloat);
    auto reference = make_parameters(torch::kFloat);
    auto optimizer = make_optimizer(golden, params);
    auto reference_optimizer = make_optimizer(golden, reference);
    for (int step = 0; step < kSteps; ++step) {
      // Also before the very first step, where there is no state yet.
      if (step % 3 == 0) {
        set_gradients(params, step + 100, std::numeric_limits<double>::infinity());
        const auto before = copies(params);
        auto& fused = dynamic_cast<lo::FusedOptimizer&>(*optimizer);
        fused.set_step_scaling({}, one(1.0));
        fused.step();
        REQUIRE(all_bitwise_equal(params, before));
      }
      set_gradients(params, step);
      set_gradients(reference, step);
      optimizer->step();
      reference_optimizer->step();
      REQUIRE(all_bitwise_equal(params, reference));
    }
  }
}

TEST_CASE("a closure is called with gradients and its loss returned", "[optim]") {
  at::Tensor weight = torch::ones({3}, torch::requires_grad());
  lo::SGD optimizer({weight}, torch::optim::SGDOptions(0.5));
  int calls = 0;
  torch::NoGradGuard no_grad;
  const at::Tensor loss = optimizer.step([&] {
    ++calls;
    optimizer.zero_grad();
    at::Tensor value = (weight * weight).sum();
    value.backward();
    return value;
  });
  CHECK(calls == 1);
  CHECK(loss.item<float>() == 3.0F);
  CHECK(weight.sum().item<float>() == 0.0F);
}

TEST_CASE("groups and parameters added later are stepped", "[optim]") {
  auto params = make_parameters(torch::kFloat);
  auto reference = make_parameters(torch::kFloat);
  lo::AdamW optimizer({params[0]}, torch::optim::AdamWOptions(0.01));
  std::vector<OptimizerParamGroup> groups;
  for (const at::Tensor& param : reference) groups.emplace_back(std::vector<at::Tensor>{param});
  lo::AdamW reference_optimizer(groups, torch::optim::AdamWOptions(0.01));
  for (int step = 1; step < 12; ++step) {
    set_gradients(params, step);
    set_gradients(reference, step);
    if (step < 4) reference[1].mutable_grad() = at::Tensor();
    if (step < 6) reference[2].mutable_grad() = at::Tensor();
    if (step == 4) optimizer.add_param_group(OptimizerParamGroup({params[1]}));
    if (step == 6) optimizer.param_groups()[1].params().push_back(params[2]);
    optimizer.step();
    reference_optimizer.step();
  }
  CHECK(all_bitwise_equal(params, reference));
}

TEST_CASE("learning rates set between steps are taken", "[optim]") {
  at::Tensor weight = torch::ones({1}, torch::requires_grad());
  lo::SGD optimizer({weight}, torch::optim::SGDOptions(1.0));
  for (const double rate : {0.5, 0.25}) {
    optimizer.param_groups()[0].options().set_lr(rate);
    weight.mutable_grad() = torch::ones({1});
    optimizer.step();
  }
  CHECK(weight.item<float>() == 0.25F);
}

TEST_CASE("amsgrad and momentum may be switched on between steps", "[optim]") {
  at::Tensor a = torch::ones({2}, torch::requires_grad());
  at::Tensor b = torch::ones({2}, torch::requires_grad());
  lo::Adam adam({a}, torch::optim::AdamOptions(0.1));
  lo::SGD sgd({b}, torch::optim::SGDOptions(0.1));
  const auto step = [&] {
    a.mutable_grad() = torch::ones({2});
    b.mutable_grad() = torch::ones({2});
    adam.step();
    sgd.step();
  };
  step();
  static_cast<torch::optim::AdamOptions&>(adam.param_groups()[0].options()).amsgrad(true);
  static_cast<torch::optim::SGDOptions&>(sgd.param_groups()[0].options()).momentum(0.9);
  step();
  step();
  const auto& state = static_cast<lo::AdamState&>(*adam.state().at(a.unsafeGetTensorImpl()));
  CHECK(state.max_exp_avg_sq.defined());
  CHECK(state.step.item<float>() == 3.0F);
  // 1 - 0.1 - 0.1 - 0.1 * 1.9
  CHECK(b[0].item<float>() == Approx(0.61).epsilon(1e-6));
}

TEST_CASE("tied and frozen parameters: stepped once and never", "[optim]") {
  at::Tensor tied = torch::ones({2}, torch::requires_grad());
  at::Tensor frozen = torch::ones({2});
  lo::SGD optimizer({tied, frozen, tied}, torch::optim::SGDOptions(0.5));
  tied.mutable_grad() = torch::ones({2});
  optimizer.step();
  CHECK(tied[0].item<float>() == 0.5F);
  CHECK(frozen[0].item<float>() == 1.0F);
  CHECK(optimizer.state().size() <= 1);
}

TEST_CASE("gradients laid out unlike their parameter are understood", "[optim]") {
  // The CPU kernels walk through memory and look at no strides.
  at::Tensor weight = torch::arange(6, torch::kFloat).view({2, 3}).requires_grad_();
  at::Tensor image_weight = torch::arange(24, torch::kFloat)
                                .view({2, 3, 2, 2})
                                .contiguous(at::MemoryFormat::ChannelsLast)
                                .requires_grad_();
  const at::Tensor gradient = torch::arange(6, torch::kFloat).view({3, 2}).t();
  const at::Tensor image_gradient = torch::arange(24, torch::kFloat).view({2, 3, 2, 2});
  const at::Tensor expected = weight.detach() - gradient;
  const at::Tensor image_expected = image_weight.detach() - image_gradient;
  weight.mutable_grad() = gradient;
  image_weight.mutable_grad() = image_gradient.clone();
  lo::SGD optimizer({weight, image_weight}, torch::optim::SGDOptions(1.0));
  optimizer.step();
  CHECK(torch::equal(weight.detach(), expected));
  CHECK(torch::equal(image_weight.detach(), image_expected));
}

TEST_CASE("gradients are not kept alive by the optimizer", "[optim]") {
  at::Tensor weight = torch::ones({2}, torch::requires_grad());
  lo::AdamW optimizer({weight}, torch::optim::AdamWOptions(0.1));
  weight.mutable_grad() = torch::ones({2});
  const c10::weak_intrusive_ptr<c10::TensorImpl> gradient(weight.grad().getIntrusivePtr());
  optimizer.step();
  optimizer.zero_grad();
  CHECK(gradient.expired());
}

TEST_CASE("a step is seen by autograd's version counter", "[optim]") {
  at::Tensor weight = torch::ones({2}, torch::requires_grad());
  lo::SGD optimizer({weight}, torch::optim::SGDOptions(0.1));
  const at::Tensor loss = (weight * weight).sum();
  weight.mutable_grad() = torch::ones({2});
  optimizer.step();
  CHECK_THROWS(loss.backward());
}

TEST_CASE("fused optimizers refuse what they can't step", "[optim]") {
  using Catch::Matchers::Contains;
  at::Tensor weight = torch::ones({4}, torch::requires_grad());
  SECTION("sparse gradients") {
    lo::SGD optimizer({weight}, torch::optim::SGDOptions(0.1));
    weight.mutable_grad() = torch::ones({4}).to_sparse();
    CHECK_THROWS_WITH(optimizer.step(), Contains("sparse") && Contains("HINT"));
  }
  SECTION("complex parameters") {
    at::Tensor complex = torch::ones({2}, torch::kComplexFloat).requires_grad_();
    lo::Adam optimizer({complex});
    complex.mutable_grad() = torch::ones({2}, torch::kComplexFloat);
    CHECK_THROWS_AS(optimizer.step(), ConfigError);
  }
  SECTION("overlapping parameters") {
    at::Tensor expanded = torch::ones({1}).expand({4}).requires_grad_();
    lo::Adam optimizer({expanded});
    expanded.mutable_grad() = torch::ones({4});
    CHECK_THROWS_AS(optimizer.step(), ConfigError);
  }
  SECTION("undefined parameters") {
    CHECK_THROWS_AS(lo::Adam({weight, at::Tensor()}), ConfigError);
  }
  SECTION("options out of range") {
    using torch::optim::AdamOptions;
    using torch::optim::AdamWOptions;
    using torch::optim::SGDOptions;
    CHECK_THROWS_AS(lo::Adam({weight}, AdamOptions(-1.0)), ConfigError);
    CHECK_THROWS_AS(lo::AdamW({weight}, AdamWOptions(0.1).betas({0.9, 1.0})), ConfigError);
    CHECK_THROWS_AS(lo::SGD({weight}, SGDOptions(0.1).nesterov(true)), ConfigError);
    CHECK_THROWS_AS(lo::Adadelta({weight}, lo::AdadeltaOptions().rho(1.1)), ConfigError);
    CHECK_THROWS_AS(lo::Adadelta({weight}, lo::AdadeltaOptions(-1.0)), ConfigError);
    std::vector<OptimizerParamGroup> groups;
    groups.emplace_back(std::vector<at::Tensor>{weight}, std::make_unique<AdamOptions>(0.1));
    CHECK_THROWS_WITH(lo::AdamW(groups), Contains("AdamWOptions"));
  }
}

// Run by hand: unit_optim "[.timing]". Prints microseconds, minima of 20 rounds of 500 steps.
TEST_CASE("cost of a step over the bare kernel", "[.timing]") {
  at::set_num_threads(1);
  for (const bool small : {true, false}) {
    std::vector<at::Tensor> params;
    for (int i = 0; i < 4; ++i) {
      const int64_t width = small ? 4 : (i % 3 == 0 ? 784 : 64);
      params.push_back(torch::randn({64, width}).requires_grad_());
      params.push_back(torch::randn({small ? 4 : 64}).requires_grad_());
    }
    for (const at::Tensor& param : params) param.mutable_grad() = torch::randn_like(param);
    lo::Adam optimizer(params, torch::optim::AdamOptions(1e-3));
    const auto best_of = [&](const std::function<void()>& f) {
      double best = 1e9;
      for (int round = 0; round < 20; ++round) {
        const auto start = std::chrono::steady_clock::now();
        for (int i = 0; i < 500; ++i) f();
        const std::chrono::duration<double, std::micro> time =
            std::chrono::steady_clock::now() - start;
        best = std::min(best, time.count() / 500);
      }
      return best;
    };
    std::vector<at::Tensor> grads, m, v, steps;
    for (const at::Tensor& param : params) {
      grads.push_back(param.grad());
      m.push_back(torch::zeros_like(param));
      v.push_back(torch::zeros_like(param));
      steps.push_back(torch::ones({}));
    }
    const double bare = best_of([&] {
      torch::NoGradGuard no_grad;
      at::_fused_adam_(params, grads, m, v, {}, steps, 1e-3, 0.9, 0.999, 0.0, 1e-8, false, false);
    });
    const double ours = best_of([&] { optimizer.step(); });
    torch::optim::Adam stock(params, torch::optim::AdamOptions(1e-3));
    const double torchs = best_of([&] { stock.step(); });
    std::cout << (small ? "8 small tensors" : "sample_li's 8 tensors") << ": kernel " << bare
              << " us, our step " << ours << " us, torch::optim::Adam " << torchs << " us\n";
  }
}
