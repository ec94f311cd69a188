#include <lightning/metrics/detail/labels.h>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

#include <lightning/util/error.h>

namespace lightning::metrics::detail {
namespace {

using lightning::detail::concat;

void check_count(const LabelFormat& format, std::string_view option,
                 const std::optional<int64_t>& count, bool is_needed) {
  if (!is_needed) {
    LIGHTNING_CHECK(!count, ConfigError, format.metric, ": ", option, " is ", *count,
                    ", but the task has none. HINT: set task to that of your data.");
    return;
  }
  LIGHTNING_CHECK(count, ConfigError, format.metric, ": ", option,
                  " is not set, but the task needs it. HINT: set ", option, ".");
  LIGHTNING_CHECK(*count >= 2, ConfigError, format.metric, ": ", option, " is ", *count,
                  ", expected at least 2. HINT: with one, the task is Task::kBinary.");
}

void check_same_shape(const LabelFormat& format, const at::Tensor& preds,
                      const at::Tensor& target) {
  LIGHTNING_CHECK(preds.sizes() == target.sizes(), DataError, format.metric, ": preds are ",
                  preds.sizes(), " and target is ", target.sizes(),
                  ", expected the same shape. HINT: reshape one of them.");
}

/// Classes [n] that scores [n, C] predict: the best, or the target where it is one of the top_k.
at::Tensor predicted_classes(const LabelFormat& format, const at::Tensor& scores,
                             const at::Tensor& target) {
  if (format.top_k == 1) return scores.argmax(1);
  const at::Tensor best = std::get<1>(scores.topk(format.top_k, 1));
  const at::Tensor is_hit = (best == target.unsqueeze(1)).any(1);
  return at::where(is_hit, target, best.select(1, 0));
}

Labels multiclass_labels(const LabelFormat& format, const at::Tensor& preds,
                         const at::Tensor& target) {
  Labels labels;
  labels.target = target.flatten().to(at::kLong);
  if (preds.dim() == target.dim() + 1) {
    check_class_scores(format, preds, target);
    labels.preds = predicted_classes(format, as_rows(preds), labels.target);
  } else {
    check_same_shape(format, preds, target);
    LIGHTNING_CHECK(!preds.is_floating_point() && format.top_k == 1, DataError, format.metric,
                    ": preds of shape ", preds.sizes(), " are ", preds.scalar_type(),
                    " with top_k ", format.top_k,
                    ", expected integers and 1. HINT: give the scores, [N, ", *format.num_classes,
                    ", ...].");
    labels.preds = preds.flatten().to(at::kLong);
  }
  return labels;
}

Labels yes_or_no_labels(const LabelFormat& format, const at::Tensor& preds,
                        const at::Tensor& target) {
  check_same_shape(format, preds, target);
  const bool is_binary = format.task == Task::kBinary;
  LIGHTNING_CHECK(is_binary || (preds.dim() >= 2 && preds.size(1) == *format.num_labels), DataError,
                  format.metric, ": preds are ", preds.sizes(), ", expected [N, ",
                  format.num_labels.value_or(0),
                  ", ...]. HINT: num_labels is the second dimension.");
  const auto rows = [&](const at::Tensor& values) {
    return is_binary ? values.reshape({-1, 1}) : as_rows(values);
  };
  Labels labels;
  labels.target = rows(target).to(at::kLong);
  labels.preds = rows(preds);
  if (preds.is_floating_point()) {
    const at::Tensor ignored = is_ignored(format, labels.target);
    labels.preds = probabilities(format, labels.preds, ignored) > format.threshold;
  }
  labels.preds = labels.preds.to(at::kLong);
  return labels;
}

}  // namespace

void check_format(const LabelFormat& format) {
  check_count(format, "num_classes", format.num_classes, format.task == Task::kMulticlass);
  check_count(format, "num_labels", format.num_labels, format.task == Task::kMultilabel);
  LIGHTNING_CHECK(
      format.threshold >= 0.0 && format.threshold <= 1.0, ConfigError, format.metric,
      ": threshold is ", format.threshold,
      ", expected a probability in [0, 1]. HINT: of a logit x that is 1 / (1 + exp(-x)).");
  const int64_t most = format.num_classes.value_or(1);
  LIGHTNING_CHECK(format.top_k >= 1 && format.top_k <= most, ConfigError, format.metric,
                  ": top_k is ", format.top_k, ", expected 1 to ", most,
                  ". HINT: above 1 it is for Task::kMulticlass.");
}

void check_inputs(const LabelFormat& format, const at::Tensor& preds, const at::Tensor& target) {
  LIGHTNING_CHECK(target.defined(), DataError, format.metric,
                  ": target is an undefined tensor, expected labels. HINT: give preds and target.");
  LIGHTNING_CHECK(at::isIntegralType(target.scalar_type(), /*includeBool=*/true), DataError,
                  format.metric, ": target is ", target.scalar_type(),
                  ", expected an integer type. HINT: convert it with target.to(torch::kLong).");
  LIGHTNING_CHECK(!preds.is_complex(), DataError, format.metric, ": preds are ",
                  preds.scalar_type(), ", expected scores or labels. HINT: take their real part.");
  LIGHTNING_CHECK(preds.device() == target.device(), DataError, format.metric, ": preds are on ",
                  preds.device(), " and target is on ", target.device(),
                  ", expected one device. HINT: move one of them.");
}

void check_class_scores(const LabelFormat& format, const at::Tensor& preds,
                        const at::Tensor& target) {
  LIGHTNING_CHECK(preds.is_floating_point(), DataError, format.metric, ": preds of shape ",
                  preds.sizes(), " are ", preds.scalar_type(),
                  ", expected floating-point scores. HINT: give the model's logits.");
  const bool fits = preds.dim() == target.dim() + 1 && preds.dim() >= 2 &&
                    preds.size(1) == *format.num_classes && preds.size(0) == target.size(0) &&
                    preds.sizes().slice(2) == target.sizes().slice(1);
  LIGHTNING_CHECK(fits, DataError, format.metric, ": preds are ", preds.sizes(), " and target is ",
                  target.sizes(), ", expected [N, ", *format.num_classes,
                  ", ...] and [N, ...]. HINT: the classes are the second dimension of preds.");
}

at::Tensor as_rows(const at::Tensor& scores) {
  return scores.movedim(1, -1).reshape({-1, scores.size(1)});
}

at::Tensor is_ignored(const LabelFormat& format, const at::Tensor& target) {
  return format.ignore_index ? target == *format.ignore_index
                             : at::zeros_like(target, target.options().dtype(at::kBool));
}

at::Tensor is_label(const at::Tensor& labels, int64_t count) {
  return at::logical_and(labels >= 0, labels < count);
}

at::Tensor probabilities(const LabelFormat& format, const at::Tensor& scores,
                         const at::Tensor& ignored) {
  const at::Tensor values = scores.to(at::kFloat);
  const at::Tensor is_outside = at::logical_or(values<0.0, values> 1.0);
  const at::Tensor are_logits = at::logical_and(is_outside, at::logical_not(ignored)).any();
  return at::where(are_logits,
                   format.task == Task::kMulticlass ? values.softmax(1) : values.sigmoid(), values);
}

Labels to_labels(const LabelFormat& format, const at::Tensor& preds, const at::Tensor& target) {
  check_inputs(format, preds, target);
  const bool is_multiclass = format.task == Task::kMulticlass;
  Labels labels = is_multiclass ? multiclass_labels(format, preds.detach(), target)
                                : yes_or_no_labels(format, preds.detach(), target);
  const int64_t count = format.num_classes.value_or(2);
  const at::Tensor are_labels =
      at::logical_and(is_label(labels.preds, count), is_label(labels.target, count));
  const at::Tensor is_used = at::logical_not(is_ignored(format, labels.target));
  labels.counts = at::logical_and(is_used, are_labels);
  labels.invalid = at::logical_and(is_used, at::logical_not(are_labels)).sum();
  return labels;
}

at::Tensor histogram(const at::Tensor& labels, const at::Tensor& counts, int64_t count) {
  at::Tensor bins = at::zeros({count + 1}, labels.options());
  bins.scatter_add_(0, at::where(counts, labels, count), at::ones_like(labels));
  return bins.narrow(0, 0, count);
}

void check_invalid(const LabelFormat& format, int64_t count) {
  const int64_t labels = format.num_classes.value_or(2);
  LIGHTNING_CHECK(count == 0, DataError, format.metric, ": ", count,
                  " targets or predictions are no labels, expected 0 to ", labels - 1,
                  format.ignore_index ? concat(" or ", *format.ignore_index) : std::string(),
                  ". HINT: set ignore_index to the value of targets that don't count.");
}

}  // namespace lightning::metrics::detail
