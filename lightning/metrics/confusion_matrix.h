#pragma once

#include <cstdint>
#include <optional>

#include <ATen/core/Tensor.h>

#include <lightning/metrics/classification.h>
#include <lightning/metrics/metric.h>
#include <lightning/util/export.h>

namespace lightning::metrics {

/// What entries of a confusion matrix are divided by; 0 / 0 is 0.
enum class Normalize : uint8_t {
  kNone,  // nothing: counts
  kTrue,  // the sum of their row: of the targets of a class
  kPred,  // the sum of their column: of the predictions of a class
  kAll,   // the sum of all
};

struct ConfusionMatrixOptions {
  /// As in ClassificationOptions.
  Task task = Task::kBinary;
  double threshold = 0.5;
  std::optional<int64_t> num_classes = std::nullopt;
  std::optional<int64_t> num_labels = std::nullopt;
  Normalize normalize = Normalize::kNone;
  std::optional<int64_t> ignore_index = std::nullopt;
};

/// How often each class was predicted as which: rows are targets, columns predictions.
/// torchmetrics' arguments, defaults and values. compute(): [2, 2] (kBinary), [C, C] (kMulticlass)
/// or [L, 2, 2] (kMultilabel); int64 with kNone, else float64. Empty: zeros. State: "confmat",
/// int64; "invalid".
class LIGHTNING_API ConfusionMatrix final : public Metric {
 public:
  /// Throws ConfigError when the options don't fit together.
  explicit ConfusionMatrix(const ConfusionMatrixOptions& options);
  /// As StatScores::update().
  void update(const at::Tensor& preds, const at::Tensor& target);

 private:
  at::Tensor do_compute() const override;

  ConfusionMatrixOptions options_;
};

}  // namespace lightning::metrics
