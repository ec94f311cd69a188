#include <lightning/ops/detail/kernels.h>

#include <cmath>
#include <cstring>

#include "unit/ops/nn_support.h"

using lightning::ops::detail::Bf16;
using lightning::ops::detail::DropoutMask;
using lightning::ops::detail::Kernels;
using lightning::ops::detail::TypedKernels;

namespace kernel_room = lightning::ops::detail;

namespace {

constexpr DropoutMask kMask = {.seed = 0x123456789ABCDEF0U, .keep_below = 50000, .scale = 1.5F};

const TypedKernels<float>& of(const Kernels& set, float) { return set.of_float; }
const TypedKernels<Bf16>& of(const Kernels& set, Bf16) { return set.of_bf16; }

std::vector<const Kernels*> faster_sets() {
  std::vector<const Kernels*> sets;
  for (const Kernels* set : {&kernel_room::kAvx2Kernels, &kernel_room::kAvx512Kernels}) {
    if (kernel_room::supported(*set)) {
      sets.push_back(set);
    } else {
      WARN("this processor can't run the kernels for " << set->name);
    }
  }
  return sets;
}

template <typename T>
torch::Tensor random(int64_t count) {
  return torch::randn({count}).to(std::is_same_v<T, float> ? torch::kFloat : torch::kBFloat16);
}
template <typename T>
T* pointer(const torch::Tensor& tensor) {
  return static_cast<T*>(tensor.mutable_data_ptr());
}

void check_close(const torch::Tensor& actual, const torch::Tensor& expected) {
  const double bound = actual.scalar_type() == torch::kBFloat16 ? 1e-2 : 2e-6;
  CHECK(torch::allclose(actual.to(torch::kFloat), expected.to(torch::kFloat), bound, bound));
}

/// Everything that the row-wise kernels write.
template <typename T>
std::vector<torch::Tensor> run_row_kernels(const Kernels& set, int64_t width) {
  torch::manual_seed(1);
  constexpr int64_t kRows = 5;
  const auto input = random<T>(kRows * width);
  const auto grad = random<T>(kRows * width);
  const auto floats = torch::randn({6, kRows * width});
  const auto float_row = [&](int64_t i) { return floats[i].mutable_data_ptr<float>(); };
  const auto output = torch::zeros_like(floats[0]);
  const auto copy = torch::zeros_like(input);
  const auto mean = torch::zeros({2, kRows});
  const auto grad_input = torch::zeros_like(input);
  const auto grad_residual = torch::zeros_like(floats[0]);
  const auto sums = torch::zeros({4, width});
  const auto gelu = torch::zeros_like(input);
  const auto gelu_grad = torch::zeros_like(input);
  const auto scratch = torch::zeros({3 * width});

  const auto& kernel = of(set, T{});
  const kernel_room::AddLayerNormArguments<T> norm = {
      .input = pointer<T>(input),
      .bias = float_row(0),
      .residual = float_row(1),
      .weight = float_row(2),
      .shift = float_row(3),
      .width = width,
      .epsilon = 1e-5F,
      .mask = kMask,
      .mean = pointer<float>(mean),
      .inverse_deviation = pointer<float>(mean) + kRows,
      .output = pointer<float>(output),
      .copy = pointer<T>(copy),
      .grad_output = float_row(4),
      .grad_copy = pointer<T>(grad),
      .grad_input = pointer<T>(grad_input),
      .grad_residual = pointer<float>(grad_residual),
  };
  kernel.add_layer_norm(norm, 0, kRows);
  float* sum = pointer<float>(sums);
  kernel.add_layer_norm_backward(norm, 0, kRows,
                                 {.bias = sum, .weight = sum + width, .shift = sum + 2 * width},
                                 pointer<float>(scratch));
  const kernel_room::BiasGeluArguments<T> gelu_arguments = {
      .input = pointer<T>(input),
      .bias = float_row(0),
      .width = width,
      .output = pointer<T>(gelu),
      .grad_output = pointer<T>(grad),
      .grad_input = pointer<T>(gelu_grad),
  };
  kernel.bias_gelu(gelu_arguments, 0, kRows);
  kernel.bias_gelu_backward(gelu_arguments, 0, kRows, {.bias = sum + 3 * width});
  return {output, copy, mean, grad_input, grad_residual, sums, gelu, gelu_grad};
}

template <typename T>
std::vector<torch::Tensor> run_score_kernels(const Kernels& set, int64_t queries) {
  torch::manual_seed(2);
  constexpr int64_t kKeys = 40;
  const auto scores = torch::randn({kKeys * queries}) * 3;
  const auto grads = torch::randn({kKeys * queries});
  const auto sums = torch::zeros({3, queries});
  const auto attended = (torch::rand({kKeys}) < 0.8).to(torch::kByte);
  std::vector<torch::Tensor> outputs;
  for (int i = 0; i < 4; ++i) outputs.push_back(torch::zeros_like(random<T>(scores.numel())));
  const kernel_room::ScoreBlock<T> block = {
      .scores = pointer<float>(scores),
      .attended = pointer<uint8_t>(attended),
      .keys = kKeys,
      .queries = queries,
      .scale = 0.25F,
      .mask = kMask,
      .head = 3,
      .query_begin = 64,
  };
  const auto& kernel = of(set, T{});
  float* sum = pointer<float>(sums);
  kernel.softmax(block, pointer<T>(outputs[0]), sum, sum + queries);
  kernel.softmax_backward(block, pointer<float>(grads), sum, sum + 2 * queries,
                          pointer<T>(outputs[1]), pointer<T>(outputs[2]), pointer<T>(outputs[3]));
  outputs.push_back(sums);
  return outputs;
}

}  // namespace

