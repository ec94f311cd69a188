#include <lightning/ops/add_layer_norm.h>

#include <lightning/util/error.h>

#include "unit/ops/nn_support.h"

using lightning::ops::add_layer_norm;
using lightning_tests::leaf;
using lightning_tests::relative_difference;
using lightning_tests::with_threads;

namespace {

/// Leaves of the five arguments; the input of the given type.
std::vector<torch::Tensor> make_arguments(int64_t rows, int64_t width, torch::ScalarType type) {
  return {leaf(torch::randn({2, rows, width}).to(type)), leaf(torch::randn({width})),
          leaf(torch::randn({2, rows, width}) * 2 + 1), leaf(torch::randn({width})),
          leaf(torch::randn({width}))};
}

}  // namespace

TEST_CASE("add_layer_norm equals torch's operations in double", "[nn]") {
  torch::manual_seed(1);
  for (const int64_t width : {384, 100, 7}) {
    for (const auto& [type, bound] :
         {std::pair(torch::kFloat, 3e-6), std::pair(torch::kBFloat16, 1e-2)}) {
      CAPTURE(width, type);
      const auto arguments = make_arguments(150, width, type);
      const auto [residual, compute] =
          add_layer_norm(arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], {});
      CHECK(residual.scalar_type() == torch::kFloat);
      CHECK(compute.scalar_type() == type);

      std::vector<torch::Tensor> doubles;
      for (const auto& argument : arguments) doubles.push_back(leaf(argument.to(torch::kDouble)));
      const auto expected = torch::layer_norm(doubles[0] + doubles[1] + doubles[2], {width},
                                              doubles[3], doubles[4], 1e-5);
      CHECK(relative_difference(residual, expected) < 3e-6);
      CHECK(relative_difference(compute, expected) < bound);

      // Both outputs are used, as in a transformer.
      const auto first = torch::randn_like(residual);
      const auto second = torch::randn_like(residual).to(type);
      const auto grads = torch::autograd::grad({residual, compute}, arguments, {first, second});
      const auto expected_grads =
          torch::autograd::grad({expected}, doubles, {(first + second).to(torch::kDouble)});
      for (size_t i = 0; i < grads.size(); ++i) {
        CAPTURE(i);
        CHECK(relative_difference(grads[i], expected_grads[i]) < (i == 0 ? bound : 1e-5));
      }
    }
  }
}

TEST_CASE("add_layer_norm works when only one of its outputs is used", "[nn]") {
  torch::manual_seed(2);
  const auto arguments = make_arguments(20, 64, torch::kBFloat16);
  const auto upstream = torch::randn({2, 20, 64}).to(torch::kBFloat16);
  const auto run = [&] {
    return add_layer_norm(arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], {});
  };
  const auto by_copy = torch::autograd::grad({run().compute}, arguments, {upstream});
  const auto by_output =
      torch::autograd::grad({run().residual}, arguments, {upstream.to(torch::kFloat)});
  for (size_t i = 0; i < by_copy.size(); ++i) CHECK(by_copy[i].equal(by_output[i]));
}

TEST_CASE("add_layer_norm drops elements of its input, gradients alike", "[nn]") {
  torch::manual_seed(3);
  constexpr int64_t kWidth = 384;
  const auto arguments = make_arguments(500, kWidth, torch::kFloat);
  const auto output = add_layer_norm(arguments[0], arguments[1], arguments[2], arguments[3],
                                     arguments[4], {.dropout = 0.2, .training = true})
                          .residual;
  const auto upstream = torch::randn_like(output);
  const auto grads = torch::autograd::grad({output}, arguments, {upstream});
  const auto dropped = grads[0] == 0;
  CHECK(dropped.to(torch::kDouble).mean().item<double>() ==
        Approx(0.2).margin(4.5 * std::sqrt(0.16 / dropped.numel())));
  // Rows don't share decisions.
  const auto centred = dropped.to(torch::kDouble) - 0.2;
  const double covariance =
      (centred[0].slice(0, 0, 499) * centred[0].slice(0, 1)).mean().item<double>();
  CHECK(std::abs(covariance / 0.16) < 4.5 / std::sqrt(499.0 * kWidth));

  // With the decisions known, torch's operations give the same.
  const auto multiplier = dropped.logical_not().to(torch::kDouble) / 0.8;
  std::vector<torch::Tensor> doubles;
  for (const auto& argument : arguments) doubles.push_back(leaf(argument.to(torch::kDouble)));
  const auto expected = torch::layer_norm((doubles[0] + doubles[1]) * multiplier + doubles[2],
                                          {kWidth}, doubles[3], doubles[4], 1e-5);
  CHECK(relative_difference(output, expected) < 3e-5);
  const auto expected_grads =
      torch::autograd::grad({expected}, doubles, {upstream.to(torch::kDouble)});
  for (size_t i = 0; i < grads.size(); ++i) {
    CHECK(relative_difference(grads[i], expected_grads[i]) < 3e-5);
  }
}

TEST_CASE("add_layer_norm gives the same bits with one and with two threads", "[nn]") {
  const auto run = [] {
    const auto arguments = make_arguments(333, 96, torch::kBFloat16);
    const auto outputs = add_layer_norm(arguments[0], arguments[1], arguments[2], arguments[3],
                                        arguments[4], {.dropout = 0.1, .training = true});
    auto results = torch::autograd::grad({outputs.residual.square().sum()}, arguments);
    results.push_back(outputs.compute.detach());
    return results;
  };
  const auto one = with_threads(1, 4, run);
  const auto two = with_threads(2, 4, run);
  for (size_t i = 0; i < one.size(); ++i) CHECK(one[i].equal(two[i]));
}

TEST_CASE("add_layer_norm in double is composed of torch's operations", "[nn]") {
  torch::manual_seed(5);
  const auto x = torch::randn({3, 8}, torch::kDouble);
  const auto row = torch::randn({8}, torch::kDouble);
  const auto output = add_layer_norm(x, row, x * 2, row, row, {.epsilon = 1e-3});
  CHECK(torch::allclose(output.residual, torch::layer_norm(x + row + x * 2, {8}, row, row, 1e-3)));
  CHECK(output.compute.is_same(output.residual));
}

TEST_CASE("add_layer_norm refuses shapes that don't fit", "[nn]") {
  const auto x = torch::zeros({3, 8});
  const auto row = torch::zeros({8});
  CHECK_THROWS_AS(add_layer_norm(x, row, torch::zeros({4, 8}), row, row, {}),
                  lightning::ConfigError);
  CHECK_THROWS_AS(add_layer_norm(x, torch::zeros({7}), x, row, row, {}), lightning::ConfigError);
  CHECK_THROWS_AS(add_layer_norm(x, row, x, row, row, {.dropout = -1, .training = true}),
                  lightning::ConfigError);
}
