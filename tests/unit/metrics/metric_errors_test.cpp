// What is refused, and with which error.
#include <limits>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <catch2/catch.hpp>

#include <lightning/metrics/aggregation.h>
#include <lightning/metrics/auroc.h>
#include <lightning/metrics/classification.h>
#include <lightning/metrics/confusion_matrix.h>
#include <lightning/metrics/perplexity.h>
#include <lightning/metrics/regression.h>
#include <lightning/util/error.h>

namespace {

namespace lm = lightning::metrics;
using Catch::Matchers::Contains;
using lightning::CheckpointError;
using lightning::ConfigError;
using lightning::DataError;
using lightning::StateDict;

at::Tensor classes(std::initializer_list<int64_t> values) {
  return at::tensor(at::ArrayRef<int64_t>(values), at::kLong);
}

template <typename Error, typename Call>
void check_refused(const Call& call, const std::string& expected) {
  CHECK_THROWS_AS(call(), Error);
  CHECK_THROWS_WITH(call(), Contains(expected) && Contains("HINT"));
}

const lm::ClassificationOptions kThree = {.task = lm::Task::kMulticlass, .num_classes = 3};

}  // namespace

TEST_CASE("Options of metrics that don't fit together are refused", "[metrics]") {
  const auto refused = [](const auto& options, const std::string& expected) {
    check_refused<ConfigError>([&] { lm::Precision metric(options); }, expected);
  };
  using Options = lm::ClassificationOptions;
  refused(Options{.task = lm::Task::kMulticlass}, "num_classes is not set");
  refused(Options{.task = lm::Task::kMulticlass, .num_classes = 1}, "num_classes is 1");
  refused(Options{.num_classes = 3}, "num_classes is 3, but the task has none");
  refused(Options{.task = lm::Task::kMultilabel}, "num_labels is not set");
  refused(Options{.threshold = 1.5}, "threshold is 1.5");
  refused(Options{.top_k = 2}, "top_k is 2, expected 1 to 1");
  refused(Options{.task = lm::Task::kMulticlass, .num_classes = 3, .top_k = 4}, "top_k is 4");
  refused(Options{.zero_division = 0.5}, "zero_division is 0.5");
  check_refused<ConfigError>([] { lm::Accuracy metric({.zero_division = 1.0}); },
                             "Accuracy: zero_division is 1");
  check_refused<ConfigError>([] { lm::ConfusionMatrix metric({.task = lm::Task::kMultilabel}); },
                             "ConfusionMatrix: num_labels");
  check_refused<ConfigError>([] { lm::AUROC metric({.thresholds = 1}); }, "thresholds is 1");
  check_refused<ConfigError>(
      [] {
        lm::AUROC metric({.thresholds = std::vector<double>{0.5, 0.2}});
      },
      "thresholds are [0.5, 0.2]");
  check_refused<ConfigError>([] { lm::AUROC metric({.average = lm::Average::kMicro}); }, "kMicro");
  check_refused<ConfigError>([] { lm::AUROC metric({.task = lm::Task::kMultilabel}); },
                             "kMultilabel");
  check_refused<ConfigError>([] { lm::MeanSquaredError metric({.num_outputs = 0}); },
                             "num_outputs is 0");
}

TEST_CASE("Inputs of other types and shapes are refused and change nothing", "[metrics]") {
  lm::Accuracy binary({});
  lm::Accuracy multiclass(kThree);
  lm::F1Score multilabel({.task = lm::Task::kMultilabel, .num_labels = 3});
  lm::AUROC auroc({.task = lm::Task::kMulticlass, .num_classes = 3});
  lm::MeanSquaredError error({.num_outputs = 2});
  lm::Perplexity perplexity;
  lm::MeanMetric mean;
  const at::Tensor scores = at::rand({4, 3});
  const auto refused = [](auto& metric, const at::Tensor& a, const at::Tensor& b,
                          const std::string& expected) {
    check_refused<DataError>([&] { metric.update(a, b); }, expected);
  };
  refused(binary, at::rand({4}), classes({0, 1}), "preds are [4] and target is [2]");
  refused(binary, at::rand({2}), at::rand({2}), "target is Float");
  refused(binary, at::Tensor(), classes({0, 1}), "undefined");
  refused(binary, at::rand({2}), at::Tensor(), "target is an undefined tensor");
  refused(multiclass, scores, classes({0, 1, 2}), "preds are [4, 3] and target is [3]");
  refused(multiclass, at::rand({4, 2}), classes({0, 1, 2, 1}), "expected [N, 3, ...]");
  refused(multiclass, at::rand({4}), classes({0, 1, 2, 1}), "expected integers");
  refused(multiclass, at::zeros({4, 3}, at::kLong), classes({0, 1, 2, 1}), "floating-point");
  refused(multilabel, at::rand({4, 2}), at::zeros({4, 2}, at::kLong), "expected [N, 3, ...]");
  refused(auroc, classes({0, 1}), classes({0, 1}), "floating-point scores");
  refused(auroc, scores, at::zeros({4, 2}, at::kLong), "AUROC: preds are [4, 3]");
  refused(error, at::rand({4}), at::rand({4}), "expected [N, 2]");
  refused(error, at::rand({4, 2}), at::rand({4}), "target is [4]");
  refused(perplexity, at::rand({2, 3}), at::zeros({2}, at::kLong), "expected [B, T, V]");
  refused(perplexity, at::rand({2, 3, 4}), at::zeros({2, 3}, at::kInt), "Int");
  refused(mean, at::rand({3}), at::rand({2}), "weights are of shape [2]");
  CHECK(binary.compute().item<double>() == 0.0);
  CHECK(multiclass.compute().item<double>() == 0.0);
}

