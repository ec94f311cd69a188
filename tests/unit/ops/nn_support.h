/// Helpers of the tests of lightning/nn.
#pragma once

#include <functional>
#include <vector>

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/utils.h>
#include <catch2/catch.hpp>

namespace lightning_tests {

/// Largest absolute difference, divided by the largest absolute value expected.
inline double relative_difference(const torch::Tensor& actual, const torch::Tensor& expected) {
  REQUIRE(actual.sizes() == expected.sizes());
  const double difference =
      (actual.to(torch::kDouble) - expected.to(torch::kDouble)).abs().max().item<double>();
  return difference / std::max(expected.to(torch::kDouble).abs().max().item<double>(), 1e-30);
}

/// The result of body() with a seeded default generator, then with another number of threads.
template <typename Body>
auto with_threads(int threads, uint64_t seed, const Body& body) {
  const int before = at::get_num_threads();
  at::set_num_threads(threads);
  torch::manual_seed(seed);
  auto result = body();
  at::set_num_threads(before);
  return result;
}

/// Gradients of sum(outputs * weights) with respect to the inputs.
inline std::vector<torch::Tensor> gradients(const torch::Tensor& output,
                                            const std::vector<torch::Tensor>& inputs,
                                            const torch::Tensor& weights) {
  return torch::autograd::grad({(output * weights).sum()}, inputs);
}

/// A leaf that wants a gradient.
inline torch::Tensor leaf(const torch::Tensor& values) {
  return values.detach().clone().requires_grad_();
}

}  // namespace lightning_tests
