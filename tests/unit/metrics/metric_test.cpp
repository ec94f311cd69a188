#include <lightning/metrics/metric.h>

#include <cmath>
#include <limits>
#include <memory>
#include <optional>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/core/InferenceMode.h>
#include <catch2/catch.hpp>

#include <lightning/metrics/aggregation.h>
#include <lightning/metrics/auroc.h>
#include <lightning/metrics/classification.h>
#include <lightning/metrics/confusion_matrix.h>
#include <lightning/metrics/perplexity.h>
#include <lightning/metrics/regression.h>
#include <lightning/metrics/squad.h>
#include <lightning/util/error.h>

#include "support/captured_stderr.h"

namespace {

namespace lm = lightning::metrics;
using Catch::Matchers::Contains;
using lightning_tests::CapturedStderr;
using lm::StateReduceFx;

constexpr double kInf = std::numeric_limits<double>::infinity();

/// One state of each kind.
class Extremes final : public lm::Metric {
 public:
  Extremes() : Metric("Extremes") {
    add_state("sum", StateReduceFx::kSum, {2}, at::kLong);
    add_state("least", StateReduceFx::kMin, {}, at::kLong);
    add_state("greatest", StateReduceFx::kMax, {}, at::kFloat);
    add_state("all", StateReduceFx::kCat, {2}, at::kLong);
  }
  /// int64 [n, 2], n > 0
  void update(const at::Tensor& rows) {
    const UpdateScope scope(*this, rows);
    state("sum") += rows.sum(0);
    state("least").copy_(at::minimum(state("least"), rows.min()));
    state("greatest").copy_(at::maximum(state("greatest"), rows.max()));
    append("all", rows.clone());
  }

 private:
  at::Tensor do_compute() const override { return state("all").sum(); }
};

at::Tensor rows(std::initializer_list<int64_t> values) {
  return at::tensor(at::ArrayRef<int64_t>(values), at::kLong).view({-1, 2});
}

double value_of(const lm::Metric& metric) {
  const at::Tensor value = metric.compute();
  CHECK(value.dim() == 0);
  return value.item<double>();
}

}  // namespace

TEST_CASE("States say how they merge, and merge so", "[metrics]") {
  Extremes a, b, empty;
  a.update(rows({1, 2, 3, 4}));
  b.update(rows({-5, 9}));
  a.merge(empty.states());
  a.merge(b.states());
  const auto states = a.states();
  REQUIRE(states.size() == 4);
  CHECK(states[0].name == "sum");
  CHECK(states[0].reduce_fx == StateReduceFx::kSum);
  CHECK(at::equal(states[0].value, at::tensor({-1, 15}, at::kLong)));
  CHECK(states[1].reduce_fx == StateReduceFx::kMin);
  CHECK(states[1].value.item<int64_t>() == -5);
  CHECK(states[2].reduce_fx == StateReduceFx::kMax);
  CHECK(states[2].value.item<float>() == 9.0F);
  CHECK(states[3].reduce_fx == StateReduceFx::kCat);
  CHECK(at::equal(states[3].value, rows({1, 2, 3, 4, -5, 9})));
  CHECK(value_of(a) == 14.0);
  empty.set_states(states);
  CHECK(value_of(empty) == 14.0);
  // With itself too.
  a.merge(a.states());
  CHECK(value_of(a) == 28.0);
}

TEST_CASE("An empty metric's states change nothing where they are merged", "[metrics]") {
  const auto states = Extremes().states();
  CHECK(at::equal(states[0].value, at::zeros({2}, at::kLong)));
  CHECK(states[1].value.item<int64_t>() == std::numeric_limits<int64_t>::max());
  CHECK(states[2].value.item<double>() == -kInf);
  CHECK(states[3].value.sizes() == at::IntArrayRef({0, 2}));
}

TEST_CASE("States are copies", "[metrics]") {
  Extremes metric;
  metric.update(rows({1, 2}));
  auto states = metric.states();
  metric.update(rows({3, 4}));
  CHECK(at::equal(states[0].value, at::tensor({1, 2}, at::kLong)));
  for (lm::MetricState& state : states) state.value.zero_();
  CHECK(value_of(metric) == 10.0);

  auto given = metric.states();
  Extremes other;
  other.set_states(given);
  for (lm::MetricState& state : given) state.value.zero_();
  CHECK(value_of(other) == 10.0);
  CHECK(at::equal(other.states()[0].value, at::tensor({4, 6}, at::kLong)));
}

