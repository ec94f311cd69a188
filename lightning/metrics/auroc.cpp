#include <lightning/metrics/auroc.h>

#include <algorithm>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

#include <lightning/metrics/detail/labels.h>
#include <lightning/util/error.h>

namespace lightning::metrics {
namespace {

detail::LabelFormat format_of(const AUROCOptions& options) {
  return {.metric = "AUROC",
          .task = options.task,
          .num_classes = options.num_classes,
          .ignore_index = options.ignore_index};
}

void check_options(const AUROCOptions& options) {
  LIGHTNING_CHECK(
      options.task != Task::kMultilabel, ConfigError,
      "AUROC: task is Task::kMultilabel, expected kBinary or kMulticlass. HINT: use one "
      "AUROC for each label.");
  LIGHTNING_CHECK(options.average != Average::kMicro, ConfigError,
                  "AUROC: average is Average::kMicro, expected kMacro, kWeighted or kNone. HINT: "
                  "leave it out for kMacro.");
  detail::check_format(format_of(options));
}

/// float32, ascending; undefined without thresholds.
at::Tensor thresholds_of(const AUROCOptions& options) {
  if (const auto* count = std::get_if<int64_t>(&options.thresholds)) {
    LIGHTNING_CHECK(*count >= 2, ConfigError, "AUROC: thresholds is ", *count,
                    ", expected at least 2. HINT: leave it out for the exact area.");
    return at::linspace(0.0, 1.0, *count, at::TensorOptions(at::kFloat));
  }
  const auto* list = std::get_if<std::vector<double>>(&options.thresholds);
  if (list == nullptr) return {};
  const bool in_range =
      std::all_of(list->begin(), list->end(), [](double t) { return t >= 0.0 && t <= 1.0; });
  LIGHTNING_CHECK(list->size() >= 2 && in_range && std::is_sorted(list->begin(), list->end()),
                  ConfigError, "AUROC: thresholds are ", at::ArrayRef<double>(*list),
                  ", expected at least 2, ascending in [0, 1]. HINT: a number makes a list.");
  return at::tensor(*list, at::TensorOptions(at::kFloat));
}

/// Twice the area below the points (fp, tp), int64 [..., n], n >= 1, in ascending order, divided by
/// that of the rectangle of all positives and negatives. In whole numbers until the end: the same
/// for every order of the samples.
at::Tensor area(const at::Tensor& fp, const at::Tensor& tp, const at::Tensor& positives,
                const at::Tensor& negatives) {
  const int64_t n = fp.size(-1) - 1;
  const at::Tensor widths = fp.narrow(-1, 1, n) - fp.narrow(-1, 0, n);
  const at::Tensor heights = tp.narrow(-1, 1, n) + tp.narrow(-1, 0, n);
  const at::Tensor doubled = (widths * heights).sum(-1).to(at::kDouble);
  const at::Tensor whole = 2.0 * positives.to(at::kDouble) * negatives.to(at::kDouble);
  return at::where(whole == 0.0, 0.0, doubled / whole);
}

/// Of scores [n], positive where `is_positive`.
at::Tensor exact_area(const at::Tensor& scores, const at::Tensor& is_positive) {
  const auto [sorted, order] = scores.sort(/*dim=*/0, /*descending=*/true);
  const int64_t n = sorted.size(0);
  // A point after the last of equal scores, and the origin.
  at::Tensor is_last = at::ones_like(is_positive);
  if (n > 1)
    is_last.narrow(0, 0, n - 1).copy_(sorted.narrow(0, 1, n - 1) != sorted.narrow(0, 0, n - 1));
  const at::Tensor ends = at::nonzero(is_last).flatten();
  const at::Tensor tp = is_positive.index_select(0, order).cumsum(0).index_select(0, ends);
  const at::Tensor origin = at::zeros({1}, tp.options());
  const at::Tensor positives = is_positive.sum();
  return area(at::cat({origin, ends + 1 - tp}), at::cat({origin, tp}), positives, n - positives);
}

}  // namespace

AUROC::AUROC(const AUROCOptions& options) : Metric("AUROC"), options_(options) {
  check_options(options);
  thresholds_ = thresholds_of(options);
  if (is_exact()) {
    std::vector<int64_t> row;
    if (options.num_classes) row.push_back(*options.num_classes);
    add_state("preds", StateReduceFx::kCat, row, at::kFloat);
    add_state("target", StateReduceFx::kCat, {}, at::kLong);
  } else {
    const std::vector<int64_t> shape = {options.num_classes.value_or(1), thresholds_.numel() + 1};
    add_state("positives", StateReduceFx::kSum, shape, at::kLong);
    add_state("negatives", StateReduceFx::kSum, shape, at::kLong);
  }
  add_state("invalid", StateReduceFx::kSum, {}, at::kLong);
}

void AUROC::update(const at::Tensor& preds, const at::Tensor& target) {
  const UpdateScope scope(*this, preds);
  const detail::LabelFormat format = format_of(options_);
  detail::check_inputs(format, preds, target);
  const bool is_binary = options_.task == Task::kBinary;
  if (is_binary) {
    LIGHTNING_CHECK(preds.is_floating_point() && preds.sizes() == target.sizes(), DataError,
                    "AUROC: preds are ", preds.scalar_type(), " of shape ", preds.sizes(),
                    " and target is ", target.sizes(),
                    ", expected floating-point scores of the same shape. HINT: give the model's "
                    "logits.");
  } else {
    detail::check_class_scores(format, preds, target);
  }
  const at::Tensor scores = is_binary ? preds.detach().flatten() : detail::as_rows(preds.detach());
  const at::Tensor labels = target.flatten().to(at::kLong);
  const at::Tensor ignored = detail::is_ignored(format, labels);
  const at::Tensor is_used = at::logical_not(ignored);
  const at::Tensor are_labels = detail::is_label(labels, options_.num_classes.value_or(2));
  const at::Tensor counts = at::logical_and(is_used, are_labels);
  const at::Tensor probabilities =
      detail::probabilities(format, scores, is_binary ? ignored : ignored.unsqueeze(1));
  state("invalid") += at::logical_and(is_used, at::logical_not(are_labels)).sum();
  if (is_exact()) {
    append("preds", probabilities);
    append("target", at::where(counts, labels, -1));
  } else {
    add_binned(is_binary ? probabilities.unsqueeze(1) : probabilities, labels, counts);
  }
}

void AUROC::add_binned(const at::Tensor& scores, const at::Tensor& target,
                       const at::Tensor& counts) {
  thresholds_ = thresholds_.to(scores.device());
  at::Tensor& positives = state("positives");
  at::Tensor& negatives = state("negatives");
  const int64_t num_classes = scores.size(1);
  const at::Tensor classes = at::arange(num_classes, target.options());
  // The number of thresholds that a score reaches.
  const at::Tensor bins = at::bucketize(scores, thresholds_, /*out_int32=*/false, /*right=*/true) +
                          classes * positives.size(1);
  const at::Tensor is_positive =
      target.unsqueeze(1) == (options_.task == Task::kBinary ? classes + 1 : classes);
  const at::Tensor rows = counts.unsqueeze(1);
  const auto add = [&](at::Tensor& total, const at::Tensor& counted) {
    total +=
        detail::histogram(bins.flatten(), at::logical_and(counted, rows).flatten(), total.numel())
            .view(total.sizes());
  };
  add(positives, is_positive);
  add(negatives, at::logical_not(is_positive));
}

at::Tensor AUROC::do_compute() const {
  detail::check_invalid(format_of(options_), counted("invalid"));
  const bool is_binary = options_.task == Task::kBinary;
  const int64_t num_classes = options_.num_classes.value_or(1);
  at::Tensor areas, weights;
  if (is_exact()) {
    const at::Tensor all = state("target");
    const at::Tensor used = at::nonzero(all >= 0).flatten();
    const at::Tensor target = all.index_select(0, used);
    const at::Tensor scores = state("preds").index_select(0, used).view({-1, num_classes});
    std::vector<at::Tensor> area_of, weight_of;
    for (int64_t i = 0; i < num_classes; ++i) {
      const at::Tensor is_positive = target == (is_binary ? 1 : i);
      area_of.push_back(exact_area(scores.select(1, i), is_positive));
      weight_of.push_back(is_positive.sum());
    }
    areas = at::stack(area_of);
    weights = at::stack(weight_of);
  } else {
    const at::Tensor positives = state("positives"), negatives = state("negatives");
    const int64_t n = positives.size(1) - 1;
    // From the highest threshold down: what reaches it.
    const auto reached = [&](const at::Tensor& bins) {
      return bins.flip(1).cumsum(1).narrow(1, 0, n);
    };
    weights = positives.sum(1);
    areas = area(reached(negatives), reached(positives), weights, negatives.sum(1));
  }
  if (is_binary) return areas.select(0, 0);
  if (options_.average == Average::kNone) return areas;
  if (options_.average == Average::kMacro) return areas.mean();
  const at::Tensor total = weights.sum();
  return at::where(total == 0, 0.0, (areas * weights).sum() / total);
}

}  // namespace lightning::metrics
