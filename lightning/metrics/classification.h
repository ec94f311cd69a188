/// Accuracy, precision, recall and F1 from counts of right and wrong predictions, with
/// torchmetrics' names, arguments, defaults and values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <ATen/core/Tensor.h>

#include <lightning/metrics/metric.h>
#include <lightning/util/export.h>

namespace lightning::metrics {

enum class Task : uint8_t {
  kBinary,      // one yes or no
  kMulticlass,  // one of num_classes
  kMultilabel,  // num_labels times yes or no
};

/// How the scores of classes (or labels) become one.
enum class Average : uint8_t {
  kMicro,     // the score of all classes' counts
  kMacro,     // the mean over classes; those that never occur are left out (kMulticlass)
  kWeighted,  // the mean weighted with how often classes occur
  kNone,      // one score per class: [num_classes] or [num_labels]
};

struct ClassificationOptions {
  Task task = Task::kBinary;
  /// Probabilities above it mean yes (kBinary, kMultilabel). In [0, 1].
  double threshold = 0.5;
  /// Needed by kMulticlass, at least 2.
  std::optional<int64_t> num_classes = std::nullopt;
  /// Needed by kMultilabel, at least 2.
  std::optional<int64_t> num_labels = std::nullopt;
  /// Without effect for kBinary.
  Average average = Average::kMicro;
  /// kMulticlass with scores: a prediction is right when the target is among the top_k best.
  int64_t top_k = 1;
  /// Targets with this value don't count.
  std::optional<int64_t> ignore_index = std::nullopt;
  /// 0 or 1: what 0 / 0 is. Not for Accuracy, where it is 0.
  double zero_division = 0.0;
};

/// Counts of true and false positives and negatives, which the classes below make scores of.
/// State: "tp", "fp", "tn", "fn", int64, one for each class; "invalid".
class LIGHTNING_API StatScores : public Metric {
 public:
  /// kBinary: `preds` and `target` have the same shape, any.
  /// kMulticlass: `target` [N, ...]; `preds` [N, C, ...] scores, or [N, ...] classes.
  /// kMultilabel: `preds` and `target` [N, L, ...].
  /// Floating-point `preds` are scores: probabilities, or logits where one of this batch that
  /// counts lies outside of [0, 1]. Others, and `target`, are integers: 0 and 1, or a class.
  /// Throws: DataError for other types and shapes. Targets and predictions that are no class are
  /// counted apart; then compute() throws DataError.
  void update(const at::Tensor& preds, const at::Tensor& target);

 protected:
  /// Throws ConfigError when the options don't fit together.
  StatScores(std::string name, const ClassificationOptions& options);
  const ClassificationOptions& options() const { return options_; }

  struct Counts {
    at::Tensor tp, fp, tn, fn;  // float64, of the same shape
  };
  /// numerator / denominator, zero_division where that is 0.
  at::Tensor divide(const at::Tensor& numerator, const at::Tensor& denominator) const;

 private:
  virtual at::Tensor score(const Counts& counts) const = 0;
  /// Which classes don't count in the macro average of kMulticlass.
  virtual at::Tensor is_absent(const Counts& counts) const;
  at::Tensor do_compute() const override;

  ClassificationOptions options_;
};

/// kMulticlass: the part of the targets that was predicted; else: the part of all decisions that
/// was right. Empty: 0.
class LIGHTNING_API Accuracy final : public StatScores {
 public:
  explicit Accuracy(const ClassificationOptions& options);

 private:
  at::Tensor score(const Counts& counts) const override;
};

/// tp / (tp + fp). Empty: zero_division.
class LIGHTNING_API Precision final : public StatScores {
 public:
  explicit Precision(const ClassificationOptions& options) : StatScores("Precision", options) {}

 private:
  at::Tensor score(const Counts& counts) const override;
};

/// tp / (tp + fn). Empty: zero_division.
class LIGHTNING_API Recall final : public StatScores {
 public:
  explicit Recall(const ClassificationOptions& options) : StatScores("Recall", options) {}

 private:
  at::Tensor score(const Counts& counts) const override;
};

/// 2 tp / (2 tp + fp + fn). Empty: zero_division.
class LIGHTNING_API F1Score final : public StatScores {
 public:
  explicit F1Score(const ClassificationOptions& options) : StatScores("F1Score", options) {}

 private:
  at::Tensor score(const Counts& counts) const override;
  at::Tensor is_absent(const Counts& counts) const override;
};

}  // namespace lightning::metrics
