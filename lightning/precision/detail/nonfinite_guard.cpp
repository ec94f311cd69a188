#include <lightning/precision/detail/nonfinite_guard.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include <ATen/ATen.h>

#include <lightning/optim/grad_utils.h>
#include <lightning/precision/detail/loss_scaler.h>

namespace lightning {
namespace {

// Values kept on the device between two read()s; one more makes the host wait for it.
constexpr int64_t kCapacity = 4096;

// Below this scale overflow can't come from the scaling.
constexpr double kScaleLimit = 1.0;

bool is_finite(const at::Tensor& value) { return std::isfinite(value.item<double>()); }

bool is_full(const std::vector<int64_t>& steps) {
  return static_cast<int64_t>(steps.size()) == kCapacity;
}

/// 0 stays 0, 1 becomes inf, which is what the records are searched for.
at::Tensor as_infinity(const at::Tensor& flag) { return flag / (1.0 - flag); }

}  // namespace

NonFiniteGuard::NonFiniteGuard(const LossScaler* scaler, bool force_device_path)
    : scaler_(scaler), force_device_path_(force_device_path) {}

at::Tensor NonFiniteGuard::Record::next_slot(at::Device device, int64_t step) {
  if (!values.defined()) {
    values = at::zeros({kCapacity}, at::TensorOptions().device(device).dtype(at::kDouble));
    steps.reserve(kCapacity);
  }
  const auto index = static_cast<int64_t>(steps.size());
  steps.push_back(step);
  return values.narrow(0, index, 1);
}

std::optional<int64_t> NonFiniteGuard::Record::first_non_finite() const {
  if (steps.empty()) return std::nullopt;
  const auto size = static_cast<int64_t>(steps.size());
  // Sync: this is where the host waits.
  const at::Tensor host = values.narrow(0, 0, size).to(at::kCPU, at::kDouble);
  const double* first = host.data_ptr<double>();
  const double* bad = std::find_if(first, first + size, [](double v) { return !std::isfinite(v); });
  if (bad == first + size) return std::nullopt;
  return steps[static_cast<size_t>(bad - first)];
}

bool NonFiniteGuard::on_device(const at::Tensor& tensor) const {
  return force_device_path_ || !tensor.is_cpu();
}

void NonFiniteGuard::found(bool in_gradients, int64_t step) {
  if (!first_ || step < first_->step) first_ = Finding{in_gradients, step};
}

void NonFiniteGuard::observe_loss(const at::Tensor& loss, int64_t step) {
  at::NoGradGuard no_grad;
  if (on_device(loss)) {
    record_loss(loss.detach().reshape({1}), step);
    return;
  }
  if (scaler_ == nullptr) {
    if (!is_finite(loss)) found(/*in_gradients=*/false, step);
  } else if (scaler_->scale().item<double>() < kScaleLimit) {
    if (scaler_->last_found_inf().item<float>() != 0.0F) found(/*in_gradients=*/true, step - 1);
    if (!is_finite(loss)) found(/*in_gradients=*/false, step);
  }
}

void NonFiniteGuard::record_loss(const at::Tensor& loss, int64_t step) {
  if (is_full(losses_.steps) || is_full(gradients_.steps)) flush();
  at::Tensor slot = losses_.next_slot(loss.device(), step);
  if (scaler_ == nullptr) {
    slot.copy_(loss);
    return;
  }
  const at::Tensor counts = scaler_->scale() < kScaleLimit;
  slot.copy_(at::where(counts, loss, 0.0));
  const at::Tensor found_inf = scaler_->last_found_inf();
  gradients_.next_slot(loss.device(), step - 1)
      .copy_(at::where(counts, as_infinity(found_inf), 0.0));
}

void NonFiniteGuard::observe_gradients(std::span<const at::Tensor> gradients, int64_t step) {
  if (scaler_ != nullptr || gradients.empty()) return;
  at::NoGradGuard no_grad;
  if (!on_device(gradients.front())) {
    if (!optim::all_finite(gradients)) found(/*in_gradients=*/true, step);
    return;
  }
  at::Tensor found_inf =
      at::zeros({1}, at::TensorOptions().device(gradients.front().device()).dtype(at::kFloat));
  optim::check_finite(gradients, found_inf);
  observe_gradient_norm(as_infinity(found_inf), step);
}

void NonFiniteGuard::observe_gradient_norm(const at::Tensor& norm, int64_t step) {
  if (scaler_ != nullptr) return;
  at::NoGradGuard no_grad;
  if (!on_device(norm)) {
    if (!is_finite(norm)) found(/*in_gradients=*/true, step);
    return;
  }
  if (is_full(gradients_.steps)) flush();
  gradients_.next_slot(norm.device(), step).copy_(norm.detach().reshape({1}));
}

void NonFiniteGuard::flush() {
  // Losses first: a bad loss makes bad gradients in the same step.
  if (const auto step = losses_.first_non_finite()) found(/*in_gradients=*/false, *step);
  if (const auto step = gradients_.first_non_finite()) found(/*in_gradients=*/true, *step);
  losses_.steps.clear();
  gradients_.steps.clear();
}

std::optional<NonFiniteGuard::Finding> NonFiniteGuard::read() {
  flush();
  return std::exchange(first_, std::nullopt);
}

}  // namespace lightning
