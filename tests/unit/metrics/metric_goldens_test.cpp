// Equality with torchmetrics, and what all metrics have in common, over the batches of the goldens:
// ties, absent classes, one class, ignored targets, logits, labels, nothing.
#include <algorithm>
#include <cmath>

#include <catch2/catch.hpp>

#include <lightning/util/error.h>

#include "unit/metrics/golden_batches.h"

namespace {

namespace lm = lightning::metrics;
using golden::kMetricGoldens;
using golden::make_subject;
using golden::MetricGolden;
using golden::Subject;
using lightning::StateDict;

/// One number for a vector or a matrix.
double fingerprint(const at::Tensor& value) {
  const at::Tensor flat = value.to(at::kDouble).flatten();
  if (value.dim() == 0) return flat.item<double>();
  return (flat * at::arange(1, flat.numel() + 1)).sum().item<double>();
}

int num_batches(const MetricGolden& golden) { return static_cast<int>(golden.values.size()); }

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return a.scalar_type() == b.scalar_type() && a.sizes() == b.sizes() &&
         a.allclose(b, /*rtol=*/0.0, /*atol=*/0.0, /*equal_nan=*/true);
}

/// torchmetrics computes some in float32.
double tolerance(const std::string& metric) {
  static const std::vector<std::string> kInFloat = {"Accuracy",        "Precision",       "Recall",
                                                    "F1Score",         "ConfusionMatrix", "AUROC",
                                                    "SQuADExactMatch", "SQuADF1"};
  return std::find(kInFloat.begin(), kInFloat.end(), metric) != kInFloat.end() ? 1e-6 : 1e-11;
}

}  // namespace

TEST_CASE("Metrics have torchmetrics' values", "[metrics]") {
  for (const MetricGolden& golden : kMetricGoldens) {
    CAPTURE(golden.metric, golden.seed);
    const Subject subject = make_subject(golden);
    for (int i = 0; i < num_batches(golden); ++i) {
      subject.feed(i);
      const double value = fingerprint(subject.metric->compute());
      const double expected = golden.values[static_cast<size_t>(i)];
      CAPTURE(i, value, expected);
      CHECK(std::abs(value - expected) <=
            tolerance(golden.metric) * std::max(1.0, std::abs(expected)));
    }
  }
}

TEST_CASE("The merged states of parts are that of one pass", "[metrics]") {
  for (const MetricGolden& golden : kMetricGoldens) {
    CAPTURE(golden.metric, golden.seed);
    const Subject whole = make_subject(golden);
    std::vector<Subject> parts;
    for (int i = 0; i < 3; ++i) parts.push_back(make_subject(golden));
    // One part has nothing.
    for (int i = 0; i < num_batches(golden); ++i) {
      whole.feed(i);
      parts[i % 3 == 0 ? 0 : 2].feed(i);
    }
    lm::Metric& merged = *parts[0].metric;
    merged.merge(parts[1].metric->states());
    merged.merge(parts[2].metric->states());
    const at::Tensor value = merged.compute();
    const at::Tensor expected = whole.metric->compute();
    const auto states = whole.metric->states();
    const bool has_sums = std::any_of(states.begin(), states.end(), [](const auto& state) {
      return state.reduce_fx == lm::StateReduceFx::kSum && state.value.is_floating_point();
    });
    CHECK((has_sums ? value.allclose(expected, 1e-12, 0.0) : same_bits(value, expected)));
  }
}

TEST_CASE("A metric that is saved and loaded in the middle goes on bitwise", "[metrics]") {
  for (const MetricGolden& golden : kMetricGoldens) {
    CAPTURE(golden.metric, golden.seed);
    const Subject straight = make_subject(golden);
    const Subject resumed = make_subject(golden);
    // What it had before is gone.
    resumed.feed(1);
    const int middle = num_batches(golden) / 2;
    for (int i = 0; i < middle; ++i) straight.feed(i);
    const StateDict state = straight.metric->state_dict();
    resumed.metric->load_state_dict(state);
    for (int i = middle; i < num_batches(golden); ++i) {
      straight.feed(i);
      resumed.feed(i);
    }
    CHECK(same_bits(straight.metric->compute(), resumed.metric->compute()));
    // What was saved is a copy.
    resumed.metric->load_state_dict(state);
    const Subject half = make_subject(golden);
    for (int i = 0; i < middle; ++i) half.feed(i);
    CHECK(same_bits(half.metric->compute(), resumed.metric->compute()));
  }
}

TEST_CASE("A reset metric is an empty one", "[metrics]") {
  for (const MetricGolden& golden : kMetricGoldens) {
    CAPTURE(golden.metric, golden.seed);
    const Subject fresh = make_subject(golden);
    const Subject used = make_subject(golden);
    used.feed(0);
    used.metric->reset();
    CHECK(same_bits(used.metric->compute(), fresh.metric->compute()));
    used.feed(2);
    fresh.feed(2);
    CHECK(same_bits(used.metric->compute(), fresh.metric->compute()));
  }
}
