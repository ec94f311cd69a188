#pragma once

#include <cstdint>
#include <optional>

#include <ATen/core/Tensor.h>

#include <lightning/metrics/metric.h>
#include <lightning/util/export.h>

namespace lightning::metrics {

struct PerplexityOptions {
  /// Targets with this value don't count.
  std::optional<int64_t> ignore_index = std::nullopt;
};

/// exp of the mean negative log-likelihood of the target tokens; torchmetrics' arguments and
/// values. Empty: NaN. State: "total_log_probs", float64, their negative sum; "count", int64;
/// "invalid".
class LIGHTNING_API Perplexity final : public Metric {
 public:
  explicit Perplexity(const PerplexityOptions& options = {});
  /// `preds`: floating-point logits [B, T, V] (or logarithms of probabilities); `target`: int64
  /// [B, T]. Logarithms are taken in float32 at least.
  /// Throws: DataError for other types and shapes. Targets outside of [0, V) are counted apart;
  /// then compute() throws DataError.
  void update(const at::Tensor& preds, const at::Tensor& target);

 private:
  at::Tensor do_compute() const override;

  PerplexityOptions options_;
};

}  // namespace lightning::metrics