TEST_CASE("An empty metric has torchmetrics' value", "[metrics]") {
  CHECK(std::isnan(value_of(lm::MeanMetric())));
  CHECK(value_of(lm::SumMetric()) == 0.0);
  CHECK(value_of(lm::MinMetric()) == kInf);
  CHECK(value_of(lm::MaxMetric()) == -kInf);
  CHECK(value_of(lm::Accuracy({})) == 0.0);
  CHECK(value_of(lm::Precision({})) == 0.0);
  CHECK(value_of(lm::Recall({})) == 0.0);
  CHECK(value_of(lm::F1Score({.zero_division = 1.0})) == 1.0);
  CHECK(value_of(lm::AUROC({})) == 0.0);
  CHECK(value_of(lm::AUROC({.task = lm::Task::kMulticlass, .num_classes = 3})) == 0.0);
  CHECK(value_of(lm::AUROC({.thresholds = 4})) == 0.0);
  CHECK(std::isnan(value_of(lm::MeanSquaredError())));
  CHECK(std::isnan(value_of(lm::MeanAbsoluteError())));
  CHECK(std::isnan(value_of(lm::Perplexity())));
  CHECK(std::isnan(value_of(lm::SQuADF1())));
  const lm::ConfusionMatrix matrix({.normalize = lm::Normalize::kAll});
  CHECK(at::equal(matrix.compute(), at::zeros({2, 2}, at::kDouble)));
}

TEST_CASE("Results have the shape and type that is documented", "[metrics]") {
  const at::Tensor target = at::tensor({0, 2, 1, 2}, at::kLong);
  lm::ConfusionMatrix matrix({.task = lm::Task::kMulticlass, .num_classes = 3});
  matrix.update(at::tensor({0, 2, 2, 2}, at::kLong), target);
  CHECK(
      at::equal(matrix.compute(), at::tensor({1, 0, 0, 0, 0, 1, 0, 0, 2}, at::kLong).view({3, 3})));
  lm::Recall recall(
      {.task = lm::Task::kMulticlass, .num_classes = 3, .average = lm::Average::kNone});
  recall.update(at::tensor({0, 2, 2, 2}, at::kLong), target);
  CHECK(at::equal(recall.compute(), at::tensor({1.0, 0.0, 1.0}, at::kDouble)));
  lm::MeanSquaredError columns({.num_outputs = 2});
  columns.update(at::ones({3, 2}), at::zeros({3, 2}));
  CHECK(at::equal(columns.compute(), at::ones({2}, at::kDouble)));
}

TEST_CASE("A metric can be updated in inference mode and used outside, and keeps no graph",
          "[metrics]") {
  lm::AUROC exact({});
  lm::SumMetric sum;
  std::optional<lm::SumMetric> born_inside;
  {
    const c10::InferenceMode inference;
    born_inside.emplace();
    exact.update(at::tensor({0.9F, 0.1F}), at::tensor({1, 0}, at::kLong));
    sum.update(at::ones({3}));
    sum.reset();
    sum.update(at::ones({3}));
  }
  const at::Tensor scores = at::tensor({0.3F, 0.7F}).requires_grad_();
  exact.update(scores, at::tensor({1, 0}, at::kLong));
  sum.update(scores * 2.0);
  born_inside->update(1.0);
  CHECK(value_of(*born_inside) == 1.0);
  CHECK(value_of(exact) == 0.75);
  CHECK(value_of(sum) == Approx(5.0));
  CHECK_FALSE(sum.compute().requires_grad());
  for (const lm::MetricState& state : exact.states()) CHECK_FALSE(state.value.is_inference());
}

TEST_CASE("Numbers are summed in float64 whatever their type is", "[metrics]") {
  lm::MeanMetric mean;
  lm::MeanSquaredError error;
  for (int i = 0; i < 300; ++i) {
    mean.update(at::full({2}, 1.0, at::kBFloat16));
    error.update(at::full({2}, 3, at::kInt), at::full({2}, 1.0, at::kHalf));
  }
  mean.update(301.0, 600.0);
  CHECK(value_of(mean) == 151.0);
  CHECK(value_of(error) == 4.0);
}

TEST_CASE("Weights broadcast, and numbers are taken as they are", "[metrics]") {
  lm::MeanMetric mean;
  mean.update(at::tensor({1.0, 2.0, 3.0, 4.0}).view({2, 2}), at::tensor({1.0, 3.0}));
  CHECK(value_of(mean) == (1.0 + 6.0 + 3.0 + 12.0) / 8.0);
  lm::MaxMetric greatest;
  greatest.update(-2.0);
  greatest.update(at::tensor({-3, -4}, at::kInt));
  CHECK(value_of(greatest) == -2.0);
}

TEST_CASE("NaN are left out, reported or taken, as nan_strategy says", "[metrics]") {
  const at::Tensor values = at::tensor({1.0, std::nan(""), 3.0});
  const auto mean_with = [&](const lm::AggregationOptions& options) {
    auto mean = std::make_unique<lm::MeanMetric>(options);
    mean->update(values, at::tensor({1.0, 1.0, 3.0}));
    return mean;
  };
  CapturedStderr captured;
  CHECK(value_of(*mean_with({.nan_strategy = lm::NanHandling::kIgnore})) == 2.5);
  CHECK(captured.text().empty());
  CHECK(value_of(*mean_with({})) == 2.5);
  CHECK_THAT(captured.text(), Contains("MeanMetric: 1 values or weights that are NaN"));
  CHECK(value_of(*mean_with({.nan_strategy = 5.0})) == 3.0);
  CHECK(std::isnan(value_of(*mean_with({.nan_strategy = lm::NanHandling::kDisable}))));
  const auto strict = mean_with({.nan_strategy = lm::NanHandling::kError});
  CHECK_THROWS_AS(strict->compute(), lightning::DataError);
  strict->reset();
  CHECK_NOTHROW(strict->compute());
}

