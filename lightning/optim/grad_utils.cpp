#include <lightning/optim/grad_utils.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include <ATen/ATen.h>
#include <torch/optim/optimizer.h>

#include <lightning/optim/detail/grad_kernels.h>
#include <lightning/optim/detail/tensor_lists.h>
#include <lightning/util/error.h>

namespace lightning::optim {
namespace {

/// Drops all but the first of each tensor. Allocates nothing once it has run.
void drop_repeated(std::vector<at::Tensor>& tensors) {
  thread_local std::vector<const c10::TensorImpl*> sorted;
  sorted.clear();
  for (const at::Tensor& tensor : tensors) sorted.push_back(tensor.unsafeGetTensorImpl());
  std::sort(sorted.begin(), sorted.end());
  if (std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end()) return;
  std::vector<at::Tensor> kept;
  for (at::Tensor& tensor : tensors) {
    const bool known = std::any_of(kept.begin(), kept.end(),
                                   [&](const at::Tensor& other) { return other.is_same(tensor); });
    if (!known) kept.push_back(std::move(tensor));
  }
  tensors = std::move(kept);
}

void append_gradients(std::span<const at::Tensor> parameters, std::vector<at::Tensor>& gradients) {
  for (const at::Tensor& parameter : parameters) {
    const at::Tensor& gradient = parameter.grad();
    if (gradient.defined()) gradients.push_back(gradient);
  }
}

/// One float32 element on the tensors' device: 1 when one of them holds inf or nan, else 0.
at::Tensor non_finite_flag(at::TensorList tensors) {
  const auto options = at::TensorOptions().dtype(at::kFloat).device(tensors.front().device());
  if (tensors.front().scalar_type() == at::kBFloat16) {
    // The kernel below doesn't know bfloat16; a largest element is never out of its range.
    const double largest = std::numeric_limits<double>::infinity();
    const at::Tensor norms = at::stack(at::_foreach_norm(tensors, largest));
    return at::isfinite(norms).all().logical_not().to(at::kFloat).view({1});
  }
  at::Tensor found = at::zeros({1}, options);
  // Times one: the values stay what they are.
  at::_amp_foreach_non_finite_check_and_unscale_(tensors, found, at::ones({1}, options));
  return found;
}

at::ScalarType norm_dtype(std::span<const at::Tensor> gradients) {
  const bool all_double =
      !gradients.empty() &&
      std::all_of(gradients.begin(), gradients.end(),
                  [](const at::Tensor& tensor) { return tensor.scalar_type() == at::kDouble; });
  return all_double ? at::kDouble : at::kFloat;
}

// torch's clip_grad_norm_ divides by the norm plus this.
constexpr double kNormEpsilon = 1e-6;

at::Tensor clip_on_cpu(std::span<const at::Tensor> gradients, double max_norm) {
  const double norm = std::sqrt(kernels::sum_of_squares(gradients));
  const double coefficient = max_norm / (norm + kNormEpsilon);
  // Written so that nan goes into the gradients, as it does with torch's.
  if (!(coefficient >= 1.0)) kernels::multiply_(gradients, coefficient);
  at::Tensor result = at::empty({}, norm_dtype(gradients));
  if (result.scalar_type() == at::kDouble) {
    *result.data_ptr<double>() = norm;
  } else {
    *result.data_ptr<float>() = static_cast<float>(norm);
  }
  return result;
}

at::Tensor clip_on_devices(std::span<const at::Tensor> gradients, double max_norm) {
  const at::Device device = gradients.front().device();
  const at::ScalarType dtype = norm_dtype(gradients);
  std::vector<at::Tensor> norms;
  for_each_kind(gradients, [&](at::TensorList same) {
    // A float16 norm would end at 65504.
    const at::ScalarType wide =
        same.front().scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    for (const at::Tensor& norm : at::_foreach_norm(same, 2, wide)) {
      norms.push_back(norm.to(device, dtype, /*non_blocking=*/true));
    }
  });
  const at::Tensor total = at::linalg_vector_norm(at::stack(norms));
  const at::Tensor coefficient =
      at::clamp(at::reciprocal(total + kNormEpsilon) * max_norm, std::nullopt, 1.0);
  for_each_kind(gradients, [&](at::TensorList same) {
    at::_foreach_mul_(same, coefficient.to(same.front().device(), /*dtype=*/dtype,
                                           /*non_blocking=*/true));
  });
  return total;
}

}  // namespace

void collect_gradients(const torch::optim::Optimizer& optimizer,
                       std::vector<at::Tensor>& gradients) {
  gradients.clear();
  for (const auto& group : optimizer.param_groups()) append_gradients(group.params(), gradients);
  drop_repeated(gradients);
}

void collect_gradients(std::span<const at::Tensor> parameters, std::vector<at::Tensor>& gradients) {
  gradients.clear();
  append_gradients(parameters, gradients);
  drop_repeated(gradients);
}

bool all_finite(std::span<const at::Tensor> tensors) {
  if (kernels::can_run(tensors)) return kernels::all_finite(tensors);
  bool finite = true;
  for_each_kind(tensors, [&](at::TensorList same) {
    if (!finite) return;
    at::Tensor found_inf =
        at::zeros({1}, at::TensorOptions().dtype(at::kFloat).device(same.front().device()));
    check_finite({same.data(), same.size()}, found_inf);
    // Sync: the caller wants to know now.
    finite = found_inf.item<float>() == 0.0F;
  });
  return finite;
}

void check_finite(std::span<const at::Tensor> tensors, at::Tensor& found_inf) {
  at::NoGradGuard no_grad;
  if (found_inf.is_cpu() && kernels::can_run(tensors)) {
    if (!kernels::all_finite(tensors)) *found_inf.data_ptr<float>() = 1.0F;
    return;
  }
  for_each_kind(tensors, [&](at::TensorList same) {
    const at::Tensor found = non_finite_flag(same).to(found_inf.device(), /*non_blocking=*/true);
    at::maximum_out(found_inf, found_inf, found.view_as(found_inf));
  });
}

void divide_(std::span<const at::Tensor> tensors, const at::Tensor& divisor) {
  at::NoGradGuard no_grad;
  if (divisor.is_cpu() && kernels::can_run(tensors)) {
    kernels::divide_(tensors, divisor.item<double>());
    return;
  }
  for_each_kind(tensors, [&](at::TensorList same) {
    const at::ScalarType dtype =
        same.front().scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    at::_foreach_div_(same,
                      divisor.reshape({}).to(same.front().device(), dtype, /*non_blocking=*/true));
  });
}

at::Tensor clip_gradients_by_norm_(std::span<const at::Tensor> gradients, double max_norm) {
  LIGHTNING_CHECK(max_norm > 0.0, ConfigError, "clip_grad_norm_: max_norm is ", max_norm,
                  ", expected a number above 0. HINT: 1.0 is common.");
  at::NoGradGuard no_grad;
  if (gradients.empty()) return at::zeros({}, at::kFloat);
  if (kernels::can_run(gradients)) return clip_on_cpu(gradients, max_norm);
  return clip_on_devices(gradients, max_norm);
}

at::Tensor clip_grad_norm_(std::span<const at::Tensor> parameters, double max_norm) {
  std::vector<at::Tensor> gradients;
  collect_gradients(parameters, gradients);
  return clip_gradients_by_norm_(gradients, max_norm);
}

void clip_gradients_by_value_(std::span<const at::Tensor> gradients, double clip_value) {
  LIGHTNING_CHECK(clip_value > 0.0, ConfigError, "clip_grad_value_: clip_value is ", clip_value,
                  ", expected a number above 0. HINT: 0.5 is common.");
  at::NoGradGuard no_grad;
  for_each_kind(gradients, [&](at::TensorList same) {
    at::_foreach_clamp_min_(same, -clip_value);
    at::_foreach_clamp_max_(same, clip_value);
  });
}

void clip_grad_value_(std::span<const at::Tensor> parameters, double clip_value) {
  std::vector<at::Tensor> gradients;
  collect_gradients(parameters, gradients);
  clip_gradients_by_value_(gradients, clip_value);
}

}  // namespace lightning::optim
