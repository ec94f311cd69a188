#include <lightning/metrics/confusion_matrix.h>

#include <vector>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

#include <lightning/metrics/detail/labels.h>

namespace lightning::metrics {
namespace {

detail::LabelFormat format_of(const ConfusionMatrixOptions& options) {
  return {.metric = "ConfusionMatrix",
          .task = options.task,
          .threshold = options.threshold,
          .num_classes = options.num_classes,
          .num_labels = options.num_labels,
          .ignore_index = options.ignore_index};
}

}  // namespace

ConfusionMatrix::ConfusionMatrix(const ConfusionMatrixOptions& options)
    : Metric("ConfusionMatrix"), options_(options) {
  detail::check_format(format_of(options));
  const int64_t count = options.num_classes.value_or(2);
  std::vector<int64_t> shape = {count, count};
  if (options.task == Task::kMultilabel) shape.insert(shape.begin(), *options.num_labels);
  add_state("confmat", StateReduceFx::kSum, shape, at::kLong);
  add_state("invalid", StateReduceFx::kSum, {}, at::kLong);
}

void ConfusionMatrix::update(const at::Tensor& preds, const at::Tensor& target) {
  const UpdateScope scope(*this, preds);
  const auto [predicted, wanted, counts, invalid] =
      detail::to_labels(format_of(options_), preds, target);
  const int64_t count = options_.num_classes.value_or(2);
  at::Tensor places = wanted * count + predicted;
  // Each label has its matrix.
  if (places.dim() == 2) {
    places = places + at::arange(places.size(1), places.options()) * count * count;
  }
  at::Tensor& confmat = state("confmat");
  confmat +=
      detail::histogram(places.flatten(), counts.flatten(), confmat.numel()).view(confmat.sizes());
  state("invalid") += invalid;
}

at::Tensor ConfusionMatrix::do_compute() const {
  detail::check_invalid(format_of(options_), counted("invalid"));
  const at::Tensor confmat = state("confmat");
  if (options_.normalize == Normalize::kNone) return confmat.clone();
  std::vector<int64_t> dims = {-2, -1};
  if (options_.normalize == Normalize::kTrue) dims = {-1};
  if (options_.normalize == Normalize::kPred) dims = {-2};
  const at::Tensor counts = confmat.to(at::kDouble);
  const at::Tensor totals = counts.sum(dims, /*keepdim=*/true);
  return at::where(totals == 0.0, 0.0, counts / totals);
}

}  // namespace lightning::metrics