TEST_CASE("AUROC compares all scores, or as many as there are thresholds", "[metrics]") {
  // Pairs: 0.4 > 0.1, 0.4 > 0.35, 0.35 = 0.35, 0.35 > 0.1.
  const at::Tensor scores = at::tensor({0.1F, 0.35F, 0.4F, 0.35F});
  const at::Tensor target = at::tensor({0, 0, 1, 1}, at::kLong);
  lm::AUROC exact({});
  exact.update(scores, target);
  CHECK(value_of(exact) == 0.875);
  lm::AUROC binned({.thresholds = std::vector<double>{0.0, 0.2, 0.38, 1.0}});
  for (int i = 0; i < 3; ++i) {
    binned.update(scores, target);
    CHECK(value_of(binned) == 0.875);
    CHECK(binned.states()[0].value.sizes() == at::IntArrayRef({1, 5}));
  }
}

TEST_CASE("A batch that is kept apart has its own value, and the whole counts it", "[metrics]") {
  Extremes metric;
  metric.update(rows({1, 2}));
  CHECK(value_of(metric) == 3.0);
  CHECK(metric.compute_batch().item<double>() == 3.0);
  metric.update(rows({5, -6}));
  metric.update(rows({7, 8}));
  CHECK(value_of(metric) == 17.0);
  CHECK(metric.compute_batch().item<double>() == 14.0);
  // Nothing was given since.
  CHECK(metric.compute_batch().item<double>() == 0.0);
  CHECK(value_of(metric) == 17.0);
  const auto states = metric.states();
  CHECK(at::equal(states[0].value, at::tensor({13, 4}, at::kLong)));
  CHECK(states[1].value.item<int64_t>() == -6);
  CHECK(states[2].value.item<float>() == 8.0F);
  CHECK(at::equal(states[3].value, rows({1, 2, 5, -6, 7, 8})));

  metric.reset();
  CHECK(value_of(metric) == 0.0);
  metric.update(rows({2, 2}));
  CHECK(metric.compute_batch().item<double>() == 4.0);
}

TEST_CASE("A batch that is dropped leaves the state as it was", "[metrics]") {
  Extremes metric;
  metric.drop_batch();  // none was begun
  metric.update(rows({1, 2}));
  const auto before = metric.states();
  metric.begin_batch();
  metric.update(rows({5, -6}));
  metric.drop_batch();
  const auto after = metric.states();
  for (size_t i = 0; i < before.size(); ++i) {
    CHECK(at::equal(before[i].value, after[i].value));
  }
  metric.update(rows({3, 4}));
  CHECK(metric.compute_batch().item<double>() == 7.0);
  CHECK(value_of(metric) == 10.0);
}

TEST_CASE("A state saved inside a batch continues bitwise", "[metrics]") {
  // 0.1 + (0.2 + 0.3) isn't (0.1 + 0.2) + 0.3.
  lm::SumMetric whole, resumed;
  whole.update(0.1);
  whole.compute_batch();
  whole.update(0.2);
  resumed.load_state_dict(whole.state_dict());
  CHECK(value_of(resumed) == value_of(whole));
  for (lm::SumMetric* metric : {&whole, &resumed}) metric->update(0.3);
  CHECK(value_of(resumed) == value_of(whole));
  CHECK(resumed.compute_batch().item<double>() == whole.compute_batch().item<double>());

  Extremes rows_of, copy;
  rows_of.update(rows({1, 2}));
  rows_of.begin_batch();
  rows_of.update(rows({3, 4, 5, 6}));
  copy.load_state_dict(rows_of.state_dict());
  CHECK(copy.compute_batch().item<double>() == 18.0);
  CHECK(value_of(copy) == 21.0);
}

TEST_CASE("A damaged state of a batch is refused and changes nothing", "[metrics]") {
  Extremes saved, metric;
  saved.update(rows({1, 2}));
  saved.begin_batch();
  saved.update(rows({3, 4}));
  metric.update(rows({5, 6}));
  const auto refused = [&](const char* entry, const at::Tensor& value) {
    lightning::StateDict state = saved.state_dict();
    state.set(entry, value);
    CHECK_THROWS_AS(metric.load_state_dict(state), lightning::CheckpointError);
    CHECK(value_of(metric) == 11.0);
  };
  refused("batch/sum", at::zeros({3}, at::kLong));
  refused("batch/sum", at::zeros({2}, at::kFloat));
  refused("batch/all", at::zeros({1, 3}, at::kLong));
  refused("batch/other", at::zeros({1}));
}
