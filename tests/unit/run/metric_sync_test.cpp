// Ranks are threads.
#include <lightning/run/detail/metric_sync.h>

#include <cmath>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include <ATen/Functions.h>
#include <catch2/catch.hpp>

#include <lightning/core/detail/metric_registry.h>
#include <lightning/metrics/aggregation.h>
#include <lightning/metrics/auroc.h>
#include <lightning/run/detail/metric_state_sync.h>
#include <lightning/util/error.h>

#include "support/thread_ranks.h"

namespace {

using Catch::Contains;
using lightning::kEpochInterval;
using lightning::kStepInterval;
using lightning::LoggedRow;
using lightning::MetricLog;
using lightning::MetricSync;
using lightning::ProcessGroup;

/// What each rank logs in one interval.
using Logs = std::function<void(MetricLog& log, int64_t rank)>;

MetricLog::Scope training_step(double batch_size = 4.0) {
  MetricLog::Scope scope;
  scope.hook = "training_step";
  scope.allowed = scope.on_step = true;
  scope.batch_size = batch_size;
  return scope;
}

void log_on_step(MetricLog& log, const char* name, double value) {
  log.record(name, value, {.sync_dist = true});
}

void log_on_epoch(MetricLog& log, const char* name, double value) {
  log.record(name, value, {.on_step = false, .on_epoch = true});
}

std::string text_of(const LoggedRow& row) {
  std::string text;
  for (const auto& value : row) {
    text += lightning::detail::concat(text.empty() ? "" : " ", value.name, "=", value.host);
  }
  return text;
}

/// The rows of all ranks after the reduction of one interval, or their errors.
std::vector<std::string> reduce(int64_t ranks, MetricLog::Level level, std::string_view interval,
                                const Logs& logs) {
  std::vector<std::string> outcomes(static_cast<size_t>(ranks));
  lightning_tests::run_ranks(ranks, [&](const auto& control) {
    const auto group = ProcessGroup::create(control, at::kCPU);
    MetricSync sync(*group, *control, at::kCPU);
    MetricLog log;
    log.enter(training_step());
    logs(log, control->rank());
    std::string& outcome = outcomes[static_cast<size_t>(control->rank())];
    try {
      sync.reduce(log, level, interval);
      const bool step = level == MetricLog::Level::kStep;
      outcome = text_of(step ? log.take_step_row() : log.epoch_row());
    } catch (const lightning::ConfigError& error) {
      outcome = error.what();
    }
    control->barrier("end");
  });
  return outcomes;
}

/// A rank's registered metrics, and what it logs of them.
struct RankMetrics {
  explicit RankMetrics(int64_t number) : rank(number) {
    registry.add("sum", sum);
    registry.add("largest", largest);
    registry.add("auroc", auroc);
    log.enter(training_step());
  }
  void log_on_epoch(const std::string& name, lightning::metrics::Metric& metric,
                    lightning::LogOptions options = {}) {
    options.on_step = false;
    options.on_epoch = true;
    log.record(name, metric, registry.note_logged(metric, log, name), options);
  }

  const int64_t rank;
  std::shared_ptr<lightning::metrics::SumMetric> sum =
      std::make_shared<lightning::metrics::SumMetric>();
  std::shared_ptr<lightning::metrics::MaxMetric> largest =
      std::make_shared<lightning::metrics::MaxMetric>();
  std::shared_ptr<lightning::metrics::AUROC> auroc =
      std::make_shared<lightning::metrics::AUROC>(lightning::metrics::AUROCOptions{});
  lightning::MetricRegistry registry;
  MetricLog log;
};

/// The epoch's rows of three ranks after compute_metric_values(), or their errors.
std::vector<std::string> compute(std::string_view interval,
                                 const std::function<void(RankMetrics&)>& logs) {
  std::vector<std::string> outcomes(3);
  lightning_tests::run_ranks(3, [&](const auto& control) {
    RankMetrics rank(control->rank());
    logs(rank);
    std::string& outcome = outcomes[static_cast<size_t>(control->rank())];
    try {
      lightning::compute_metric_values(rank.log, rank.registry, control.get(), interval);
      outcome = text_of(rank.log.epoch_row());
      if (rank.sum->compute().template item<double>() != 0.0) outcome += " not reset";
    } catch (const lightning::ConfigError& error) {
      outcome = error.what();
    }
    control->barrier("end");
  });
  return outcomes;
}

void check_all(const std::vector<std::string>& outcomes, const std::string& expected) {
  for (const std::string& outcome : outcomes) CHECK_THAT(outcome, Contains(expected));
}

}  // namespace

