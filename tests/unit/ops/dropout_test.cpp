#include <lightning/ops/dropout.h>

#include <cmath>

#include <lightning/util/error.h>

#include "unit/ops/nn_support.h"

namespace ops = lightning::ops;
using lightning_tests::with_threads;

namespace {

/// 1 where kept, 0 where dropped, as double.
torch::Tensor kept(int64_t count, double p) {
  return (ops::dropout(torch::ones({count}), p, true) != 0).to(torch::kDouble);
}

/// Correlation of two 0/1 vectors in standard deviations of its distribution under independence.
double correlation_deviations(const torch::Tensor& a, const torch::Tensor& b, double keep) {
  const double covariance = ((a - keep) * (b - keep)).mean().item<double>();
  return covariance / (keep * (1 - keep)) * std::sqrt(static_cast<double>(a.numel()));
}

}  // namespace

TEST_CASE("dropout drops with the given probability", "[nn]") {
  torch::manual_seed(1);
  constexpr int64_t kCount = 4'000'000;
  for (const double p : {0.01, 0.1, 0.25, 0.5, 0.9}) {
    const double dropped = kCount - kept(kCount, p).sum().item<double>();
    // Half a step of 2^-16 is what p may be rounded by.
    const double bound = 4.5 * std::sqrt(kCount * p * (1 - p)) + kCount / 131072.0;
    INFO("p = " << p << ", dropped " << dropped);
    CHECK(std::abs(dropped - kCount * p) < bound);
  }
}

TEST_CASE("dropout keeps the mean of its input", "[nn]") {
  torch::manual_seed(2);
  const auto output = ops::dropout(torch::ones({4'000'000}), 0.1, true);
  CHECK(output.mean().item<double>() == Approx(1.0).margin(4.5 * std::sqrt(0.1 / 0.9 / 4e6)));
  CHECK(output.max().item<double>() == Approx(1.0 / 0.9).epsilon(2e-5));
}

TEST_CASE("dropout decides independently for neighbours and at all distances", "[nn]") {
  torch::manual_seed(3);
  constexpr int64_t kCount = 2'000'000;
  for (const double p : {0.1, 0.5}) {
    const auto mask = kept(kCount, p);
    // Among them the distances at which elements share a word, a counter or a block.
    for (const int64_t lag : {1,  2,  3,   4,   8,   15,  16,  17,  32,   48,   63,
                              64, 65, 112, 127, 128, 129, 256, 384, 1024, 1536, 12288}) {
      const double deviations =
          correlation_deviations(mask.slice(0, 0, kCount - lag), mask.slice(0, lag, kCount), 1 - p);
      INFO("p = " << p << ", lag " << lag);
      CHECK(std::abs(deviations) < 4.5);
    }
  }
}

TEST_CASE("dropout gives every pattern of eight neighbours its share", "[nn]") {
  torch::manual_seed(4);
  constexpr int64_t kPatterns = 400'000;
  // Neighbours in the row, and elements 16 apart: words of one counter.
  for (const bool strided : {false, true}) {
    auto mask = kept(kPatterns * 8, 0.5).to(torch::kLong);
    mask = strided ? mask.view({-1, 8, 16}).transpose(1, 2).reshape({-1, 8}) : mask.view({-1, 8});
    const auto powers = torch::tensor({1, 2, 4, 8, 16, 32, 64, 128}, torch::kLong);
    const auto counts = torch::bincount((mask * powers).sum(1), {}, 256).to(torch::kDouble);
    const double expected = kPatterns / 256.0;
    const double chi_square = ((counts - expected).square() / expected).sum().item<double>();
    // 255 degrees of freedom: mean 255, standard deviation 22.6.
    CHECK(chi_square > 255 - 4.5 * 22.6);
    CHECK(chi_square < 255 + 4.5 * 22.6);
  }
}

TEST_CASE("dropout decides anew in every call", "[nn]") {
  torch::manual_seed(5);
  constexpr int64_t kCount = 1'000'000;
  const auto first = kept(kCount, 0.3);
  for (int call = 0; call < 10; ++call) {
    CHECK(std::abs(correlation_deviations(first, kept(kCount, 0.3), 0.7)) < 4.5);
  }
}

