/// Mean, sum, least and greatest of the numbers that update() is given, with torchmetrics' names.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include <ATen/core/Tensor.h>

#include <lightning/metrics/metric.h>
#include <lightning/util/export.h>

namespace lightning::metrics {

/// What becomes of values, or weights, that are NaN.
enum class NanHandling : uint8_t {
  kError,    // compute() throws DataError
  kWarn,     // left out; compute() warns
  kIgnore,   // left out
  kDisable,  // taken as they are: the result is NaN
};

struct AggregationOptions {
  /// A number takes the place of values that are NaN, with weight 1.
  std::variant<NanHandling, double> nan_strategy = NanHandling::kWarn;
};

/// What the four have in common.
/// State: the aggregate in float64; "nans", how many were left out.
class LIGHTNING_API Aggregation : public Metric {
 protected:
  Aggregation(std::string name, const AggregationOptions& options, std::string value_name,
              StateReduceFx fx);

  /// In float64, without NaN unless these are taken as they are.
  struct Values {
    at::Tensor value;
    at::Tensor weight;      // of the shape of `value`; 0 where it doesn't count
    at::Tensor is_missing;  // bool, the same
  };
  /// Counts NaN. Throws DataError unless `weight`, where defined, broadcasts to `value`.
  Values without_nans(const at::Tensor& value, const at::Tensor& weight);
  /// Throws or warns when NaN were counted.
  void check_nans() const;
  /// A number as a tensor on the device of the state.
  at::Tensor on_device(double value) const;

 private:
  AggregationOptions options_;
};

/// Weighted mean. Empty: NaN.
class LIGHTNING_API MeanMetric final : public Aggregation {
 public:
  explicit MeanMetric(const AggregationOptions& options = {});
  /// `value`: any shape; `weight`: one that broadcasts to it, undefined: 1.
  void update(const at::Tensor& value, const at::Tensor& weight = {});
  void update(double value, double weight = 1.0);

 private:
  at::Tensor do_compute() const override;
};

/// Sum, least or greatest value.
class LIGHTNING_API ValueAggregation : public Aggregation {
 public:
  /// Any shape.
  void update(const at::Tensor& value);
  void update(double value);

 protected:
  ValueAggregation(std::string name, const AggregationOptions& options, std::string value_name,
                   StateReduceFx fx);

 private:
  at::Tensor do_compute() const override;

  std::string value_name_;
  StateReduceFx fx_;
};

/// Empty: 0.
class LIGHTNING_API SumMetric final : public ValueAggregation {
 public:
  explicit SumMetric(const AggregationOptions& options = {})
      : ValueAggregation("SumMetric", options, "sum_value", StateReduceFx::kSum) {}
};

/// Empty: infinity.
class LIGHTNING_API MinMetric final : public ValueAggregation {
 public:
  explicit MinMetric(const AggregationOptions& options = {})
      : ValueAggregation("MinMetric", options, "min_value", StateReduceFx::kMin) {}
};

/// Empty: -infinity.
class LIGHTNING_API MaxMetric final : public ValueAggregation {
 public:
  explicit MaxMetric(const AggregationOptions& options = {})
      : ValueAggregation("MaxMetric", options, "max_value", StateReduceFx::kMax) {}
};

}  // namespace lightning::metrics