TEST_CASE("Values of a step become means over ranks, by the sizes of their batches", "[trainer]") {
  check_all(reduce(3, MetricLog::Level::kStep, kStepInterval,
                   [](MetricLog& log, int64_t rank) {
                     // 0.0 of 4 samples, 1.0 of 2, and rank 2 has none.
                     log.enter(training_step(rank == 0 ? 4.0 : rank == 1 ? 2.0 : 0.0));
                     log_on_step(log, "loss", rank == 2 ? 1e9 : static_cast<double>(rank));
                   }),
            "loss=0.333333");
}

TEST_CASE("Least and greatest values are NaN where one of them is", "[trainer]") {
  const auto fx = GENERATE(lightning::ReduceFx::kMin, lightning::ReduceFx::kMax);
  for (int64_t with_nan = 0; with_nan < 3; ++with_nan) {
    for (const int64_t nan_at : {0, 1, 2}) {
      const auto logs = [&](MetricLog& log, int64_t rank) {
        for (int64_t i = 0; i < 3; ++i) {
          const bool is_nan = rank == with_nan && i == nan_at;
          log.record("x", is_nan ? std::nan("") : static_cast<double>(i - 1),
                     {.on_step = false, .on_epoch = true, .reduce_fx = fx});
        }
      };
      check_all(reduce(3, MetricLog::Level::kEpoch, kEpochInterval, logs), "x=nan");
    }
  }
}

TEST_CASE("Ranks that log other names than others are an error on all, never a wait", "[trainer]") {
  const auto level = GENERATE(MetricLog::Level::kStep, MetricLog::Level::kEpoch);
  const bool step = level == MetricLog::Level::kStep;
  const auto log_it = step ? log_on_step : log_on_epoch;
  const std::string_view interval = step ? kStepInterval : kEpochInterval;
  const auto outcomes = [&](const Logs& logs) { return reduce(3, level, interval, logs); };
  CAPTURE(step);

  check_all(outcomes([&](MetricLog& log, int64_t rank) {
              log_it(log, "loss", 1.0);
              if (rank == 1) log_it(log, "extra", 2.0);
            }),
            "\"extra\" on rank 1 only");
  check_all(outcomes([&](MetricLog& log, int64_t rank) {
              log_it(log, "loss", 1.0);
              if (rank != 2) log_it(log, "missing", 2.0);
            }),
            "\"missing\" on rank 0+1 only");
  check_all(outcomes([&](MetricLog& log, int64_t rank) {
              if (rank != 0) log_it(log, "loss", 1.0);
            }),
            "\"loss\" on rank 1+2 only");
  check_all(outcomes([&](MetricLog& log, int64_t rank) {
              log_it(log, rank == 0 ? "a" : "b", 1.0);
              log_it(log, rank == 0 ? "b" : "a", 2.0);
            }),
            "the same names in a different order");
}

TEST_CASE("A rank without a batch of an evaluation takes what the others logged", "[trainer]") {
  check_all(reduce(3, MetricLog::Level::kEpoch, "validation",
                   [](MetricLog& log, int64_t rank) {
                     if (rank != 1) log_on_epoch(log, "val_loss", 1.0 + static_cast<double>(rank));
                   }),
            "val_loss=2");
}

TEST_CASE("Metrics are computed from the states of all ranks", "[trainer]") {
  const auto logs = [](RankMetrics& metrics) {
    const auto rank = static_cast<double>(metrics.rank);
    metrics.sum->update(1.0 + rank);
    metrics.largest->update(3.0 - rank);
    // Each rank alone has one class, and no area.
    metrics.auroc->update(at::tensor({0.1F + 0.2F * static_cast<float>(rank)}),
                          at::tensor({metrics.rank == 1 ? 0 : 1}, at::kLong));
    metrics.log_on_epoch("total", *metrics.sum);
    metrics.log_on_epoch("auroc", *metrics.auroc);
    metrics.log_on_epoch("largest", *metrics.largest);
  };
  CHECK(compute(kEpochInterval, logs) ==
        std::vector<std::string>(3, "total=6 auroc=0.5 largest=3"));
}

