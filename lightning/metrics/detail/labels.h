/// What the metrics of classification have in common: checks of options and inputs, and inputs in
/// one form.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include <ATen/core/Tensor.h>

#include <lightning/metrics/classification.h>

namespace lightning::metrics::detail {

/// What inputs mean.
struct LabelFormat {
  std::string_view metric;  // for messages
  Task task;
  double threshold = 0.5;
  std::optional<int64_t> num_classes = std::nullopt;
  std::optional<int64_t> num_labels = std::nullopt;
  int64_t top_k = 1;
  std::optional<int64_t> ignore_index = std::nullopt;
};
/// Throws ConfigError.
void check_format(const LabelFormat& format);

/// Throws DataError unless `target` has whole numbers and lies on the device of `preds`.
void check_inputs(const LabelFormat& format, const at::Tensor& preds, const at::Tensor& target);
/// Throws DataError unless `preds` are floating-point scores [N, C, ...] for `target` [N, ...].
void check_class_scores(const LabelFormat& format, const at::Tensor& preds,
                        const at::Tensor& target);

/// [N, C, ...] to [n, C], in the order of the flattened target.
at::Tensor as_rows(const at::Tensor& scores);

/// bool; like `target`.
at::Tensor is_ignored(const LabelFormat& format, const at::Tensor& target);
/// bool: whether `labels` lie in [0, count).
at::Tensor is_label(const at::Tensor& labels, int64_t count);

/// float32 probabilities of `scores`: the sigmoid, or the softmax over dimension 1 of kMulticlass,
/// when one of them lies outside of [0, 1], those where `ignored` (which broadcasts) aside. No
/// sync.
at::Tensor probabilities(const LabelFormat& format, const at::Tensor& scores,
                         const at::Tensor& ignored);

/// A batch. int64 and bool, all [n] for kMulticlass, [n, 1] for kBinary, [n, L] for kMultilabel.
struct Labels {
  at::Tensor preds;
  at::Tensor target;
  at::Tensor counts;   // neither ignored nor invalid
  at::Tensor invalid;  // 0-dim, int64: how many are no labels and not ignored
};
/// Throws DataError for types and shapes. No sync.
Labels to_labels(const LabelFormat& format, const at::Tensor& preds, const at::Tensor& target);

/// How often each of [0, count) occurs in `labels` [n], those apart where `counts` is false. int64,
/// [count]. No sync, unlike at::bincount().
at::Tensor histogram(const at::Tensor& labels, const at::Tensor& counts, int64_t count);

/// Throws DataError when `count` targets or predictions were no labels.
void check_invalid(const LabelFormat& format, int64_t count);

}  // namespace lightning::metrics::detail
