#include <lightning/metrics/regression.h>

#include <utility>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/core/ScalarType.h>

#include <lightning/util/error.h>

namespace lightning::metrics {
namespace {

/// At least float32.
at::Tensor widened(const at::Tensor& values) {
  const at::ScalarType type = values.scalar_type();
  return values.detach().to(at::isFloatingType(type) ? at::promoteTypes(type, at::kFloat)
                                                     : at::kDouble);
}

}  // namespace

MeanError::MeanError(std::string name, std::string sum_name, int64_t num_outputs)
    : Metric(std::move(name)), sum_name_(std::move(sum_name)), num_outputs_(num_outputs) {
  LIGHTNING_CHECK(num_outputs >= 1, ConfigError, this->name(), ": num_outputs is ", num_outputs,
                  ", expected at least 1. HINT: leave it out for one mean.");
  add_state(sum_name_, StateReduceFx::kSum, {num_outputs}, at::kDouble);
  add_state("total", StateReduceFx::kSum, {}, at::kLong);
}

void MeanError::update(const at::Tensor& preds, const at::Tensor& target) {
  const UpdateScope scope(*this, preds);
  LIGHTNING_CHECK(
      target.defined() && preds.sizes() == target.sizes() && preds.device() == target.device(),
      DataError, name(), ": preds are ", preds.sizes(), " on ", preds.device(), " and target is ",
      target.defined() ? lightning::detail::concat(target.sizes(), " on ", target.device())
                       : "undefined",
      ", expected the same shape and device. HINT: reshape or move one of them.");
  LIGHTNING_CHECK(!preds.is_complex() && !target.is_complex(), DataError, name(), ": preds are ",
                  preds.scalar_type(), " and target is ", target.scalar_type(),
                  ", expected real numbers. HINT: take the real part.");
  LIGHTNING_CHECK(num_outputs_ == 1 || (preds.dim() == 2 && preds.size(1) == num_outputs_),
                  DataError, name(), ": preds are ", preds.sizes(), ", expected [N, ", num_outputs_,
                  "]. HINT: num_outputs is the number of columns.");
  const at::Tensor errors = error(widened(preds) - widened(target)).reshape({-1, num_outputs_});
  state(sum_name_) += errors.sum(0, /*keepdim=*/false, at::kDouble);
  state("total") += errors.size(0);
}

at::Tensor MeanError::do_compute() const {
  const at::Tensor means = state(sum_name_) / state("total");
  return num_outputs_ == 1 ? means.select(0, 0) : means;
}

MeanSquaredError::MeanSquaredError(const MeanSquaredErrorOptions& options)
    : MeanError("MeanSquaredError", "sum_squared_error", options.num_outputs), options_(options) {}

at::Tensor MeanSquaredError::error(const at::Tensor& difference) const {
  return difference.square();
}

at::Tensor MeanSquaredError::do_compute() const {
  const at::Tensor mean = MeanError::do_compute();
  return options_.squared ? mean : mean.sqrt();
}

MeanAbsoluteError::MeanAbsoluteError(const MeanAbsoluteErrorOptions& options)
    : MeanError("MeanAbsoluteError", "sum_abs_error", options.num_outputs) {}

at::Tensor MeanAbsoluteError::error(const at::Tensor& difference) const { return difference.abs(); }

}  // namespace lightning::metrics