TEST_CASE("A rank without a batch of an evaluation takes the others' metrics", "[trainer]") {
  const auto logs = [](RankMetrics& metrics) {
    if (metrics.rank == 0) return;
    metrics.sum->update(static_cast<double>(metrics.rank));
    metrics.log_on_epoch("total", *metrics.sum);
  };
  CHECK(compute("validation_step", logs) == std::vector<std::string>(3, "total=3"));
  // In training all ranks have batches.
  check_all(compute(kEpochInterval, logs), "\"total = sum\" on rank 1+2 only");
}

TEST_CASE("Metrics that aren't reduced are each rank's own", "[trainer]") {
  const auto outcomes = compute(kEpochInterval, [](RankMetrics& metrics) {
    const auto rank = static_cast<double>(metrics.rank);
    metrics.sum->update(rank);
    metrics.log_on_epoch("own", *metrics.sum, {.sync_dist = false});
    metrics.largest->update(rank + 5.0);
    if (metrics.rank == 0)
      metrics.log_on_epoch("first", *metrics.largest, {.rank_zero_only = true});
  });
  CHECK(outcomes == std::vector<std::string>{"own=0 first=5", "own=1", "own=2"});
}

TEST_CASE("Ranks that log other metrics than others are an error on all", "[trainer]") {
  check_all(compute(kEpochInterval,
                    [](RankMetrics& metrics) {
                      metrics.log_on_epoch("a", *metrics.sum);
                      if (metrics.rank == 2) metrics.log_on_epoch("b", *metrics.largest);
                    }),
            "ranks logged different metrics in the training epoch: \"b = largest\" on rank 2 only");
  // One name for different metrics.
  check_all(compute(kEpochInterval,
                    [](RankMetrics& metrics) {
                      if (metrics.rank == 0) metrics.log_on_epoch("a", *metrics.sum);
                      if (metrics.rank != 0) metrics.log_on_epoch("a", *metrics.largest);
                    }),
            "\"a = largest\" on rank 1+2 only, \"a = sum\" on rank 0 only");
  check_all(compute(kEpochInterval,
                    [](RankMetrics& metrics) {
                      const bool first = metrics.rank == 0;
                      if (first) metrics.log_on_epoch("a", *metrics.sum);
                      metrics.log_on_epoch("b", *metrics.largest);
                      if (!first) metrics.log_on_epoch("a", *metrics.sum);
                    }),
            "the same names in a different order");
}

TEST_CASE("A metric that no rank logged in an interval has no value there", "[trainer]") {
  const auto outcomes = compute(kEpochInterval, [](RankMetrics& metrics) {
    metrics.sum->update(1.0);
    metrics.log_on_epoch("total", *metrics.sum);
    metrics.log.reset_epoch();
  });
  CHECK(outcomes == std::vector<std::string>(3, ""));
}

TEST_CASE("Values of rank 0 alone need not be logged by others", "[trainer]") {
  const auto outcomes =
      reduce(3, MetricLog::Level::kEpoch, kEpochInterval, [](MetricLog& log, int64_t rank) {
        log_on_epoch(log, "loss", static_cast<double>(rank));
        if (rank == 0) {
          log.record("mine", 5.0, {.on_step = false, .on_epoch = true, .rank_zero_only = true});
        }
      });
  CHECK(outcomes == std::vector<std::string>{"loss=1 mine=5", "loss=1", "loss=1"});
}

TEST_CASE("What a metric is given in a padding batch doesn't count", "[trainer]") {
  RankMetrics metrics(0);
  metrics.sum->update(1.0);
  for (const bool is_padding : {false, true}) {
    const lightning::UncountedMetrics uncounted(metrics.registry, is_padding);
    metrics.sum->update(10.0);
  }
  CHECK(metrics.sum->compute().item<double>() == 11.0);
}
