#pragma once

#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

#include <ATen/core/Tensor.h>

#include <lightning/metrics/classification.h>
#include <lightning/metrics/metric.h>
#include <lightning/util/export.h>

namespace lightning::metrics {

struct AUROCOptions {
  /// kBinary or kMulticlass.
  Task task = Task::kBinary;
  /// Nothing: exact, with all scores kept (12 bytes per sample, 8 + 4 * C with C classes). A
  /// number: so many thresholds from 0 to 1 at equal distances. Or a list of them, ascending in [0,
  /// 1]. With thresholds the state has a fixed size.
  std::variant<std::monostate, int64_t, std::vector<double>> thresholds = std::monostate();
  /// Needed by kMulticlass, at least 2.
  std::optional<int64_t> num_classes = std::nullopt;
  /// Of each class against all others: kMacro, kWeighted or kNone ([num_classes]).
  Average average = Average::kMacro;
  /// Targets with this value don't count.
  std::optional<int64_t> ignore_index = std::nullopt;
};

/// Area under the receiver operating characteristic: how probable it is that a positive has a
/// higher score than a negative, ties half. torchmetrics' arguments, defaults and values; no
/// max_fpr, no kMultilabel. A class without positives or without negatives has 0, and counts in the
/// mean. Empty: 0. State: exact: "preds", float32, and "target", int64 (-1: doesn't count), which
/// grow; with T thresholds: "positives" and "negatives", int64 [C, T + 1], counts of scores between
/// thresholds; and "invalid".
class LIGHTNING_API AUROC final : public Metric {
 public:
  /// Throws ConfigError when the options don't fit together.
  explicit AUROC(const AUROCOptions& options);
  /// `preds`: floating-point scores, [N, ...] like `target`, or [N, C, ...] for `target` [N, ...]:
  /// probabilities, or logits where one of this batch that counts lies outside of [0, 1]. Compared
  /// in float32.
  /// Throws: DataError for other types and shapes. Targets that are no class are counted apart;
  /// then compute() throws DataError.
  void update(const at::Tensor& preds, const at::Tensor& target);

 private:
  bool is_exact() const { return !thresholds_.defined(); }
  void add_binned(const at::Tensor& scores, const at::Tensor& target, const at::Tensor& counts);
  at::Tensor do_compute() const override;

  AUROCOptions options_;
  at::Tensor thresholds_;  // float32, ascending; undefined: exact
};

}  // namespace lightning::metrics
