#include <lightning/metrics/classification.h>

#include <utility>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

#include <lightning/metrics/detail/labels.h>
#include <lightning/util/error.h>

namespace lightning::metrics {
namespace {

detail::LabelFormat format_of(std::string_view metric, const ClassificationOptions& options) {
  return {metric,
          options.task,
          options.threshold,
          options.num_classes,
          options.num_labels,
          options.top_k,
          options.ignore_index};
}

}  // namespace

StatScores::StatScores(std::string name, const ClassificationOptions& options)
    : Metric(std::move(name)), options_(options) {
  detail::check_format(format_of(this->name(), options));
  LIGHTNING_CHECK(options.zero_division == 0.0 || options.zero_division == 1.0, ConfigError,
                  this->name(), ": zero_division is ", options.zero_division,
                  ", expected 0 or 1. HINT: leave it out for 0.");
  const int64_t count = options.num_classes.value_or(options.num_labels.value_or(1));
  for (const char* state : {"tp", "fp", "tn", "fn"}) {
    add_state(state, StateReduceFx::kSum, {count}, at::kLong);
  }
  add_state("invalid", StateReduceFx::kSum, {}, at::kLong);
}

void StatScores::update(const at::Tensor& preds, const at::Tensor& target) {
  const UpdateScope scope(*this, preds);
  const auto [predicted, wanted, counts, invalid] =
      detail::to_labels(format_of(name(), options_), preds, target);
  state("invalid") += invalid;
  if (options_.task != Task::kMulticlass) {
    const at::Tensor yes = at::logical_and(counts, wanted == 1);
    const at::Tensor no = at::logical_and(counts, wanted == 0);
    state("tp") += at::logical_and(yes, predicted == 1).sum(0);
    state("fp") += at::logical_and(no, predicted == 1).sum(0);
    state("tn") += at::logical_and(no, predicted == 0).sum(0);
    state("fn") += at::logical_and(yes, predicted == 0).sum(0);
    return;
  }
  const int64_t num_classes = *options_.num_classes;
  const at::Tensor tp =
      detail::histogram(wanted, at::logical_and(counts, predicted == wanted), num_classes);
  const at::Tensor fp = detail::histogram(predicted, counts, num_classes) - tp;
  const at::Tensor fn = detail::histogram(wanted, counts, num_classes) - tp;
  state("tp") += tp;
  state("fp") += fp;
  state("tn") += counts.sum() - tp - fp - fn;
  state("fn") += fn;
}

at::Tensor StatScores::divide(const at::Tensor& numerator, const at::Tensor& denominator) const {
  return at::where(denominator == 0.0, options_.zero_division, numerator / denominator);
}

at::Tensor StatScores::is_absent(const Counts& counts) const {
  const at::Tensor targets = counts.tp + counts.fn;
  return (options_.top_k == 1 ? targets + counts.fp : targets) == 0.0;
}

at::Tensor StatScores::do_compute() const {
  detail::check_invalid(format_of(name(), options_), counted("invalid"));
  const bool is_summed = options_.task == Task::kBinary || options_.average == Average::kMicro;
  const auto count = [&](const char* name) {
    const at::Tensor values = state(name).to(at::kDouble);
    return is_summed ? values.sum() : values;
  };
  const Counts counts{count("tp"), count("fp"), count("tn"), count("fn")};
  const at::Tensor scores = score(counts);
  if (is_summed || options_.average == Average::kNone) return scores;

  at::Tensor weights = at::ones_like(scores);
  if (options_.average == Average::kWeighted) {
    weights = counts.tp + counts.fn;
  } else if (options_.task == Task::kMulticlass) {
    weights = at::where(is_absent(counts), 0.0, weights);
  }
  const at::Tensor total = weights.sum();
  return at::where(total == 0.0, 0.0, (scores * weights).sum() / total);
}

Accuracy::Accuracy(const ClassificationOptions& options) : StatScores("Accuracy", options) {
  LIGHTNING_CHECK(options.zero_division == 0.0, ConfigError, "Accuracy: zero_division is ",
                  options.zero_division, ", expected 0. HINT: leave it out.");
}

at::Tensor Accuracy::score(const Counts& counts) const {
  if (options().task == Task::kMulticlass) return divide(counts.tp, counts.tp + counts.fn);
  const at::Tensor right = counts.tp + counts.tn;
  return divide(right, right + counts.fp + counts.fn);
}

at::Tensor Precision::score(const Counts& counts) const {
  return divide(counts.tp, counts.tp + counts.fp);
}

at::Tensor Recall::score(const Counts& counts) const {
  return divide(counts.tp, counts.tp + counts.fn);
}

at::Tensor F1Score::score(const Counts& counts) const {
  return divide(2.0 * counts.tp, 2.0 * counts.tp + counts.fp + counts.fn);
}

at::Tensor F1Score::is_absent(const Counts& counts) const {
  return counts.tp + counts.fp + counts.fn == 0.0;
}

}  // namespace lightning::metrics
