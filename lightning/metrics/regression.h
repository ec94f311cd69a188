/// Mean errors of numbers, with torchmetrics' names, arguments, defaults and values.
#pragma once

#include <cstdint>
#include <string>

#include <ATen/core/Tensor.h>

#include <lightning/metrics/metric.h>
#include <lightning/util/export.h>

namespace lightning::metrics {

struct MeanSquaredErrorOptions {
  /// false: the square root of the mean.
  bool squared = true;
  /// Above 1: one mean for each column of [N, num_outputs].
  int64_t num_outputs = 1;
};

struct MeanAbsoluteErrorOptions {
  /// Above 1: one mean for each column of [N, num_outputs].
  int64_t num_outputs = 1;
};

/// The mean of a function of the difference between prediction and target. Empty: NaN.
/// compute(): [num_outputs] when there are several.
/// State: the sum, float64 [num_outputs]; "total", int64, the number of its terms.
class LIGHTNING_API MeanError : public Metric {
 public:
  /// Of the same shape: any, or [N, num_outputs] when there are several.
  /// Throws: DataError for other shapes and for complex numbers.
  void update(const at::Tensor& preds, const at::Tensor& target);

 protected:
  /// Throws ConfigError unless num_outputs is positive.
  MeanError(std::string name, std::string sum_name, int64_t num_outputs);
  at::Tensor do_compute() const override;

 private:
  virtual at::Tensor error(const at::Tensor& difference) const = 0;

  std::string sum_name_;
  int64_t num_outputs_;
};

class LIGHTNING_API MeanSquaredError final : public MeanError {
 public:
  explicit MeanSquaredError(const MeanSquaredErrorOptions& options = {});

 private:
  at::Tensor error(const at::Tensor& difference) const override;
  at::Tensor do_compute() const override;

  MeanSquaredErrorOptions options_;
};

class LIGHTNING_API MeanAbsoluteError final : public MeanError {
 public:
  explicit MeanAbsoluteError(const MeanAbsoluteErrorOptions& options = {});

 private:
  at::Tensor error(const at::Tensor& difference) const override;
};

}  // namespace lightning::metrics
