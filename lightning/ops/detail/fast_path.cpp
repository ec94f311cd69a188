#include <lightning/ops/detail/fast_path.h>

#include <algorithm>
#include <cmath>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <lightning/util/error.h>

namespace lightning::ops::detail {

bool has_kernels(const at::Tensor& tensor) {
  return tensor.is_cpu() &&
         (tensor.scalar_type() == at::kFloat || tensor.scalar_type() == at::kBFloat16);
}

bool is_cpu_float(const at::Tensor& tensor) {
  return tensor.is_cpu() && tensor.scalar_type() == at::kFloat;
}

DropoutMask draw_dropout_mask(double p) {
  if (p == 0.0) return {};
  DropoutMask mask;
  at::Generator generator = at::detail::getDefaultCPUGenerator();
  {
    const std::lock_guard<std::mutex> lock(generator.mutex());
    mask.seed = at::check_generator<at::CPUGeneratorImpl>(generator)->random64();
  }
  mask.keep_below = static_cast<uint32_t>(std::lround((1.0 - p) * 65536.0));
  mask.scale = mask.keep_below == 0 ? 0.0F : 65536.0F / static_cast<float>(mask.keep_below);
  return mask;
}

void save_mask(torch::autograd::AutogradContext& context, const DropoutMask& mask) {
  context.saved_data["dropout_seed"] = static_cast<int64_t>(mask.seed);
  context.saved_data["dropout_keep_below"] = static_cast<int64_t>(mask.keep_below);
  context.saved_data["dropout_scale"] = static_cast<double>(mask.scale);
}

DropoutMask saved_mask(torch::autograd::AutogradContext& context) {
  return {
      .seed = static_cast<uint64_t>(context.saved_data["dropout_seed"].toInt()),
      .keep_below = static_cast<uint32_t>(context.saved_data["dropout_keep_below"].toInt()),
      .scale = static_cast<float>(context.saved_data["dropout_scale"].toDouble()),
  };
}

void check_probability(const char* operation, double p) {
  LIGHTNING_CHECK(p >= 0.0 && p <= 1.0, ConfigError, operation, ": the dropout probability is ", p,
                  ", expected 0 to 1.");
}

void check_first_derivative(const char* operation) {
  LIGHTNING_CHECK(!at::GradMode::is_enabled(), ConfigError, operation,
                  ": backward() was called with create_graph, but this operation has no second "
                  "derivative. HINT: use torch's own operations where you need one.");
}

at::Tensor sum_over_rows(int64_t rows, int64_t count, int64_t width,
                         const std::function<void(int64_t, int64_t, float*)>& add) {
  constexpr int64_t kRowsPerPart = 64;
  constexpr int64_t kMaxParts = 32;
  const int64_t parts = std::clamp<int64_t>(rows / kRowsPerPart, 1, kMaxParts);
  const at::Tensor sums = at::zeros({parts, count, width}, at::kFloat);
  float* begin = sums.mutable_data_ptr<float>();
  at::parallel_for(0, parts, 1, [&](int64_t first, int64_t end) {
    for (int64_t part = first; part < end; ++part) {
      add(rows * part / parts, rows * (part + 1) / parts, begin + part * count * width);
    }
  });
  return parts == 1 ? sums.squeeze(0) : sums.sum(0);
}

}  // namespace lightning::ops::detail
