#include <lightning/metrics/aggregation.h>

#include <limits>
#include <utility>

#include <ATen/ExpandUtils.h>
#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

#include <lightning/util/error.h>
#include <lightning/util/log.h>

namespace lightning::metrics {

Aggregation::Aggregation(std::string name, const AggregationOptions& options,
                         std::string value_name, StateReduceFx fx)
    : Metric(std::move(name)), options_(options) {
  add_state(std::move(value_name), fx, {}, at::kDouble);
  add_state("nans", StateReduceFx::kSum, {}, at::kLong);
}

Aggregation::Values Aggregation::without_nans(const at::Tensor& value, const at::Tensor& weight) {
  LIGHTNING_CHECK(value.defined() && !value.is_complex(), DataError, name(), ": the value is ",
                  value.defined() ? "complex" : "an undefined tensor",
                  ", expected real numbers. HINT: give a tensor of the numbers to aggregate.");
  LIGHTNING_CHECK(!weight.defined() || at::is_expandable_to(weight.sizes(), value.sizes()),
                  DataError, name(), ": the weights are of shape ", weight.sizes(),
                  " and the values of shape ", value.sizes(),
                  ", expected weights that broadcast to the values. HINT: give one weight per "
                  "value, or one for all.");
  const at::Tensor values = value.detach().to(at::kDouble);
  const at::Tensor weights = weight.defined()
                                 ? weight.detach().to(values.options()).expand_as(values)
                                 : at::ones_like(values);
  const auto* handling = std::get_if<NanHandling>(&options_.nan_strategy);
  if (handling != nullptr && *handling == NanHandling::kDisable) {
    return {values, weights, at::zeros_like(values, at::kBool)};
  }
  const at::Tensor is_nan = at::logical_or(values.isnan(), weights.isnan());
  if (handling == nullptr) {
    return {at::where(is_nan, std::get<double>(options_.nan_strategy), values),
            at::where(is_nan, 1.0, weights), at::zeros_like(is_nan)};
  }
  state("nans") += is_nan.sum();
  return {at::where(is_nan, 0.0, values), at::where(is_nan, 0.0, weights), is_nan};
}

void Aggregation::check_nans() const {
  const auto* handling = std::get_if<NanHandling>(&options_.nan_strategy);
  if (handling == nullptr ||
      (*handling != NanHandling::kError && *handling != NanHandling::kWarn)) {
    return;
  }
  const int64_t count = counted("nans");
  if (count == 0) return;
  LIGHTNING_CHECK(*handling != NanHandling::kError, DataError, name(), ": ", count,
                  " values or weights are NaN, expected none. HINT: nan_strategy says what is done "
                  "with them.");
  log_warning(format("{}: {} values or weights that are NaN are left out", name(), count),
              format("{}: NaN", name()));
}

at::Tensor Aggregation::on_device(double value) const {
  return at::full({}, value, state("nans").options().dtype(at::kDouble));
}

MeanMetric::MeanMetric(const AggregationOptions& options)
    : Aggregation("MeanMetric", options, "mean_value", StateReduceFx::kSum) {
  add_state("weight", StateReduceFx::kSum, {}, at::kDouble);
}

void MeanMetric::update(const at::Tensor& value, const at::Tensor& weight) {
  const UpdateScope scope(*this, value);
  const Values values = without_nans(value, weight);
  state("mean_value") += (values.value * values.weight).sum();
  state("weight") += values.weight.sum();
}

void MeanMetric::update(double value, double weight) {
  update(on_device(value), on_device(weight));
}

at::Tensor MeanMetric::do_compute() const {
  check_nans();
  return state("mean_value") / state("weight");
}

ValueAggregation::ValueAggregation(std::string name, const AggregationOptions& options,
                                   std::string value_name, StateReduceFx fx)
    : Aggregation(std::move(name), options, value_name, fx),
      value_name_(std::move(value_name)),
      fx_(fx) {}

void ValueAggregation::update(const at::Tensor& value) {
  const UpdateScope scope(*this, value);
  const Values values = without_nans(value, {});
  if (value.numel() == 0) return;
  at::Tensor& total = state(value_name_);
  const double infinity = std::numeric_limits<double>::infinity();
  if (fx_ == StateReduceFx::kSum) {
    total += values.value.sum();
  } else if (fx_ == StateReduceFx::kMin) {
    total = at::minimum(total, at::where(values.is_missing, infinity, values.value).min());
  } else {
    total = at::maximum(total, at::where(values.is_missing, -infinity, values.value).max());
  }
}

void ValueAggregation::update(double value) { update(on_device(value)); }

at::Tensor ValueAggregation::do_compute() const {
  check_nans();
  return state(value_name_).clone();
}

}  // namespace lightning::metrics
