// Ranks are threads.
#include <lightning/run/detail/metric_sync.h>

#include <cmath>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

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