TEST_CASE("dropout repeats itself from the state of the default generator", "[nn]") {
  const auto run = [] { return ops::dropout(torch::ones({1000}), 0.4, true); };
  torch::manual_seed(6);
  const auto first = run();
  auto generator = at::detail::getDefaultCPUGenerator();
  const auto state = generator.get_state();
  const auto second = run();
  generator.set_state(state);
  CHECK(run().equal(second));
  CHECK_FALSE(first.equal(second));
}

TEST_CASE("dropout passes the gradient of kept elements, scaled alike", "[nn]") {
  torch::manual_seed(7);
  for (const auto type : {torch::kFloat, torch::kBFloat16}) {
    auto input = torch::rand({37, 211}).add(0.5).to(type).requires_grad_();
    const auto output = ops::dropout(input, 0.2, true);
    const auto upstream = torch::rand({37, 211}).to(type);
    output.backward(upstream);
    const auto mask = output.detach() != 0;
    const auto scale = 65536.0 / std::lround(0.8 * 65536);
    const auto expected = (upstream.to(torch::kFloat) * mask * scale).to(type);
    CHECK(torch::allclose(input.grad(), expected, 1e-2, 0));
    CHECK(((input.grad() != 0) == mask).all().item<bool>());
    CHECK(torch::allclose(output, (input * scale).to(type) * mask, 1e-2, 0));
  }
}

TEST_CASE("dropout with probability 0 or in evaluation is the input", "[nn]") {
  const auto input = torch::rand({10});
  CHECK(ops::dropout(input, 0.0, true).is_same(input));
  CHECK(ops::dropout(input, 0.5, false).is_same(input));
}

TEST_CASE("dropout with probability 1 gives zeros, also from infinities", "[nn]") {
  auto input = torch::full({300}, std::numeric_limits<float>::infinity()).requires_grad_();
  const auto output = ops::dropout(input, 1.0, true);
  output.sum().backward();
  CHECK((output == 0).all().item<bool>());
  CHECK((input.grad() == 0).all().item<bool>());
}

TEST_CASE("dropout gives the same bits with one and with two threads", "[nn]") {
  const auto run = [] {
    auto input = torch::rand({50, 1237}).requires_grad_();
    const auto output = ops::dropout(input, 0.1, true);
    output.square().sum().backward();
    return torch::stack({output.detach(), input.grad()});
  };
  CHECK(with_threads(1, 8, run).equal(with_threads(2, 8, run)));
}

TEST_CASE("dropout works on strided, empty and double tensors", "[nn]") {
  torch::manual_seed(9);
  const auto strided = torch::rand({64, 65}).add(1).t();
  const auto output = ops::dropout(strided, 0.5, true);
  CHECK(((output == 0) | torch::isclose(output, strided * 2)).all().item<bool>());
  CHECK(ops::dropout(torch::empty({0, 4}), 0.5, true).sizes() == torch::IntArrayRef({0, 4}));
  const auto doubles = ops::dropout(torch::ones({100'000}, torch::kDouble), 0.25, true);
  CHECK(doubles.scalar_type() == torch::kDouble);
  CHECK((doubles == 0).to(torch::kDouble).mean().item<double>() == Approx(0.25).margin(0.007));
}

TEST_CASE("dropout refuses what isn't a probability, and second derivatives", "[nn]") {
  CHECK_THROWS_AS(ops::dropout(torch::ones({3}), 1.5, true), lightning::ConfigError);
  CHECK_THROWS_AS(ops::dropout(torch::ones({3}), -0.1, true), lightning::ConfigError);
  auto input = torch::ones({3}).requires_grad_();
  const auto output = ops::dropout(input, 0.5, true).sum();
  CHECK_THROWS_WITH(torch::autograd::grad({output}, {input}, {}, true, /*create_graph=*/true),
                    Catch::Contains("no second derivative"));
}
