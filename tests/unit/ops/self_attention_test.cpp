#include <lightning/ops/self_attention.h>

#include <cmath>

#include <lightning/util/error.h>

#include "unit/ops/nn_support.h"

using lightning::ops::self_attention;
using lightning::ops::SelfAttentionOptions;
using lightning_tests::gradients;
using lightning_tests::leaf;
using lightning_tests::relative_difference;
using lightning_tests::with_threads;

namespace {

/// torch's own attention on the same packed projections.
torch::Tensor torch_attention(const torch::Tensor& qkv, const torch::Tensor& attended,
                              int64_t heads) {
  const int64_t batch = qkv.size(0);
  const int64_t tokens = qkv.size(1);
  const auto parts = qkv.view({batch, tokens, 3, heads, -1}).permute({2, 0, 3, 1, 4});
  std::optional<torch::Tensor> mask;
  if (attended.defined()) mask = (attended != 0).view({batch, 1, 1, tokens});
  const auto output = at::scaled_dot_product_attention(parts[0], parts[1], parts[2], mask);
  return output.transpose(1, 2).reshape({batch, tokens, -1});
}

/// 1 for the first lengths[b] tokens of each row.
torch::Tensor prefix_mask(const std::vector<int64_t>& lengths, int64_t tokens) {
  const auto ends = torch::tensor(lengths, torch::kLong).unsqueeze(1);
  return (torch::arange(tokens) < ends).to(torch::kLong);
}

struct Case {
  int64_t tokens;
  int64_t heads;
  int64_t head_size;
  std::vector<int64_t> lengths;  // empty: no mask
};

}  // namespace

TEST_CASE("self_attention equals torch's in double, forward and gradients", "[nn]") {
  torch::manual_seed(1);
  const std::vector<Case> cases = {
      {64, 2, 32, {}},        {70, 3, 16, {70, 41}},    {1, 1, 2, {}},
      {130, 2, 64, {5, 130}}, {257, 1, 32, {257, 200}}, {33, 4, 6, {1, 33}},
  };
  for (const auto& [tokens, heads, head_size, lengths] : cases) {
    CAPTURE(tokens, heads, head_size);
    const auto values = torch::randn({2, tokens, 3 * heads * head_size}) * 1.5;
    const auto mask = lengths.empty() ? torch::Tensor() : prefix_mask(lengths, tokens);
    const auto upstream = torch::randn({2, tokens, heads * head_size});

    const auto reference_input = leaf(values.to(torch::kDouble));
    const auto reference = torch_attention(reference_input, mask, heads);
    const auto reference_grad = gradients(reference, {reference_input}, upstream)[0];

    // bfloat16 has 8 bits: its roundings of inputs, probabilities and result add up to about 2%.
    for (const auto& [type, bound] :
         {std::pair(torch::kFloat, 3e-6), std::pair(torch::kBFloat16, 2e-2)}) {
      const auto input = leaf(values.to(type));
      const auto output = self_attention(input, mask, {.num_heads = heads});
      CHECK(output.scalar_type() == type);
      CHECK(relative_difference(output, reference) < bound);
      CHECK(relative_difference(gradients(output, {input}, upstream.to(type))[0], reference_grad) <
            bound);
    }
  }
}

TEST_CASE("self_attention leaves out masked keys wherever they are", "[nn]") {
  torch::manual_seed(2);
  const auto mask = (torch::rand({3, 90}) < 0.6).to(torch::kBool);
  const auto values = torch::randn({3, 90, 3 * 64});
  const auto upstream = torch::randn({3, 90, 64});
  const auto reference_input = leaf(values.to(torch::kDouble));
  const auto reference = torch_attention(reference_input, mask, 2);
  const auto input = leaf(values);
  const auto output = self_attention(input, mask, {.num_heads = 2});
  CHECK(relative_difference(output, reference) < 3e-6);
  const auto grad = gradients(output, {input}, upstream)[0];
  CHECK(relative_difference(grad, gradients(reference, {reference_input}, upstream)[0]) < 3e-6);
  // Keys and values that nothing attends to have no gradient.
  const auto unattended = grad.slice(2, 64).index({mask.logical_not()});
  CHECK(unattended.abs().max().item<float>() == 0.0F);
}

TEST_CASE("self_attention gives zeros for a sequence without keys", "[nn]") {
  torch::manual_seed(3);
  for (const auto type : {torch::kFloat, torch::kDouble}) {
    const auto input = leaf(torch::randn({2, 40, 96}, type));
    const auto output = self_attention(input, prefix_mask({0, 40}, 40), {.num_heads = 1});
    CHECK((output[0] == 0).all().item<bool>());
    const auto grad = gradients(output, {input}, torch::randn({2, 40, 32}, type))[0];
    CHECK((grad[0] == 0).all().item<bool>());
    CHECK(torch::isfinite(grad).all().item<bool>());
    CHECK((grad[1] != 0).any().item<bool>());
  }
}

