// Against torch's batch normalisation; the group is, but in one test, one of ranks that all hold
// what this one holds.
#include <lightning/nn/batch_norm.h>

#include <torch/torch.h>
#include <catch2/catch.hpp>

#include <lightning/collectives/process_group.h>
#include <lightning/util/error.h>

#include "support/thread_ranks.h"

namespace {

using lightning::nn::BatchNorm;
using lightning::nn::BatchNormOptions;

at::Tensor random_input(at::IntArrayRef shape, int64_t seed, at::ScalarType dtype = at::kDouble) {
  const auto generator = at::detail::createCPUGenerator(static_cast<uint64_t>(seed));
  // A mean far from zero, so that sums of squares cancel.
  return torch::randn(shape, generator, torch::kFloat64).mul(2.0).add(30.0).to(dtype);
}

/// The three rows of a rank.
at::Tensor part(const at::Tensor& rows, int64_t rank) { return rows.narrow(0, 3 * rank, 3); }

/// Weights that are neither one nor zero.
template <typename Norm>
void set_weights(Norm& norm) {
  if (!norm->options.affine()) return;
  const torch::NoGradGuard no_grad;
  norm->weight.copy_(torch::linspace(0.5, 2.0, norm->weight.numel()));
  norm->bias.copy_(torch::linspace(-1.0, 1.0, norm->bias.numel()));
}

struct Outcome {
  at::Tensor output, grad_input, grad_weight, grad_bias, running_mean, running_var;
};

template <typename Norm>
Outcome run(Norm& norm, const at::Tensor& values, const at::Tensor& grad) {
  const at::Tensor input = values.clone().set_requires_grad(true);
  for (const at::Tensor& p : norm->parameters()) p.mutable_grad().reset();
  const at::Tensor output = norm->forward(input);
  output.backward(grad);
  const bool affine = norm->options.affine();
  return {output.detach(),
          input.grad(),
          affine ? norm->weight.grad() : at::Tensor(),
          affine ? norm->bias.grad() : at::Tensor(),
          norm->running_mean.defined() ? norm->running_mean.clone() : at::Tensor(),
          norm->running_var.defined() ? norm->running_var.clone() : at::Tensor()};
}

void check_close(const at::Tensor& actual, const at::Tensor& expected, double tolerance) {
  REQUIRE(actual.defined() == expected.defined());
  if (!actual.defined()) return;
  REQUIRE(actual.sizes() == expected.sizes());
  CHECK((actual.to(at::kDouble) - expected.to(at::kDouble)).abs().max().item<double>() <=
        tolerance);
}

void check_close(const Outcome& actual, const Outcome& expected, double tolerance) {
  check_close(actual.output, expected.output, tolerance);
  check_close(actual.grad_input, expected.grad_input, tolerance);
  check_close(actual.grad_weight, expected.grad_weight, tolerance);
  check_close(actual.grad_bias, expected.grad_bias, tolerance);
  check_close(actual.running_mean, expected.running_mean, tolerance);
  check_close(actual.running_var, expected.running_var, tolerance);
}

std::vector<BatchNormOptions> all_options() {
  return {BatchNormOptions(3), BatchNormOptions(3).eps(0.1).momentum(0.3),
          BatchNormOptions(3).affine(false), BatchNormOptions(3).momentum(std::nullopt),
          BatchNormOptions(3).track_running_stats(false)};
}

}  // namespace

TEST_CASE("BatchNorm without a group is torch's", "[nn]") {
  for (const BatchNormOptions& options : all_options()) {
    BatchNorm own(options);
    torch::nn::BatchNorm2d torchs(options);
    set_weights(own);
    set_weights(torchs);
    own->to(at::kDouble);
    torchs->to(at::kDouble);
    for (const bool training : {true, true, false}) {
      own->train(training);
      torchs->train(training);
      const at::Tensor input = random_input({4, 3, 2, 5}, training ? 1 : 2);
      const at::Tensor grad = random_input(input.sizes(), 3);
      check_close(run(own, input, grad), run(torchs, input, grad), /*tolerance=*/0.0);
    }
  }
}

TEST_CASE("BatchNorm with a group has the statistics of the global batch", "[nn]") {
  // Every rank holds the same rows, so that the global batch is this one, twice.
  for (const BatchNormOptions& options : all_options()) {
    BatchNorm own(options);
    torch::nn::BatchNorm1d torchs(options);
    set_weights(own);
    set_weights(torchs);
    own->to(at::kDouble);
    torchs->to(at::kDouble);
    own->set_process_group(lightning::ProcessGroup::fake(0, 2));
    for (int64_t step = 0; step < 3; ++step) {
      const at::Tensor input = random_input({5, 3}, step);
      const at::Tensor grad = random_input({5, 3}, 10 + step).sub(30.0);
      Outcome expected = run(torchs, torch::cat({input, input}), torch::cat({grad, grad}));
      // Outputs and gradients of this rank's half.
      expected.output = expected.output.narrow(0, 0, 5);
      expected.grad_input = expected.grad_input.narrow(0, 0, 5);
      if (options.affine()) {
        expected.grad_weight = expected.grad_weight / 2;
        expected.grad_bias = expected.grad_bias / 2;
      }
      check_close(run(own, input, grad), expected, 1e-11);
    }
    own->eval();
    torchs->eval();
    const at::Tensor input = random_input({2, 3}, 20);
    check_close(run(own, input, torch::ones({2, 3}, at::kDouble)),
                run(torchs, input, torch::ones({2, 3}, at::kDouble)),
                options.track_running_stats() ? 1e-11 : 1e-9);
  }
}

