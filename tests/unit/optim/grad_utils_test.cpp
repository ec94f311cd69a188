#include <lightning/optim/grad_utils.h>

#include <chrono>
#include <cmath>
#include <iostream>
#include <limits>

#include <torch/torch.h>
#include <catch2/catch.hpp>

#include <lightning/optim/optimizers.h>
#include <lightning/util/error.h>

namespace lo = lightning::optim;

namespace {

const double kInf = std::numeric_limits<double>::infinity();
const double kNan = std::numeric_limits<double>::quiet_NaN();

std::vector<at::Tensor> parameters_of(const std::vector<std::vector<int64_t>>& shapes,
                                      at::ScalarType dtype, double scale = 1.0) {
  std::vector<at::Tensor> params;
  for (const auto& shape : shapes) {
    params.push_back(torch::zeros(shape, dtype).requires_grad_());
    params.back().mutable_grad() = (torch::randn(shape, torch::kDouble) * scale).to(dtype);
  }
  return params;
}

std::vector<at::Tensor> clones(const std::vector<at::Tensor>& params) {
  std::vector<at::Tensor> result;
  for (const at::Tensor& param : params) {
    result.push_back(param.detach().clone().requires_grad_());
    if (param.grad().defined()) result.back().mutable_grad() = param.grad().clone();
  }
  return result;
}

double true_norm(const std::vector<at::Tensor>& params) {
  double sum = 0.0;
  for (const at::Tensor& param : params) {
    sum += param.grad().to(torch::kDouble).square().sum().item<double>();
  }
  return std::sqrt(sum);
}

}  // namespace

TEST_CASE("all_finite finds one bad element anywhere in any type", "[optim]") {
  for (const auto dtype : {torch::kFloat, torch::kDouble, torch::kBFloat16, torch::kHalf}) {
    for (const int64_t size : {1, 2, 7, 16, 33, 1000, 70000, 600000}) {
      // Largest and smallest values, zeros of both signs: all finite.
      at::Tensor values = torch::randn({size}).to(dtype);
      values[0] = -0.0;
      if (size > 2) {
        values[1] = std::numeric_limits<float>::denorm_min();
        values[2] = dtype == torch::kHalf ? 65504.0 : 3.3e38;
      }
      const std::vector<at::Tensor> list = {torch::ones({3}, dtype), values,
                                            torch::ones({}, dtype)};
      CAPTURE(dtype, size);
      CHECK(lo::all_finite(list));
      for (const double bad : {kInf, -kInf, kNan}) {
        for (const int64_t position : {int64_t{0}, size / 2, size - 1}) {
          const at::Tensor saved = values[position].clone();
          values[position] = bad;
          CHECK_FALSE(lo::all_finite(list));
          values[position] = saved;
        }
      }
      CHECK(lo::all_finite(list));
    }
  }
}

TEST_CASE("all_finite takes empty lists, gaps and mixed types", "[optim]") {
  CHECK(lo::all_finite({}));
  CHECK(lo::all_finite(std::vector<at::Tensor>{torch::empty({0})}));
  const at::Tensor column = torch::ones({4, 4}).select(1, 0);
  const at::Tensor halves = torch::ones({4}, torch::kHalf);
  std::vector<at::Tensor> list = {column, halves, torch::ones({2}, torch::kDouble)};
  CHECK(lo::all_finite(list));
  column[2] = kNan;
  CHECK_FALSE(lo::all_finite(list));
  column[2] = 1.0;
  halves[3] = kInf;
  CHECK_FALSE(lo::all_finite(list));
}

TEST_CASE("check_finite sets the flag and never clears it", "[optim]") {
  at::Tensor found_inf = torch::zeros({1});
  const at::Tensor gap = torch::ones({4, 4}).select(1, 0);
  // With a gap the operators for devices run, without it our loops.
  for (const at::Tensor& values : {torch::ones({5}), gap, gap.to(torch::kDouble)}) {
    found_inf.zero_();
    std::vector<at::Tensor> list = {values};
    lo::check_finite(list, found_inf);
    CHECK(found_inf.item<float>() == 0.0F);
    values[1] = kInf;
    const at::Tensor before = values.clone();
    lo::check_finite(list, found_inf);
    CHECK(found_inf.item<float>() == 1.0F);
    CHECK(torch::equal(values, before));
    values[1] = 1.0;
    lo::check_finite(list, found_inf);
    CHECK(found_inf.item<float>() == 1.0F);
  }
  found_inf.zero_();
  const at::Tensor bfloats = torch::ones({4, 4}, torch::kBFloat16).select(1, 0);
  lo::check_finite(std::vector<at::Tensor>{bfloats}, found_inf);
  CHECK(found_inf.item<float>() == 0.0F);
  bfloats[0] = kNan;
  lo::check_finite(std::vector<at::Tensor>{bfloats}, found_inf);
  CHECK(found_inf.item<float>() == 1.0F);
}

