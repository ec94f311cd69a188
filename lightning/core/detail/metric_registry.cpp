#include <lightning/core/detail/metric_registry.h>

#include <algorithm>
#include <utility>

#include <lightning/metrics/metric.h>
#include <lightning/util/error.h>

namespace lightning {
namespace {

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text.empty() ? "none" : text;
}

}  // namespace

void MetricRegistry::add(std::string name, std::shared_ptr<metrics::Metric> metric) {
  LIGHTNING_CHECK(metric != nullptr, ConfigError, "LightningModule: register_metric(\"", name,
                  "\") was given a null metric, expected one. HINT: make it by make_shared().");
  LIGHTNING_CHECK(!name.empty(), ConfigError, "LightningModule: register_metric() was given ",
                  metric->name(),
                  " with an empty name, expected a name for checkpoints. HINT: use "
                  "the one under which it is logged.");
  for (const Entry& entry : entries_) {
    LIGHTNING_CHECK(entry.name != name, ConfigError, "LightningModule: register_metric(\"", name,
                    "\") was given ", metric->name(), ", and ", entry.metric->name(),
                    " has this name already, expected one metric of a name. HINT: register it "
                    "under a different name.");
    LIGHTNING_CHECK(entry.metric != metric, ConfigError, "LightningModule: register_metric(\"",
                    name, "\") was given a metric that is registered as \"", entry.name,
                    "\" already, expected one name for each. HINT: register it once.");
  }
  entries_.push_back({.name = std::move(name), .metric = std::move(metric), .logged_as = {}});
}

std::vector<std::string> MetricRegistry::names() const {
  std::vector<std::string> names;
  for (const Entry& entry : entries_) names.push_back(entry.name);
  return names;
}

const MetricRegistry::Entry* MetricRegistry::find(std::string_view name) const {
  const auto found = std::find_if(entries_.begin(), entries_.end(),
                                  [&](const Entry& entry) { return entry.name == name; });
  return found == entries_.end() ? nullptr : &*found;
}

metrics::Metric& MetricRegistry::at(std::string_view name) const {
  const Entry* entry = find(name);
  LIGHTNING_CHECK(entry != nullptr, ConfigError, "LightningModule: the metric \"", name,
                  "\" is logged and not registered, expected one of: ", joined(names()),
                  ". HINT: register it in the module's constructor under the name it had.");
  return *entry->metric;
}

const std::string& MetricRegistry::note_logged(const metrics::Metric& metric, const MetricLog& log,
                                               std::string_view logged_as) {
  const auto entry = std::find_if(entries_.begin(), entries_.end(),
                                  [&](const Entry& one) { return one.metric.get() == &metric; });
  LIGHTNING_CHECK(entry != entries_.end(), ConfigError, "log: \"", logged_as, "\" is the metric ",
                  metric.name(),
                  ", which is not registered, expected one that checkpoints have the state of: a "
                  "run that resumes in the middle of an epoch would lose it. HINT: call "
                  "register_metric(\"",
                  logged_as, "\", metric) in the module's constructor.");
  if (entry->log == nullptr) {
    entry->log = &log;
    entry->logged_as = logged_as;
  }
  LIGHTNING_CHECK(entry->log == &log && entry->logged_as == logged_as, ConfigError, "log: \"",
                  logged_as, "\" is the metric \"", entry->name, "\", which was logged as \"",
                  entry->logged_as, "\" ", entry->log == &log ? "before" : "in a different loop",
                  ", expected one name and one loop (training, validation) for a metric, whose "
                  "state is that of one interval. HINT: register one metric for each.");
  return entry->name;
}

void MetricRegistry::reset() {
  for (Entry& entry : entries_) {
    entry.metric->reset();
    entry.log = nullptr;
    entry.logged_as.clear();
  }
}

void MetricRegistry::begin_batch() {
  for (const Entry& entry : entries_) entry.metric->begin_batch();
}

void MetricRegistry::drop_batch() {
  for (const Entry& entry : entries_) entry.metric->drop_batch();
}

StateDict MetricRegistry::state_dict() const {
  StateDict state;
  // By number: a name may have slashes.
  for (size_t i = 0; i < entries_.size(); ++i) {
    state.set(std::to_string(i), entries_[i].metric->state_dict());
  }
  state.set("names", names());
  return state;
}

std::vector<std::string> MetricRegistry::names_in(const StateDict& state) {
  auto names = state.get<std::vector<std::string>>("names");
  std::vector<std::string> sorted = names;
  std::sort(sorted.begin(), sorted.end());
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  LIGHTNING_CHECK(twice == sorted.end(), CheckpointError,
                  "metric_states: the checkpoint has the metric \"", *twice,
                  "\" twice, expected each once. HINT: resume from a different checkpoint.");
  return names;
}

template <typename Visit>
void MetricRegistry::for_each_in(const StateDict& state, const Visit& visit) {
  const std::vector<std::string> saved = names_in(state);
  for (size_t i = 0; i < saved.size(); ++i) {
    const Entry* entry = find(saved[i]);
    if (entry == nullptr) continue;
    try {
      visit(*entry->metric, state.nested(std::to_string(i)));
    } catch (const Error& error) {
      throw CheckpointError(
          detail::concat("metric_states: the metric \"", saved[i], "\": ", error.what()));
    }
  }
}

void MetricRegistry::load_state_dict(const StateDict& state) {
  for (const Entry& entry : entries_) entry.metric->reset();
  for_each_in(state,
              [](metrics::Metric& metric, const StateDict& one) { metric.load_state_dict(one); });
}

void MetricRegistry::merge_state_dict(const StateDict& state) {
  for_each_in(state, [](metrics::Metric& metric, const StateDict& one) {
    const std::vector<metrics::MetricState> own = metric.states();
    metric.load_state_dict(one);  // may have its last batch apart
    const std::vector<metrics::MetricState> theirs = metric.states();
    metric.set_states(own);
    metric.merge(theirs);
    metric.begin_batch();  // none of it is the next batch's
  });
}

}  // namespace lightning