TEST_CASE("kernels of all instruction sets give the same results", "[nn]") {
  for (const Kernels* set : faster_sets()) {
    CAPTURE(set->name);
    const auto compare = [&](const auto& run) {
      const std::vector<torch::Tensor> actual = run(*set);
      const std::vector<torch::Tensor> expected = run(kernel_room::kBaselineKernels);
      for (size_t i = 0; i < actual.size(); ++i) {
        CAPTURE(i);
        check_close(actual[i], expected[i]);
      }
    };
    for (const int64_t width : {256, 131, 9}) {
      CAPTURE(width);
      compare([&](const Kernels& kernels) { return run_row_kernels<float>(kernels, width); });
      compare([&](const Kernels& kernels) { return run_row_kernels<Bf16>(kernels, width); });
    }
    for (const int64_t queries : {16, 32, 48, 64}) {
      CAPTURE(queries);
      compare([&](const Kernels& kernels) { return run_score_kernels<float>(kernels, queries); });
      compare([&](const Kernels& kernels) { return run_score_kernels<Bf16>(kernels, queries); });
    }
  }
}

TEST_CASE("dropout kernels of all instruction sets drop the same elements", "[nn]") {
  const auto input = torch::ones({1000});
  const auto run = [&](const Kernels& set) {
    const auto output = torch::zeros_like(input);
    set.of_float.dropout(pointer<float>(input), pointer<float>(output), 0, 1000, kMask);
    return output;
  };
  for (const Kernels* set : faster_sets()) {
    CHECK(run(*set).equal(run(kernel_room::kBaselineKernels)));
  }
}

TEST_CASE("dropout's decisions are the published output of Philox4x32-7", "[nn]") {
  // Counter 0 and key 0: 5f6fb709 0d893f64 4f121f81 4f730a48. Element 16 w has the low half of
  // word w, element 64 + 16 w the high half.
  const std::vector<std::pair<int64_t, uint32_t>> expected = {
      {0, 0xB709},  {64, 0x5F6F}, {16, 0x3F64}, {80, 0x0D89},
      {32, 0x1F81}, {96, 0x4F12}, {48, 0x0A48}, {112, 0x4F73}};
  const auto input = torch::ones({128});
  const auto output = torch::zeros({128});
  for (const auto& [element, value] : expected) {
    for (const uint32_t keep_below : {value, value + 1}) {
      kernel_room::kernels().of_float.dropout(pointer<float>(input), pointer<float>(output), 0, 128,
                                              {.seed = 0, .keep_below = keep_below, .scale = 1.0F});
      CAPTURE(element, keep_below);
      CHECK((output[element].item<float>() == 1.0F) == (keep_below > value));
    }
  }
}

TEST_CASE("the pair layout interleaves two rows of bfloat16", "[nn]") {
  // Three rows of two columns, in memory four apart.
  const std::vector<Bf16> input = {{1}, {2}, {0}, {0}, {3}, {4}, {0}, {0}, {5}, {6}};
  const auto& kernel = kernel_room::kernels().of_bf16;
  const auto packed = [&](auto function, int64_t count) {
    std::vector<Bf16> output(static_cast<size_t>(count), Bf16{99});
    function(input.data(), 4, 3, 2, 4, output.data());
    std::vector<int> bits;
    for (const Bf16 value : output) bits.push_back(value.bits);
    return bits;
  };
  CHECK(packed(kernel.pack_rows, 8) == std::vector<int>{1, 2, 3, 4, 5, 6, 0, 0});
  CHECK(packed(kernel.pack_pairs, 8) == std::vector<int>{1, 3, 2, 4, 5, 0, 6, 0});
  CHECK(packed(kernel.pack_transposed, 8) == std::vector<int>{1, 3, 5, 0, 2, 4, 6, 0});
  CHECK(packed(kernel.pack_transposed_pairs, 8) == std::vector<int>{1, 2, 3, 4, 5, 6, 0, 0});
}