TEST_CASE("clip_grad_norm_ equals torch's", "[optim]") {
  torch::manual_seed(1);
  // The last list is large enough for several threads.
  const std::vector<std::vector<std::vector<int64_t>>> lists = {
      {{3}}, {{5, 7}, {1}, {128}}, {{700, 700}, {33}}};
  for (const auto& shapes : lists) {
    for (const auto dtype : {torch::kFloat, torch::kDouble}) {
      for (const double scale : {0.001, 1.0, 100.0}) {
        auto params = parameters_of(shapes, dtype, scale);
        auto reference = clones(params);
        CAPTURE(shapes.size(), dtype, scale);
        const double truth = true_norm(params);
        const at::Tensor norm = lo::clip_grad_norm_(params, 1.0);
        const double theirs = torch::nn::utils::clip_grad_norm_(reference, 1.0);
        const bool is_double = dtype == torch::kDouble;
        CHECK(norm.item<double>() == Approx(truth).epsilon(is_double ? 1e-14 : 2e-7));
        // torch sums half a million squares in float32, which costs it a digit.
        const double tolerance = is_double ? 1e-12 : 1e-5;
        CHECK(norm.item<double>() == Approx(theirs).epsilon(tolerance));
        CHECK(norm.scalar_type() == dtype);
        for (size_t i = 0; i < params.size(); ++i) {
          CHECK(torch::allclose(params[i].grad(), reference[i].grad(), tolerance, 0.0));
        }
      }
    }
  }
}

TEST_CASE("clip_grad_norm_ leaves small gradients bitwise alone", "[optim]") {
  auto params = parameters_of({{10}}, torch::kFloat, 1e-3);
  const at::Tensor before = params[0].grad().clone();
  lo::clip_grad_norm_(params, 1.0);
  CHECK(torch::equal(params[0].grad(), before));
}

TEST_CASE("clip_grad_norm_ on the path for devices equals the one for the CPU", "[optim]") {
  // A gradient with gaps can't go through the loops.
  const at::Tensor base = torch::randn({6, 5});
  at::Tensor gap = torch::zeros({6}, torch::requires_grad());
  gap.mutable_grad() = base.select(1, 2);
  auto plain = clones({gap});
  std::vector<at::Tensor> params = {gap, torch::zeros({2}, torch::kDouble).requires_grad_()};
  params[1].mutable_grad() = torch::ones({2}, torch::kDouble);
  plain.push_back(clones({params[1]})[0]);
  const at::Tensor norm = lo::clip_grad_norm_(params, 0.5);
  const at::Tensor expected = lo::clip_grad_norm_(plain, 0.5);
  CHECK(norm.item<double>() == Approx(expected.item<double>()).epsilon(1e-6));
  CHECK(torch::allclose(gap.grad(), plain[0].grad(), 1e-5, 1e-7));
  CHECK(torch::allclose(params[1].grad(), plain[1].grad(), 1e-5, 1e-7));
}

TEST_CASE("clip_grad_norm_ counts tied parameters once and skips missing gradients", "[optim]") {
  at::Tensor tied = torch::zeros({1}, torch::requires_grad());
  tied.mutable_grad() = torch::full({1}, 3.0);
  at::Tensor other = torch::zeros({1}, torch::requires_grad());
  other.mutable_grad() = torch::full({1}, 4.0);
  const at::Tensor frozen = torch::zeros({1});
  const std::vector<at::Tensor> params = {tied, frozen, other, tied};
  CHECK(lo::clip_grad_norm_(params, 2.5).item<float>() == 5.0F);
  CHECK(tied.grad().item<float>() == Approx(1.5).epsilon(1e-6));
  CHECK(lo::clip_grad_norm_(std::vector<at::Tensor>{frozen}, 1.0).item<float>() == 0.0F);
}

