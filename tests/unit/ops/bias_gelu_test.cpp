#include <lightning/ops/bias_gelu.h>

#include <lightning/util/error.h>

#include "unit/ops/nn_support.h"

using lightning::ops::bias_gelu;
using lightning_tests::leaf;
using lightning_tests::relative_difference;
using lightning_tests::with_threads;

TEST_CASE("bias_gelu is exact to a few units in the last place of 1", "[nn]") {
  const auto x = torch::linspace(-12, 12, 400'001, torch::kDouble).to(torch::kFloat).unsqueeze(1);
  const auto zero = torch::zeros({1});
  const auto input = leaf(x);
  const auto output = bias_gelu(input, zero);
  const auto reference_input = leaf(x.to(torch::kDouble));
  const auto reference = torch::gelu(reference_input);
  const auto allowed = 2e-7 * (1 + x.abs().to(torch::kDouble));
  CHECK(((output - reference).abs() <= allowed).all().item<bool>());
  output.sum().backward();
  reference.sum().backward();
  CHECK(((input.grad() - reference_input.grad()).abs() <= allowed).all().item<bool>());
}

TEST_CASE("bias_gelu keeps what isn't finite", "[nn]") {
  const float infinity = std::numeric_limits<float>::infinity();
  const auto output =
      bias_gelu(torch::tensor({infinity, std::nanf(""), -1e30F, 1e30F}), torch::zeros({4}));
  CHECK(output[0].item<float>() == infinity);
  CHECK(output[1].isnan().item<bool>());
  CHECK(output[2].item<float>() == 0.0F);
  CHECK(output[3].item<float>() == 1e30F);
}

TEST_CASE("bias_gelu equals torch's operations, forward and gradients", "[nn]") {
  torch::manual_seed(1);
  for (const auto& [type, bound] :
       {std::pair(torch::kFloat, 1e-6), std::pair(torch::kBFloat16, 1e-2)}) {
    const auto input = leaf((torch::randn({3, 70, 50}) * 2).to(type));
    const auto bias = leaf(torch::randn({50}));
    const auto upstream = torch::randn({3, 70, 50}).to(type);
    const auto output = bias_gelu(input, bias);
    CHECK(output.scalar_type() == type);
    const auto grads = torch::autograd::grad({output}, {input, bias}, {upstream});

    const auto double_input = leaf(input.to(torch::kDouble));
    const auto double_bias = leaf(bias.to(torch::kDouble));
    const auto expected = torch::gelu(double_input + double_bias);
    const auto expected_grads = torch::autograd::grad({expected}, {double_input, double_bias},
                                                      {upstream.to(torch::kDouble)});
    CHECK(relative_difference(output, expected) < bound);
    CHECK(relative_difference(grads[0], expected_grads[0]) < bound);
    CHECK(relative_difference(grads[1], expected_grads[1]) < 1e-5);
  }
}

TEST_CASE("bias_gelu gives the same bits with one and with two threads", "[nn]") {
  const auto run = [] {
    const auto input = leaf(torch::randn({700, 33}));
    const auto bias = leaf(torch::randn({33}));
    const auto output = bias_gelu(input, bias);
    auto results = torch::autograd::grad({output.square().sum()}, {input, bias});
    results.push_back(output.detach());
    return results;
  };
  const auto one = with_threads(1, 2, run);
  const auto two = with_threads(2, 2, run);
  for (size_t i = 0; i < one.size(); ++i) CHECK(one[i].equal(two[i]));
}

TEST_CASE("bias_gelu refuses a bias that doesn't fit", "[nn]") {
  CHECK_THROWS_AS(bias_gelu(torch::zeros({3, 4}), torch::zeros({3})), lightning::ConfigError);
}
