/// The batches of which tests/golden/metrics/make_goldens.py records the metrics' values: random
/// numbers come from the same generator, in the same order.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

#include <lightning/metrics/aggregation.h>
#include <lightning/metrics/perplexity.h>
#include <lightning/metrics/regression.h>
#include <lightning/metrics/squad.h>

#include "golden/metrics/metric_goldens.h"

namespace golden {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  int64_t draw() {
    state_ = state_ * 6364136223846793005U + 1442695040888963407U;
    return static_cast<int64_t>(state_ >> 40);
  }
  int64_t below(int64_t n) { return draw() % n; }
  double uniform() { return static_cast<double>(draw()) / (1 << 24); }
  double logit() { return uniform() * 8 - 4; }

 private:
  uint64_t state_;
};

enum class BatchKind { kPlain, kTies, kOneClass, kLogits, kIgnored, kEmpty, kFewClasses, kLabels };

/// One batch of a case.
class BatchMaker {
 public:
  BatchMaker(const MetricGolden& golden, int index)
      : golden_(golden),
        index_(index),
        kind_(static_cast<BatchKind>(index % 8)),
        random_(static_cast<uint64_t>(golden.seed) * 1000 + static_cast<uint64_t>(index)) {}

  std::pair<at::Tensor, at::Tensor> classification() {
    const int64_t classes = golden_.num_classes.value_or(0);
    const int64_t rows = batch_size();
    const int64_t extra = kind_ == BatchKind::kLogits ? 2 : 1;
    std::vector<int64_t> shape = {rows, extra};
    if (golden_.num_labels) shape = {rows, *golden_.num_labels, extra};
    const int64_t labels = classes > 0 ? classes : 2;
    const at::Tensor target = target_of(shape, labels);
    if (kind_ == BatchKind::kLabels && golden_.metric != std::string("AUROC") &&
        golden_.top_k == 1) {
      return {filled(shape, [&] { return double(random_.below(labels)); }).to(at::kLong), target};
    }
    const bool has_ties = kind_ == BatchKind::kTies && golden_.top_k == 1;
    const auto score = [&] {
      const double value = kind_ == BatchKind::kLogits ? random_.logit() : random_.uniform();
      return has_ties ? std::floor(value * 4) / 4 : value;
    };
    if (classes > 0) shape = {rows, classes, extra};
    return {filled(shape, score).to(at::kFloat), target};
  }

  at::Tensor values(int64_t rows) {
    return filled({rows, 2}, [&] {
      const double value = random_.logit();
      return kind_ == BatchKind::kIgnored && random_.below(3) == 0 ? kNaN : value;
    });
  }
  at::Tensor weights(int64_t rows) {
    return filled({rows, 2}, [&] { return random_.uniform(); });
  }

  std::pair<at::Tensor, at::Tensor> regression() {
    const std::vector<int64_t> shape = {batch_size(), golden_.num_outputs};
    const at::Tensor preds = filled(shape, [&] { return random_.logit(); });
    return {preds, filled(shape, [&] { return random_.logit(); })};
  }

  std::pair<at::Tensor, at::Tensor> tokens() {
    const int64_t rows = batch_size();
    const at::Tensor target = target_of({rows, 3}, 5);
    return {filled({rows, 3, 5}, [&] { return random_.logit(); }), target};
  }

  std::pair<std::string, std::vector<std::string>> question() {
    std::vector<std::string> answers(static_cast<size_t>(1 + random_.below(3)));
    for (std::string& answer : answers) answer = words();
    const std::string prediction = random_.below(3) == 0 ? answers[0] : words();
    return {prediction, answers};
  }

  int64_t batch_size() { return kind_ == BatchKind::kEmpty ? 0 : 1 + random_.below(12); }

 private:
  template <typename Draw>
  static at::Tensor filled(const std::vector<int64_t>& shape, const Draw& draw) {
    at::Tensor values = at::empty(shape, at::kDouble);
    double* data = values.mutable_data_ptr<double>();
    for (int64_t i = 0; i < values.numel(); ++i) data[i] = draw();
    return values;
  }

  at::Tensor target_of(const std::vector<int64_t>& shape, int64_t classes) {
    const bool few = kind_ == BatchKind::kFewClasses;
    return filled(shape,
                  [&] {
                    int64_t value =
                        random_.below(few ? std::max<int64_t>(1, classes / 2) : classes);
                    if (kind_ == BatchKind::kOneClass) value = index_ % classes;
                    const bool dropped = kind_ == BatchKind::kIgnored && random_.below(3) == 0;
                    return double(dropped ? golden_.ignore_index.value_or(value) : value);
                  })
        .to(at::kLong);
  }

  std::string words() {
    static const std::vector<std::string> kPieces = {
        "a ", "the ", "The", " nile", " Nile", "river ", "1950",   ".",
        ", ", "-",    " an", "É",     "é",     "Σ",      "\u00a0", " b"};
    std::string text;
    const int64_t count = random_.below(5);
    for (int64_t i = 0; i < count; ++i) {
      text += kPieces[static_cast<size_t>(random_.below(std::ssize(kPieces)))];
    }
    return text;
  }