TEST_CASE("clip_grad_norm_ shows non-finite gradients in its result", "[optim]") {
  auto params = parameters_of({{4}, {4}}, torch::kFloat);
  auto reference = clones(params);
  for (auto* list : {&params, &reference}) (*list)[0].mutable_grad()[1] = kInf;
  CHECK(std::isinf(lo::clip_grad_norm_(params, 1.0).item<double>()));
  torch::nn::utils::clip_grad_norm_(reference, 1.0);
  CHECK(torch::equal(params[1].grad(), reference[1].grad()));
  CHECK(std::isnan(params[0].grad()[1].item<float>()));
}

TEST_CASE("the norm doesn't depend on the number of threads", "[optim]") {
  torch::manual_seed(3);
  auto params = parameters_of({{513, 777}, {1000}}, torch::kFloat);
  auto other = clones(params);
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const at::Tensor one_thread = lo::clip_grad_norm_(params, 1.0);
  at::set_num_threads(3);
  const at::Tensor three_threads = lo::clip_grad_norm_(other, 1.0);
  at::set_num_threads(threads);
  CHECK(one_thread.item<float>() == three_threads.item<float>());
  CHECK(torch::equal(params[0].grad(), other[0].grad()));
}

TEST_CASE("clip_grad_value_ equals torch's", "[optim]") {
  auto params = parameters_of({{5, 7}, {3}}, torch::kFloat, 2.0);
  params[1].mutable_grad()[0] = kNan;
  auto reference = clones(params);
  lo::clip_grad_value_(params, 0.7);
  torch::nn::utils::clip_grad_value_(reference, 0.7);
  CHECK(torch::equal(params[0].grad(), reference[0].grad()));
  CHECK(torch::allclose(params[1].grad(), reference[1].grad(), 0, 0, /*equal_nan=*/true));
}

TEST_CASE("clipping refuses limits that aren't above zero", "[optim]") {
  auto params = parameters_of({{2}}, torch::kFloat);
  CHECK_THROWS_AS(lo::clip_grad_norm_(params, 0.0), lightning::ConfigError);
  CHECK_THROWS_AS(lo::clip_grad_norm_(params, kNan), lightning::ConfigError);
  CHECK_THROWS_AS(lo::clip_grad_value_(params, -1.0), lightning::ConfigError);
}

TEST_CASE("divide_ divides every tensor, in its own precision", "[optim]") {
  const std::vector<at::Tensor> list = {torch::ones({3}), torch::ones({2}, torch::kDouble),
                                        torch::ones({4, 2}).select(1, 0)};
  lo::divide_(list, torch::full({1}, 3.0, torch::kDouble));
  CHECK(list[0][0].item<float>() == 1.0F / 3.0F);
  CHECK(list[1][0].item<double>() == 1.0 / 3.0);
  CHECK(list[2][0].item<float>() == 1.0F / 3.0F);
}

TEST_CASE("collect_gradients reuses its vector and drops repeats", "[optim]") {
  auto params = parameters_of({{2}, {3}}, torch::kFloat);
  const at::Tensor frozen = torch::zeros({1});
  lo::SGD optimizer({params[0], frozen, params[1], params[0]}, torch::optim::SGDOptions(0.1));
  std::vector<at::Tensor> gradients(5);
  lo::collect_gradients(optimizer, gradients);
  REQUIRE(gradients.size() == 2);
  CHECK(gradients[0].is_same(params[0].grad()));
  CHECK(gradients[1].is_same(params[1].grad()));
}

// Run by hand: unit_optim "[.timing]". Prints microseconds, minima of 20 rounds of 500 calls.
TEST_CASE("cost of looking at sample_li's gradients", "[.timing]") {
  at::set_num_threads(1);
  auto params = parameters_of({{64, 784}, {64}, {3, 64}, {3}, {64, 3}, {64}, {784, 64}, {784}},
                              torch::kFloat, 1e-3);
  std::vector<at::Tensor> gradients;
  lo::collect_gradients(params, gradients);
  const auto time = [](const char* name, const std::function<void()>& f) {
    double best = 1e9;
    for (int round = 0; round < 20; ++round) {
      const auto start = std::chrono::steady_clock::now();
      for (int i = 0; i < 500; ++i) f();
      const std::chrono::duration<double, std::micro> t = std::chrono::steady_clock::now() - start;
      best = std::min(best, t.count() / 500);
    }
    std::cout << name << ": " << best << " us\n";
  };
  time("all_finite", [&] { lo::all_finite(gradients); });
  time("clip_grad_norm_ below the limit", [&] { lo::clip_grad_norm_(params, 1e6); });
  time("torch's clip_grad_norm_", [&] { torch::nn::utils::clip_grad_norm_(params, 1e6); });
}
