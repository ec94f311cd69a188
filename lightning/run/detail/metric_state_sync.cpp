#include <lightning/run/detail/metric_state_sync.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include <lightning/control/detail/state_exchange.h>
#include <lightning/metrics/metric.h>
#include <lightning/run/detail/metric_sync.h>
#include <lightning/util/error.h>

namespace lightning {
namespace {

using Part = MetricLog::MetricPart;
using Parts = std::vector<Part>;

std::string states_entry(size_t part) { return std::to_string(part) + "/states"; }

/// What a rank gives to the others.
StateDict description_of(const Parts& parts, const MetricRegistry& registry) {
  StateDict state;
  for (size_t i = 0; i < parts.size(); ++i) {
    const Part& part = parts[i];
    StateDict one;
    one.set("name", part.name);
    one.set("metric", part.metric);
    one.set("on_step", part.on_step);
    one.set("prog_bar", part.prog_bar);
    one.set("logger", part.logger);
    one.set("logged", part.logged);
    state.set(std::to_string(i), one);
    StateDict states;
    for (metrics::MetricState& own : registry.at(part.metric).states()) {
      states.set(own.name, std::move(own.value));
    }
    state.set(states_entry(i), states);
  }
  state.set("count", parts.size());
  return state;
}

Parts parts_from(const StateDict& state) {
  Parts parts(static_cast<size_t>(state.get<int64_t>("count")));
  for (size_t i = 0; i < parts.size(); ++i) {
    const StateDict one = state.nested(std::to_string(i));
    parts[i].name = one.get<std::string>("name");
    parts[i].metric = one.get<std::string>("metric");
    parts[i].on_step = one.get<bool>("on_step");
    parts[i].on_epoch = true;
    parts[i].prog_bar = one.get<bool>("prog_bar");
    parts[i].logger = one.get<bool>("logger");
    parts[i].logged = one.get<bool>("logged");
  }
  return parts;
}

/// "val_acc" where the metric has that name too, else "val_acc = accuracy".
std::vector<std::string> names_of(const Parts& parts) {
  std::vector<std::string> names;
  for (const Part& part : parts) {
    names.push_back(part.name == part.metric ? part.name : part.name + " = " + part.metric);
  }
  return names;
}

/// The parts that every rank has (a rank without a batch of an evaluation may have none).
Parts agreed_parts(const std::vector<Parts>& by_rank, std::string_view interval) {
  std::vector<std::vector<std::string>> names;
  for (const Parts& parts : by_rank) names.push_back(names_of(parts));
  const auto named =
      std::find_if(names.begin(), names.end(), [](const auto& theirs) { return !theirs.empty(); });
  if (named == names.end()) return {};
  // In training every rank has batches.
  const bool may_be_absent = interval != kEpochInterval;
  const bool same = std::all_of(names.begin(), names.end(), [&](const auto& theirs) {
    return theirs == *named || (theirs.empty() && may_be_absent);
  });
  const std::string differences = name_differences(names);
  LIGHTNING_CHECK(same, ConfigError, "log: ranks logged different metrics in ", interval, ": ",
                  differences.empty() ? "the same names in a different order" : differences,
                  "; expected the same on every rank. HINT: log on all ranks, or leave the metric "
                  "out of the reduction with sync_dist = false.");
  Parts agreed = by_rank[static_cast<size_t>(named - names.begin())];
  for (const Parts& theirs : by_rank) {
    for (size_t i = 0; i < theirs.size(); ++i) agreed[i].logged |= theirs[i].logged;
  }
  return agreed;
}

/// A metric's states as they came from a rank, in the form of this rank's metric.
std::vector<metrics::MetricState> received(const metrics::Metric& metric, const StateDict& from) {
  std::vector<metrics::MetricState> states = metric.states();
  for (metrics::MetricState& state : states) state.value = from.get<at::Tensor>(state.name);
  return states;
}

/// Makes the states of the metrics those of all ranks, and `parts` what all ranks have.
void merge_ranks(Parts& parts, const MetricRegistry& registry, ControlPlane& control,
                 std::string_view interval) {
  const std::vector<StateDict> all =
      all_gather_object(control, "metric states", description_of(parts, registry));
  std::vector<Parts> by_rank;
  for (const StateDict& state : all) by_rank.push_back(parts_from(state));
  parts = agreed_parts(by_rank, interval);
  for (size_t i = 0; i < parts.size(); ++i) {
    metrics::Metric& metric = registry.at(parts[i].metric);
    metric.reset();
    for (size_t rank = 0; rank < all.size(); ++rank) {
      if (by_rank[rank].empty()) continue;
      metric.merge(received(metric, all[rank].nested(states_entry(i))));
    }
  }
}

}  // namespace

void compute_metric_values(MetricLog& log, const MetricRegistry& registry, ControlPlane* control,
                           std::string_view interval) {
  if (registry.empty()) return;
  // Those that aren't logged any more came with a checkpoint, and needn't exist.
  Parts local, shared;
  for (Part& part : log.metric_parts()) {
    if (!part.logged && !registry.contains(part.metric)) continue;
    const bool is_shared = control != nullptr && part.on_epoch && part.sync;
    (is_shared ? shared : local).push_back(std::move(part));
  }
  if (control != nullptr) merge_ranks(shared, registry, *control, interval);
  for (const Parts* parts : {&local, &shared}) {
    for (const Part& part : *parts) {
      metrics::Metric& metric = registry.at(part.metric);
      if (part.on_epoch && part.logged) log.set_metric_value(part, metric.compute());
      metric.reset();
    }
  }
}

}  // namespace lightning