TEST_CASE("Synchronised BatchNorm is exact in float32 far from zero and takes bfloat16", "[nn]") {
  BatchNorm own(BatchNormOptions(3));
  torch::nn::BatchNorm2d torchs(BatchNormOptions(3));
  set_weights(own);
  set_weights(torchs);
  own->set_process_group(lightning::ProcessGroup::fake(0, 2));
  const at::Tensor input = random_input({4, 3, 6, 6}, 1, at::kFloat) + 1000.0;
  const at::Tensor grad = random_input({4, 3, 6, 6}, 2, at::kFloat) - 30.0;
  const Outcome actual = run(own, input, grad);
  const Outcome expected = run(torchs, input, grad);
  check_close(actual.output, expected.output, 1e-3);  // 1000 has an ulp of 6e-5, deviation is 2
  check_close(actual.grad_input, expected.grad_input, 1e-3);
  check_close(actual.grad_weight, expected.grad_weight, 0.1);

  const at::Tensor narrow = random_input({4, 3, 6, 6}, 1, at::kBFloat16) - 30.0;
  const at::Tensor output = own->forward(narrow);
  CHECK(output.scalar_type() == at::kBFloat16);
  check_close(output, torchs->forward(narrow.to(at::kFloat)), 0.05);  // bfloat16: 8 bits
}

TEST_CASE("Synchronised BatchNorm leaves a batch out that doesn't count", "[nn]") {
  const at::Tensor filler = random_input({1, 3}, 1) + 500.0;
  lightning_tests::run_ranks(3, [&](const auto& control) {
    BatchNorm own(BatchNormOptions(3));
    BatchNorm torchs(BatchNormOptions(3));  // without a group it is torch's
    set_weights(own);
    set_weights(torchs);
    own->to(at::kDouble);
    torchs->to(at::kDouble);
    own->set_process_group(lightning::ProcessGroup::create(control, at::kCPU));
    // Ranks 0 and 1 have three rows each, rank 2 has none left.
    const at::Tensor rows = random_input({6, 3}, 2);
    const at::Tensor grads = random_input({6, 3}, 3).sub(30.0);
    const Outcome expected = run(torchs, rows, grads);
    const int64_t rank = control->rank();
    const lightning::nn::SkipStatistics uncounted(rank == 2);
    const at::Tensor grad = rank == 2 ? torch::zeros({1, 3}, at::kDouble) : part(grads, rank);
    const Outcome actual = run(own, rank == 2 ? filler : part(rows, rank), grad);
    const auto expect_close = [](const at::Tensor& a, const at::Tensor& b, const char* what) {
      if (!at::allclose(a, b, 0.0, 1e-11)) throw std::runtime_error(what);
    };
    expect_close(actual.running_mean, expected.running_mean, "the mean of six rows");
    expect_close(actual.running_var, expected.running_var, "the variance of six rows");
    const at::Tensor zeros = torch::zeros({1, 3}, at::kDouble);
    expect_close(actual.grad_input, rank == 2 ? zeros : part(expected.grad_input, rank),
                 "gradients of the rows");
    if (rank == 2) expect_close(actual.grad_weight, zeros[0], "no gradient of the weight");
    control->barrier("end");
  });
}

TEST_CASE("Synchronised BatchNorm takes an empty batch", "[nn]") {
  BatchNorm own(BatchNormOptions(3));
  own->set_process_group(lightning::ProcessGroup::fake(0, 2));
  const at::Tensor input = torch::empty({0, 3}).set_requires_grad(true);
  const at::Tensor output = own->forward(input);
  CHECK(output.sizes() == at::IntArrayRef({0, 3}));
  output.sum().backward();
  CHECK(input.grad().numel() == 0);
}

TEST_CASE("BatchNorm refuses inputs that don't fit", "[nn]") {
  BatchNorm own(BatchNormOptions(3));
  CHECK_THROWS_AS(own->forward(torch::ones({4})), lightning::ConfigError);
  CHECK_THROWS_AS(own->forward(torch::ones({4, 2})), lightning::ConfigError);
  CHECK_THROWS_AS(own->forward(torch::ones({1, 3})), lightning::DataError);
  own->eval();
  CHECK_NOTHROW(own->forward(torch::ones({1, 3})));
}

TEST_CASE("BatchNorm is copied and saved as torch's is", "[nn]") {
  BatchNorm own(BatchNormOptions(3));
  const auto copy = std::dynamic_pointer_cast<lightning::nn::BatchNormImpl>(own->clone());
  REQUIRE(copy != nullptr);
  CHECK(copy->weight.defined());
  CHECK_FALSE(copy->weight.is_same(own->weight));
  torch::nn::BatchNorm1d torchs(BatchNormOptions(3));
  CHECK(own->named_parameters().keys() == torchs->named_parameters().keys());
  CHECK(own->named_buffers().keys() == torchs->named_buffers().keys());
}