  const MetricGolden& golden_;
  int64_t index_;
  BatchKind kind_;
  Random random_;
};

/// A metric and what gives it a batch of its case.
struct Subject {
  std::unique_ptr<lm::Metric> metric;
  std::function<void(int index)> feed;
};

template <typename M, typename Update>
Subject make_subject(std::unique_ptr<M> metric, const MetricGolden& golden, Update update) {
  M* raw = metric.get();
  return {std::move(metric), [raw, &golden, update](int index) {
            BatchMaker batch(golden, index);
            update(*raw, batch);
          }};
}

inline Subject make_subject(const MetricGolden& golden) {
  const std::string name = golden.metric;
  const lm::Task task = golden.num_classes  ? lm::Task::kMulticlass
                        : golden.num_labels ? lm::Task::kMultilabel
                                            : lm::Task::kBinary;
  const auto with_labels = [&](auto metric) {
    return make_subject(std::move(metric), golden, [](auto& m, BatchMaker& batch) {
      const auto [preds, target] = batch.classification();
      m.update(preds, target);
    });
  };
  const lm::ClassificationOptions options = {.task = task,
                                             .threshold = golden.threshold,
                                             .num_classes = golden.num_classes,
                                             .num_labels = golden.num_labels,
                                             .average = golden.average,
                                             .top_k = golden.top_k,
                                             .ignore_index = golden.ignore_index,
                                             .zero_division = golden.zero_division};
  if (name == "Accuracy") return with_labels(std::make_unique<lm::Accuracy>(options));
  if (name == "Precision") return with_labels(std::make_unique<lm::Precision>(options));
  if (name == "Recall") return with_labels(std::make_unique<lm::Recall>(options));
  if (name == "F1Score") return with_labels(std::make_unique<lm::F1Score>(options));
  if (name == "ConfusionMatrix") {
    return with_labels(std::make_unique<lm::ConfusionMatrix>(
        lm::ConfusionMatrixOptions{.task = task,
                                   .threshold = golden.threshold,
                                   .num_classes = golden.num_classes,
                                   .num_labels = golden.num_labels,
                                   .normalize = golden.normalize,
                                   .ignore_index = golden.ignore_index}));
  }
  if (name == "AUROC") {
    return with_labels(
        std::make_unique<lm::AUROC>(lm::AUROCOptions{.task = task,
                                                     .thresholds = golden.thresholds,
                                                     .num_classes = golden.num_classes,
                                                     .average = golden.average,
                                                     .ignore_index = golden.ignore_index}));
  }
  lm::AggregationOptions nans = {.nan_strategy = lm::NanHandling::kIgnore};
  if (golden.nan_replacement) nans.nan_strategy = *golden.nan_replacement;
  if (name == "MeanMetric") {
    return make_subject(std::make_unique<lm::MeanMetric>(nans), golden,
                        [](lm::MeanMetric& metric, BatchMaker& batch) {
                          const int64_t rows = batch.batch_size();
                          const at::Tensor values = batch.values(rows);
                          metric.update(values, batch.weights(rows));
                        });
  }
  const auto with_values = [&](auto metric) {
    return make_subject(std::move(metric), golden, [](auto& m, BatchMaker& batch) {
      m.update(batch.values(batch.batch_size()));
    });
  };
  if (name == "SumMetric") return with_values(std::make_unique<lm::SumMetric>(nans));
  if (name == "MinMetric") return with_values(std::make_unique<lm::MinMetric>(nans));
  if (name == "MaxMetric") return with_values(std::make_unique<lm::MaxMetric>(nans));
  const auto with_numbers = [&](auto metric) {
    return make_subject(std::move(metric), golden, [](auto& m, BatchMaker& batch) {
      const auto [preds, target] = batch.regression();
      m.update(preds, target);
    });
  };
  if (name == "MeanSquaredError") {
    return with_numbers(std::make_unique<lm::MeanSquaredError>(
        lm::MeanSquaredErrorOptions{.squared = golden.squared, .num_outputs = golden.num_outputs}));
  }
  if (name == "MeanAbsoluteError") {
    return with_numbers(std::make_unique<lm::MeanAbsoluteError>(
        lm::MeanAbsoluteErrorOptions{.num_outputs = golden.num_outputs}));
  }
  if (name == "Perplexity") {
    return make_subject(std::make_unique<lm::Perplexity>(
                            lm::PerplexityOptions{.ignore_index = golden.ignore_index}),
                        golden, [](lm::Perplexity& metric, BatchMaker& batch) {
                          const auto [preds, target] = batch.tokens();
                          metric.update(preds, target);
                        });
  }
  const auto with_questions = [&](auto metric) {
    return make_subject(std::move(metric), golden, [](lm::SQuAD& m, BatchMaker& batch) {
      const auto [prediction, answers] = batch.question();
      m.update(prediction, answers);
    });
  };
  if (name == "SQuADF1") return with_questions(std::make_unique<lm::SQuADF1>());
  return with_questions(std::make_unique<lm::SQuADExactMatch>());
}

}  // namespace golden
