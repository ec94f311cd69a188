#include <lightning/loops/metric_check.h>

#include <algorithm>
#include <cctype>
#include <string>
#include <string_view>
#include <vector>

#include <lightning/config/detail/names.h>
#include <lightning/loggers/csv_logger.h>
#include <lightning/loggers/detail/csv_text.h>
#include <lightning/loops/evaluation_loop.h>
#include <lightning/loops/lr_schedules.h>

namespace lightning {
namespace {

std::vector<MetricDemand> demands_of(const RunState& run) {
  std::vector<MetricDemand> demands = schedule_demands(run);
  for (const auto& callback : run.context.callbacks) {
    for (MetricDemand& demand : callback->required_metrics()) demands.push_back(std::move(demand));
  }
  return demands;
}

/// "val" of "val_loss" and "Val/Loss".
std::string family(std::string_view name) {
  std::string text(name.substr(0, name.find_first_of("_/-. ")));
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

bool belongs_to_validation(std::string_view name) {
  const std::string first = family(name);
  return first.starts_with("val") || first == "eval" || first == "dev";
}

/// A name of a validation that is like one that was logged: it is taken for a slip of the pen.
std::string slip_of(const std::string& name, const std::vector<std::string>& logged) {
  if (!belongs_to_validation(name)) return {};
  std::vector<std::string> candidates;
  for (const std::string& candidate : logged) {
    if (belongs_to_validation(candidate)) candidates.push_back(candidate);
  }
  return config::nearest_name(name, candidates);
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text.empty() ? "(nothing was logged)" : text;
}

bool is_among(const std::string& name, const std::vector<std::string>& names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// Names of all metrics logged so far, those of the sessions before among them.
/// Sync: see HostMetrics::read().
std::vector<std::string> logged_names(RunState& run) {
  std::vector<std::string> names;
  for (const MetricLog* log : {&run.metrics.evaluation, &run.metrics.train}) {
    for (const LoggedValue& value : log->callback_row()) {
      if (!is_among(value.name, names)) names.push_back(value.name);
    }
  }
  for (const auto& [name, value] : run.metrics.host.read()) {
    if (!is_among(name, names)) names.push_back(name);
  }
  return names;
}

std::string refusal_by_validation(const MetricDemand& demand, const std::string& meant,
                                  const std::vector<std::string>& logged, MetricsKnown known) {
  std::string_view who = "the validation";
  std::string_view way_out = ".";
  if (known == MetricsKnown::kAfterSanityCheck) {
    who = "the sanity check";
    way_out = "; a metric that only complete validations log needs num_sanity_val_steps: 0.";
  } else if (known == MetricsKnown::kAfterResume) {
    who = "the run that is resumed";
    way_out = "; a metric that is new in the module needs num_sanity_val_steps: 0.";
  }
  return detail::concat(demand.option, " is \"", demand.name, "\", and ", who,
                        " logged no such metric, expected one of: ", joined(logged),
                        ". HINT: write \"", meant, "\"", way_out);
}

/// Why the fit runs no validation; empty when it does.
std::string why_no_validation(const RunState& run) {
  const TrainerOptions& user = run.context.options.user;
  if (leaves_none(user.limit_val_batches)) return "limit_val_batches is 0";
  if (run.loaders.validation.empty()) return "there is no validation data";
  return {};
}

std::string refusal_by_epoch(const RunState& run, const MetricDemand& demand,
                             const std::vector<std::string>& logged) {
  const std::string unvalidated = why_no_validation(run);
  const std::string nearest = config::nearest_name(demand.name, logged);
  return detail::concat(
      demand.option, " is \"", demand.name, "\" and no such metric was logged in epoch ",
      run.progress.epoch, unvalidated.empty() ? "" : " (" + unvalidated + ")",
      ", expected one of: ", joined(logged), ". HINT: ",
      nearest.empty() ? std::string("log it in a step of the module, or name a different one.")
                      : detail::concat("did you mean \"", nearest, "\"?"));
}

bool all_logged(RunState& run, const std::vector<MetricDemand>& demands) {
  const std::vector<std::string> logged = logged_names(run);
  return std::all_of(demands.begin(), demands.end(),
                     [&](const MetricDemand& demand) { return is_among(demand.name, logged); });
}

std::string find_missing(RunState& run, const std::vector<MetricDemand>& demands,
                         MetricsKnown known) {
  const std::vector<std::string> logged = logged_names(run);
  for (const MetricDemand& demand : demands) {
    if (is_among(demand.name, logged)) continue;
    if (known == MetricsKnown::kAfterEpoch) {
      // The callback acts at this end, and no validation is still to come.
      const bool acts = (run.progress.epoch + 1) % demand.every_n_epochs == 0;
      if (acts && !run.context.trainer.awaits_validation()) {
        return refusal_by_epoch(run, demand, logged);
      }
    } else if (const std::string meant = slip_of(demand.name, logged); !meant.empty()) {
      return refusal_by_validation(demand, meant, logged, known);
    }
  }
  return {};
}

}  // namespace

void check_reserved_names(const RunState& run) {
  const bool has_csv = std::any_of(
      run.context.loggers.begin(), run.context.loggers.end(),
      [](const auto& logger) { return dynamic_cast<const CSVLogger*>(logger.get()) != nullptr; });
  if (!has_csv) return;
  for (const MetricLog* log : {&run.metrics.evaluation, &run.metrics.train}) {
    for (const std::string& name : log->logger_names()) {
      if (!detail::CsvTable::is_reserved(name)) continue;
      throw MetricNameError(
          detail::concat("log: a metric is named \"", name,
                         "\", which is a column of the CSV file and no metric, expected a "
                         "different name. HINT: rename it, or log it with logger false."),
          /*is_reserved=*/true);
    }
  }
}

void check_metrics(RunState& run, MetricsKnown known) {
  if (!run.metrics_checked) check_reserved_names(run);
  if (run.metrics_checked) return;
  const std::vector<MetricDemand> demands = demands_of(run);
  if (demands.empty()) return;
  // Ranks may have logged different names; rank 0, which writes, decides for all.
  static constexpr std::string_view kAllThere = "all are there";
  std::string finding = find_missing(run, demands, known);
  if (finding.empty() && all_logged(run, demands)) finding = kAllThere;
  finding = run.context.from_rank_zero("missing metric", finding);
  run.metrics_checked = finding == kAllThere;
  if (!finding.empty() && !run.metrics_checked) throw MetricNameError(finding);
}

void warn_of_unchecked_metrics(RunState& run) {
  const TrainerOptions& user = run.context.options.user;
  if (user.fast_dev_run.batches() > 0 || user.dry_run) return;
  const std::vector<std::string> known = logged_names(run);
  std::string unknown;
  for (const MetricDemand& demand : demands_of(run)) {
    if (is_among(demand.name, known)) continue;
    unknown +=
        detail::concat(unknown.empty() ? "" : ", ", "\"", demand.name, "\" (", demand.option, ")");
  }
  if (unknown.empty()) return;
  std::string reason = why_no_validation(run);
  if (reason.empty()) {
    reason = user.num_sanity_val_steps == 0 ? "num_sanity_val_steps is 0"
                                            : "no sanity check ran in this fit";
  }
  run.warn(detail::concat("Trainer: ", reason, ", so whether ", unknown,
                          " is logged is known only after the first epoch. HINT: check the "
                          "spelling; the state is saved before a wrong name ends the fit."));
}

}  // namespace lightning