TEST_CASE("self_attention has the gradients of finite differences", "[nn]") {
  torch::manual_seed(4);
  const auto values = torch::randn({1, 9, 3 * 8});
  const auto mask = prefix_mask({7}, 9);
  const auto upstream = torch::randn({1, 9, 8});
  // The same dropout decisions in every evaluation.
  const auto evaluate = [&](const torch::Tensor& input) {
    torch::manual_seed(5);
    return self_attention(input, mask, {.num_heads = 2, .dropout = 0.3, .training = true});
  };
  const auto input = leaf(values);
  const auto grad = gradients(evaluate(input), {input}, upstream)[0].view(-1);
  const float step = 1e-2F;
  for (int64_t i = 0; i < values.numel(); i += 5) {
    auto above = values.clone();
    auto below = values.clone();
    above.view(-1)[i] += step;
    below.view(-1)[i] -= step;
    const double slope =
        ((evaluate(above) - evaluate(below)) * upstream).sum().item<double>() / (2 * step);
    CAPTURE(i);
    CHECK(grad[i].item<double>() == Approx(slope).margin(5e-4).epsilon(5e-3));
  }
}

TEST_CASE("self_attention drops probabilities with the given rate", "[nn]") {
  torch::manual_seed(6);
  constexpr int64_t kTokens = 512;
  // Equal scores, and values that show which keys are kept: key k has 1 in column k % 64.
  auto qkv = torch::zeros({8, kTokens, 3 * 64});
  const auto values = torch::eye(64).repeat({kTokens / 64, 1});
  qkv.slice(2, 128).copy_(values);
  for (const double p : {0.1, 0.5}) {
    const auto output = self_attention(qkv, {}, {.num_heads = 1, .dropout = p, .training = true});
    // Each output is (number kept of 8 keys) / 512 / (1 - p).
    const auto kept = (output * kTokens * (1 - p)).round();
    const double count = static_cast<double>(kept.numel());
    CHECK(std::abs(kept.mean().item<double>() / 8 - (1 - p)) <
          4.5 * std::sqrt(p * (1 - p) / (8 * count)) + 1.0 / 131072);
    // The variance of a binomial distribution: decisions don't hang together.
    CHECK(kept.var().item<double>() == Approx(8 * p * (1 - p)).epsilon(0.02));
    // Neighbouring queries, the next key, the next sequence: no correlation.
    const auto centred = kept.to(torch::kDouble) - 8 * (1 - p);
    const double variance = 8 * p * (1 - p);
    for (int64_t dimension = 0; dimension < 3; ++dimension) {
      const int64_t size = centred.size(dimension);
      const auto product =
          centred.slice(dimension, 0, size - 1) * centred.slice(dimension, 1, size);
      const double deviations = product.mean().item<double>() / variance *
                                std::sqrt(static_cast<double>(product.numel()));
      CAPTURE(p, dimension);
      CHECK(std::abs(deviations) < 4.5);
    }
  }
}

TEST_CASE("self_attention's mean over dropout is the result without", "[nn]") {
  torch::manual_seed(7);
  const auto qkv = torch::randn({2, 50, 3 * 32});
  const auto expected = self_attention(qkv, {}, {.num_heads = 2});
  auto sum = torch::zeros_like(expected);
  constexpr int kCalls = 2000;
  for (int call = 0; call < kCalls; ++call) {
    sum += self_attention(qkv, {}, {.num_heads = 2, .dropout = 0.2, .training = true});
  }
  CHECK((sum / kCalls - expected).abs().max().item<double>() < 0.08);
  CHECK((sum / kCalls - expected).mean().item<double>() == Approx(0).margin(1e-3));
}

TEST_CASE("self_attention gives the same bits with one and with two threads", "[nn]") {
  for (const auto type : {torch::kFloat, torch::kBFloat16}) {
    const auto run = [&] {
      const auto input = leaf(torch::randn({5, 100, 3 * 64}).to(type));
      const auto output = self_attention(input, prefix_mask({100, 3, 50, 99, 64}, 100),
                                         {.num_heads = 4, .dropout = 0.1, .training = true});
      return torch::cat({output.detach(), gradients(output, {input}, output.detach())[0]}, 2);
    };
    CHECK(with_threads(1, 8, run).equal(with_threads(2, 8, run)));
  }
}

TEST_CASE("self_attention shows that a score was not a number", "[nn]") {
  auto qkv = torch::randn({1, 64, 3 * 32});
  qkv[0][5][3] = std::numeric_limits<float>::quiet_NaN();
  const auto output = self_attention(qkv, {}, {.num_heads = 1});
  CHECK(output[0][5].isnan().all().item<bool>());
  CHECK_FALSE(output[0][6].isnan().any().item<bool>());
}

TEST_CASE("self_attention refuses shapes that don't fit", "[nn]") {
  const auto attend = [](torch::IntArrayRef shape, SelfAttentionOptions options,
                         const torch::Tensor& mask = {}) {
    return self_attention(torch::zeros(shape), mask, options);
  };
  CHECK_THROWS_AS(attend({2, 3}, {.num_heads = 1}), lightning::ConfigError);
  CHECK_THROWS_AS(attend({2, 3, 30}, {.num_heads = 4}), lightning::ConfigError);
  CHECK_THROWS_AS(attend({2, 3, 30}, {.num_heads = 0}), lightning::ConfigError);
  CHECK_THROWS_AS(attend({2, 3, 30}, {.num_heads = 1}, torch::ones({2, 4})),
                  lightning::ConfigError);
  CHECK_THROWS_AS(attend({2, 3, 30}, {.num_heads = 1, .dropout = 2.0}), lightning::ConfigError);
}