TEST_CASE("Labels that don't exist are reported by compute(), until reset()", "[metrics]") {
  const auto check = [](auto& metric, const at::Tensor& preds, const at::Tensor& target,
                        const at::Tensor& good, const std::string& expected) {
    metric.update(preds, target);
    check_refused<DataError>([&] { metric.compute(); }, expected);
    metric.reset();
    metric.update(preds, good);
    CHECK_NOTHROW(metric.compute());
  };
  lm::Accuracy accuracy(kThree);
  check(accuracy, at::rand({4, 3}), classes({0, 3, -1, 1}), classes({0, 2, 2, 1}),
        "Accuracy: 2 targets or predictions are no labels, expected 0 to 2");
  lm::Recall ignoring({.task = lm::Task::kMulticlass, .num_classes = 3, .ignore_index = -100});
  check(ignoring, at::rand({3, 3}), classes({0, 255, -100}), classes({0, -100, -100}),
        "expected 0 to 2 or -100");
  lm::ConfusionMatrix matrix({});
  check(matrix, at::rand({2}), classes({std::numeric_limits<int64_t>::max(), 1}), classes({0, 1}),
        "ConfusionMatrix: 1 targets");
  lm::AUROC exact({});
  check(exact, at::rand({2}), classes({2, 1}), classes({0, 1}), "AUROC: 1 targets");
  lm::AUROC binned({.task = lm::Task::kMulticlass, .thresholds = 5, .num_classes = 3});
  check(binned, at::rand({2, 3}), classes({7, 1}), classes({0, 1}), "AUROC: 1 targets");
  lm::Perplexity perplexity({.ignore_index = -100});
  check(perplexity, at::rand({1, 3, 4}), classes({4, -1, 0}).view({1, 3}),
        classes({3, -100, 0}).view({1, 3}), "Perplexity: 2 targets lie outside");
}

TEST_CASE("A hostile state is refused by name and changes nothing", "[metrics]") {
  lm::AUROC metric({.task = lm::Task::kMulticlass, .num_classes = 3});
  metric.update(at::rand({4, 3}), classes({0, 1, 2, 1}));
  const double before = metric.compute().item<double>();
  const StateDict good = metric.state_dict();
  StateDict bad = good;
  std::string expected;
  SECTION("of a different metric") {
    bad.set("type", "Accuracy");
    expected = "the state of \"Accuracy\"";
  }
  SECTION("a number for a tensor") {
    bad.set("preds", int64_t{1} << 60);
    expected = "\"preds\" holds a int64";
  }
  SECTION("no entry") {
    bad = {};
    bad.set("type", "AUROC");
    bad.set("preds", at::zeros({0, 3}));
    expected = "\"target\"";
  }
  SECTION("one more entry") {
    bad.set("more", at::zeros({1}));
    expected = "5 entries, expected 4";
  }
  SECTION("another type") {
    bad.set("target", at::zeros({4}, at::kInt));
    expected = "state \"target\" is Int, expected Long";
  }
  SECTION("an undefined tensor") {
    bad.set("target", at::Tensor());
    expected = "state \"target\" is undefined";
  }
  SECTION("another shape") {
    bad.set("preds", at::zeros({4, 2}));
    expected = "state \"preds\" is a tensor of shape [4, 2]";
  }
  SECTION("no rows") {
    bad.set("target", at::zeros({}, at::kLong));
    expected = "state \"target\" is a tensor of shape []";
  }
  SECTION("states of different length") {
    bad.set("preds", at::zeros({5, 3}));
    expected = "state \"target\" has 4 rows, expected 5";
  }
  SECTION("a count that is a vector") {
    bad.set("invalid", at::zeros({2}, at::kLong));
    expected = "state \"invalid\"";
  }
  CHECK_THROWS_AS(metric.load_state_dict(bad), CheckpointError);
  CHECK_THROWS_WITH(metric.load_state_dict(bad), Contains(expected));
  CHECK(metric.compute().item<double>() == before);
}

TEST_CASE("A hostile state's numbers index nothing", "[metrics]") {
  lm::AUROC metric({.task = lm::Task::kMulticlass, .num_classes = 3});
  StateDict state = metric.state_dict();
  state.set("preds", at::full({2, 3}, std::numeric_limits<float>::quiet_NaN()));
  state.set("target", classes({std::numeric_limits<int64_t>::max(), -7}));
  metric.load_state_dict(state);
  CHECK_NOTHROW(metric.compute());
}

TEST_CASE("States of a metric with other options are refused", "[metrics]") {
  lm::Accuracy three(kThree);
  const lm::Accuracy two({});
  check_refused<ConfigError>([&] { three.merge(two.states()); },
                             "Accuracy: state \"tp\" is a tensor of shape [1], expected [3]");
  check_refused<ConfigError>([&] { three.set_states(lm::SumMetric().states()); },
                             "there are 2 states, expected 5");
  auto renamed = three.states();
  renamed[0].reduce_fx = lm::StateReduceFx::kMax;
  check_refused<ConfigError>([&] { three.merge(renamed); },
                             "state 0 is \"tp\" (max), expected \"tp\" (sum)");
}
