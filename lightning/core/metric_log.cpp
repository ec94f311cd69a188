#include <lightning/core/metric_log.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

#include <lightning/metrics/metric.h>
#include <lightning/util/error.h>
#include <lightning/util/log.h>

namespace lightning {
namespace {

std::string_view to_text(ReduceFx fx) {
  switch (fx) {
    case ReduceFx::kMean:
      return "mean";
    case ReduceFx::kSum:
      return "sum";
    case ReduceFx::kMin:
      return "min";
    case ReduceFx::kMax:
      return "max";
  }
  return "";
}

/// "loss" becomes "loss_step", "loss/dataloader_idx_1" becomes "loss_step/dataloader_idx_1".
std::string forked_name(const std::string& name, std::string_view level) {
  const size_t end = std::min(name.rfind("/dataloader_idx_"), name.size());
  return detail::concat(name.substr(0, end), level, name.substr(end));
}

// As at::minimum() and at::maximum(), and unlike std::fmin() and std::fmax(): NaN stays NaN.
double least(double a, double b) { return std::isnan(a) || a < b ? a : b; }
double greatest(double a, double b) { return std::isnan(a) || a > b ? a : b; }

}  // namespace

void MetricLog::warn_of_ignored() {
  if (std::exchange(warned_of_ignored_, true)) return;
  log_warning("LightningModule: log() does nothing, since trainer.barebones is true.");
}

void MetricLog::record(std::string_view name, const at::Tensor& value, const LogOptions& options) {
  if (ignores_all_) return warn_of_ignored();
  LIGHTNING_CHECK(value.defined() && value.numel() == 1, ConfigError, "log: \"", name, "\" is ",
                  value.defined() ? detail::concat("a tensor of shape ", value.sizes())
                                  : std::string("an undefined tensor"),
                  ", expected one element. HINT: log its mean or its sum.");
  record_value(name, value_of(value), options);
}

void MetricLog::record(std::string_view name, double value, const LogOptions& options) {
  if (ignores_all_) return warn_of_ignored();
  record_value(name, Value{value, {}}, options);
}

MetricLog::Value MetricLog::value_of(const at::Tensor& scalar) {
  // A CPU value is ready: reading it waits for nothing.
  if (scalar.is_cpu()) return {scalar.item<double>(), {}};
  return {0.0, scalar.detach().reshape({}).to(at::kDouble)};
}

void MetricLog::record(std::string_view name, metrics::Metric& metric, std::string_view registered,
                       const LogOptions& options) {
  if (ignores_all_) {
    warn_of_ignored();
    // Without a value, and known all the same: at the interval's end it is reset, else it grows.
    LogOptions unseen = options;
    unseen.on_step = false;
    unseen.on_epoch = false;
    unseen.prog_bar = false;
    unseen.logger = false;
    unseen.reduce_fx = ReduceFx::kMean;
    entry_for(name, unseen, registered).in_epoch = true;
    return;
  }
  check_allowed(name);
  LIGHTNING_CHECK(options.reduce_fx == ReduceFx::kMean, ConfigError, "log: \"", name,
                  "\" is a metric (", metric.name(), ") and was logged with reduce_fx ",
                  to_text(options.reduce_fx),
                  ", expected none: a metric has its own. HINT: leave reduce_fx out.");
  const size_t known = entries_.size();
  Entry& entry = entry_for(name, options, registered);
  entry.step = scope_.step;
  entry.in_epoch = true;
  const bool is_new = entries_.size() > known;
  const bool counts = scope_.batch_size > 0.0;
  if (!is_new && !(entry.on_step && counts)) return;
  const at::Tensor value = entry.on_step && counts ? metric.compute_batch() : metric.compute();
  LIGHTNING_CHECK(value.numel() == 1, ConfigError, "log: \"", name, "\" is a metric (",
                  metric.name(), ") whose value is a tensor of shape ", value.sizes(),
                  ", expected one element. HINT: choose an average, or log the elements of "
                  "compute() at the epoch's end.");
  if (!entry.on_step || !counts) return;
  entry.newest = value_of(value);
  entry.newest_weight = 1.0;
  entry.has_newest = true;
  entry.in_next_row = entry.logger;
}

void MetricLog::check_allowed(std::string_view name) const {
  LIGHTNING_CHECK(scope_.allowed, ConfigError, "log: \"", name, "\" was logged in ", scope_.hook,
                  ", where nothing can be logged. HINT: log in a step, a batch or an epoch hook "
                  "(docs/hooks.md lists them).");
}

void MetricLog::record_value(std::string_view name, const Value& value, const LogOptions& options) {
  check_allowed(name);
  Entry& entry = entry_for(name, options);
  entry.step = scope_.step;
  entry.in_epoch = true;
  const double weight = options.batch_size.value_or(scope_.batch_size);
  if (scope_.batch_size == 0.0) {
    // In the reduction of the step this rank has to be there all the same.
    entry.newest_weight = 0.0;
    entry.in_next_row = entry.on_step && entry.logger && entry.sync_step;
    return;
  }
  entry.newest = value;
  entry.newest_weight = weight;
  entry.has_newest = true;
  entry.in_next_row = entry.on_step && entry.logger;
  if (entry.on_epoch) accumulate(entry, value, weight);
}

std::string MetricLog::full_name(std::string_view name, const LogOptions& options) const {
  const bool suffixed = scope_.dataloader_idx >= 0 && options.add_dataloader_idx;
  return suffixed ? detail::concat(name, "/dataloader_idx_", scope_.dataloader_idx)
                  : std::string(name);
}

MetricLog::Entry& MetricLog::entry_for(std::string_view name, const LogOptions& options,
                                       std::string_view metric) {
  const std::string logged_as = full_name(name, options);
  const bool on_step = options.on_step.value_or(scope_.on_step);
  LIGHTNING_CHECK(scope_.in_step || !on_step, ConfigError, "log: \"", logged_as,
                  "\" was logged with on_step in ", scope_.hook,
                  ", where there is no step, expected on_epoch alone. HINT: leave on_step out.");
  const bool on_epoch = options.on_epoch.value_or(scope_.on_epoch);

  for (size_t tried = 0; tried < entries_.size(); ++tried) {
    const size_t i = (expected_ + tried) % entries_.size();
    Entry& entry = entries_[i];
    if (entry.name != logged_as) continue;
    expected_ = i + 1;
    // A resumed run may log it with other options than the one that wrote the checkpoint.
    const bool replaced = std::exchange(entry.restored, false) && entry.metric == metric &&
                          !has_options(entry, on_step, on_epoch, options.reduce_fx);
    if (replaced) entry = new_entry(logged_as, on_step, on_epoch, options, metric);
    check_same(entry, on_step, on_epoch, metric, options);
    return entry;
  }
  entries_.push_back(new_entry(logged_as, on_step, on_epoch, options, metric));
  expected_ = 0;
  return entries_.back();
}

MetricLog::Entry MetricLog::new_entry(std::string name, bool on_step, bool on_epoch,
                                      const LogOptions& options, std::string_view metric) {
  Entry entry = make_entry(std::move(name), on_step, on_epoch);
  entry.metric = metric;
  entry.prog_bar = options.prog_bar;
  entry.logger = options.logger;
  entry.reduce_fx = options.reduce_fx;
  // A step's value of a metric is this rank's.
  entry.sync_step = options.sync_dist.value_or(false) && !options.rank_zero_only && metric.empty();
  entry.sync_epoch = options.sync_dist.value_or(true) && !options.rank_zero_only;
  return entry;
}

bool MetricLog::has_options(const Entry& entry, bool on_step, bool on_epoch, ReduceFx reduce_fx) {
  return entry.on_step == on_step && entry.on_epoch == on_epoch && entry.reduce_fx == reduce_fx;
}

void MetricLog::check_same(const Entry& entry, bool on_step, bool on_epoch, std::string_view metric,
                           const LogOptions& options) const {
  const auto what = [](std::string_view registered) {
    return registered.empty() ? std::string("a value")
                              : detail::concat("the metric \"", registered, "\"");
  };
  LIGHTNING_CHECK(entry.metric == metric, ConfigError, "log: \"", entry.name, "\" was ",
                  what(entry.metric), " before and is ", what(metric), " in ", scope_.hook,
                  ", expected one of both. HINT: use a different name for the other.");
  LIGHTNING_CHECK(has_options(entry, on_step, on_epoch, options.reduce_fx), ConfigError, "log: \"",
                  entry.name, "\" was logged with on_step ", entry.on_step, ", on_epoch ",
                  entry.on_epoch, ", reduce_fx ", to_text(entry.reduce_fx),
                  " before and with on_step ", on_step, ", on_epoch ", on_epoch, ", reduce_fx ",
                  to_text(options.reduce_fx), " in ", scope_.hook,
                  ", expected the same options. HINT: use a different name for the other value.");
}

MetricLog::Entry MetricLog::make_entry(std::string name, bool on_step, bool on_epoch) {
  Entry entry;
  const bool forked = on_step && on_epoch;
  entry.step_name = forked ? forked_name(name, "_step") : name;
  entry.epoch_name = forked ? forked_name(name, "_epoch") : name;
  entry.name = std::move(name);
  entry.on_step = on_step;
  entry.on_epoch = on_epoch;
  return entry;
}

void MetricLog::accumulate(Entry& entry, const Value& value, double weight) {
  const bool first = entry.weight == 0.0;
  entry.weight += weight;
  const bool on_device = value.device.defined() || entry.accumulated.device.defined();
  if (on_device) {
    const auto as_tensor = [&](const Value& v) {
      return v.device.defined()
                 ? v.device
                 : at::full({}, v.host,
                            (value.device.defined() ? value : entry.accumulated).device.options());
    };
    const at::Tensor x = as_tensor(value);
    at::Tensor& sum = entry.accumulated.device;
    if (!first && !sum.defined()) sum = as_tensor(entry.accumulated);
    switch (entry.reduce_fx) {
      case ReduceFx::kMean:
        sum = first ? x * weight : sum + x * weight;
        break;
      case ReduceFx::kSum:
        sum = first ? x : sum + x;
        break;
      case ReduceFx::kMin:
        sum = first ? x : at::minimum(sum, x);
        break;
      case ReduceFx::kMax:
        sum = first ? x : at::maximum(sum, x);
        break;
    }
    return;
  }
  double& sum = entry.accumulated.host;
  switch (entry.reduce_fx) {
    case ReduceFx::kMean:
      sum = first ? value.host * weight : sum + value.host * weight;
      break;
    case ReduceFx::kSum:
      sum = first ? value.host : sum + value.host;
      break;
    case ReduceFx::kMin:
      sum = first ? value.host : least(sum, value.host);
      break;
    case ReduceFx::kMax:
      sum = first ? value.host : greatest(sum, value.host);
      break;
  }
}

MetricLog::Value MetricLog::reduced(const Entry& entry) {
  Value value = entry.accumulated;
  if (entry.reduce_fx == ReduceFx::kMean) {
    if (value.device.defined()) {
      value.device = value.device / entry.weight;
    } else {
      value.host /= entry.weight;
    }
  }
  return value;
}

std::vector<std::string> MetricLog::logger_names() const {
  std::vector<std::string> names;
  for (const Entry& entry : entries_) {
    if (!entry.logger) continue;
    if (entry.on_step) names.push_back(entry.step_name);
    if (entry.on_epoch) names.push_back(entry.epoch_name);
  }
  return names;
}

LoggedRow MetricLog::take_step_row() {
  LoggedRow row;
  for (Entry& entry : entries_) {
    if (!entry.in_next_row) continue;
    row.push_back(entry.newest.named(entry.step_name));
    entry.in_next_row = false;
  }
  return row;
}

LoggedRow MetricLog::progress_bar_row() const {
  LoggedRow row;
  for (const Entry& entry : entries_) {
    if (!entry.prog_bar || !entry.has_newest) continue;
    if (entry.on_step) {
      row.push_back(entry.newest.named(entry.step_name));
    } else if (entry.weight > 0.0) {
      row.push_back(reduced(entry).named(entry.epoch_name));
    }
  }
  return row;
}

LoggedRow MetricLog::callback_row() const {
  LoggedRow row;
  for (const Entry& entry : entries_) {
    const bool forked = entry.on_step && entry.on_epoch;
    if (entry.on_step && entry.has_newest) {
      row.push_back(entry.newest.named(entry.step_name, entry.step));
      if (forked) row.push_back(entry.newest.named(entry.name, entry.step));
    }
    if (entry.on_epoch && entry.weight > 0.0) {
      const Value value = reduced(entry);
      row.push_back(value.named(entry.epoch_name, entry.step));
      if (forked) row.push_back(value.named(entry.name, entry.step));
    }
  }
  return row;
}

void MetricLog::end_epoch(int64_t step) {
  for (Entry& entry : entries_) {
    if (entry.in_epoch) entry.step = step;
  }
}

LoggedRow MetricLog::epoch_row() const {
  LoggedRow row;
  for (const Entry& entry : entries_) {
    if (entry.on_epoch && entry.logger && entry.weight > 0.0) {
      row.push_back(reduced(entry).named(entry.epoch_name));
    }
  }
  return row;
}

void MetricLog::reset_epoch() {
  for (Entry& entry : entries_) {
    entry.accumulated = {};
    entry.weight = 0.0;
    entry.in_epoch = false;
  }
}

std::vector<MetricLog::Part> MetricLog::parts(Level level) const {
  std::vector<Part> parts;
  for (const Entry& entry : entries_) {
    if (!entry.metric.empty()) continue;  // states are reduced, not values
    const bool step = level == Level::kStep;
    if (step ? !(entry.sync_step && entry.in_next_row) : !(entry.sync_epoch && entry.on_epoch)) {
      continue;
    }
    Part part = {.name = entry.name,
                 .reduce_fx = entry.reduce_fx,
                 .on_step = entry.on_step,
                 .on_epoch = entry.on_epoch,
                 .prog_bar = entry.prog_bar,
                 .logger = entry.logger,
                 .value = step ? entry.newest : entry.accumulated,
                 .weight = step ? entry.newest_weight : entry.weight};
    if (step && entry.reduce_fx == ReduceFx::kMean) {
      part.value.host *= part.weight;
      if (part.value.device.defined()) part.value.device = part.value.device * part.weight;
    }
    parts.push_back(std::move(part));
  }
  return parts;
}

std::vector<MetricLog::MetricPart> MetricLog::metric_parts() const {
  std::vector<MetricPart> parts;
  for (const Entry& entry : entries_) {
    if (entry.metric.empty()) continue;
    parts.push_back({.name = entry.name,
                     .metric = entry.metric,
                     .on_step = entry.on_step,
                     .on_epoch = entry.on_epoch,
                     .prog_bar = entry.prog_bar,
                     .logger = entry.logger,
                     .sync = entry.sync_epoch,
                     .logged = entry.in_epoch});
  }
  return parts;
}

void MetricLog::set_metric_value(const MetricPart& part, const at::Tensor& value) {
  auto entry = std::find_if(entries_.begin(), entries_.end(),
                            [&](const Entry& known) { return known.name == part.name; });
  if (entry == entries_.end()) {
    Entry fresh = make_entry(part.name, part.on_step, part.on_epoch);
    fresh.metric = part.metric;
    fresh.prog_bar = part.prog_bar;
    fresh.logger = part.logger;
    entry = entries_.insert(entries_.end(), std::move(fresh));
  }
  entry->accumulated = value_of(value);
  entry->weight = 1.0;
  entry->in_epoch = true;
  // For the bar, which has nothing before.
  if (!entry->on_step) entry->has_newest = true;
}

void MetricLog::Part::add(const Part& other) {
  if (other.weight == 0.0) return;
  if (weight == 0.0) {
    value = other.value;
    weight = other.weight;
    return;
  }
  Entry both;
  both.reduce_fx = reduce_fx;
  both.accumulated = value;
  both.weight = weight;
  // The value of a mean is a weighted sum already.
  if (reduce_fx == ReduceFx::kMean) both.reduce_fx = ReduceFx::kSum;
  accumulate(both, other.value, other.weight);
  value = both.accumulated;
  weight = both.weight;
}

void MetricLog::add_epoch(const MetricLog& other) {
  std::vector<Part> sum = parts(Level::kEpoch);
  for (const Part& theirs : other.parts(Level::kEpoch)) {
    const auto ours = std::find_if(sum.begin(), sum.end(),
                                   [&](const Part& part) { return part.name == theirs.name; });
    if (ours == sum.end()) {
      sum.push_back(theirs);
    } else {
      ours->add(theirs);
    }
  }
  set_parts(Level::kEpoch, sum);
}

void MetricLog::set_parts(Level level, const std::vector<Part>& parts) {
  for (const Part& part : parts) {
    auto entry = std::find_if(entries_.begin(), entries_.end(),
                              [&](const Entry& known) { return known.name == part.name; });
    if (entry == entries_.end()) {
      Entry fresh = make_entry(part.name, part.on_step, part.on_epoch);
      fresh.prog_bar = part.prog_bar;
      fresh.logger = part.logger;
      fresh.reduce_fx = part.reduce_fx;
      entry = entries_.insert(entries_.end(), std::move(fresh));
    }
    if (level == Level::kEpoch) {
      entry->accumulated = part.value;
      entry->weight = part.weight;
      entry->in_epoch = entry->in_epoch || part.weight > 0.0;
    } else if (part.weight > 0.0) {
      entry->newest = part.value;
      entry->newest_weight = part.weight;
      entry->has_newest = true;
      if (part.reduce_fx == ReduceFx::kMean) entry->newest.host /= part.weight;
    }
  }
}

StateDict MetricLog::state_dict() const {
  StateDict state;
  std::vector<std::string> names;
  // Those that are ignored aren't what a run that logs them would have.
  const size_t count = ignores_all_ ? 0 : entries_.size();
  for (size_t i = 0; i < count; ++i) {
    const Entry& entry = entries_[i];
    names.push_back(entry.name);
    StateDict one;
    if (!entry.metric.empty()) one.set("metric", entry.metric);
    one.set("on_step", entry.on_step);
    one.set("on_epoch", entry.on_epoch);
    one.set("prog_bar", entry.prog_bar);
    one.set("logger", entry.logger);
    one.set("reduce_fx", static_cast<int64_t>(entry.reduce_fx));
    one.set("sync_step", entry.sync_step);
    one.set("sync_epoch", entry.sync_epoch);
    one.set("newest_weight", entry.newest_weight);
    one.set("has_newest", entry.has_newest);
    one.set("in_next_row", entry.in_next_row);
    one.set("weight", entry.weight);
    one.set("step", entry.step);
    one.set("in_epoch", entry.in_epoch);
    const auto set_value = [&](const char* name, const Value& value) {
      if (value.device.defined()) {
        one.set(name, value.device);
      } else {
        one.set(name, value.host);
      }
    };
    set_value("newest", entry.newest);
    set_value("accumulated", entry.accumulated);
    state.set(std::to_string(i), one);
  }
  state.set("names", std::move(names));
  return state;
}

void MetricLog::load_state_dict(const StateDict& state) {
  entries_.clear();
  expected_ = 0;
  if (ignores_all_) return;
  const auto& names = state.get<std::vector<std::string>>("names");
  for (size_t i = 0; i < names.size(); ++i) {
    const StateDict one = state.nested(std::to_string(i));
    Entry entry = make_entry(names[i], one.get<bool>("on_step"), one.get<bool>("on_epoch"));
    entry.restored = true;
    if (one.contains("metric")) entry.metric = one.get<std::string>("metric");
    entry.prog_bar = one.get<bool>("prog_bar");
    entry.logger = one.get<bool>("logger");
    entry.reduce_fx = static_cast<ReduceFx>(one.get<int64_t>("reduce_fx"));
    entry.sync_step = one.get<bool>("sync_step");
    entry.sync_epoch = one.get<bool>("sync_epoch");
    entry.newest_weight = one.get<double>("newest_weight");
    entry.has_newest = one.get<bool>("has_newest");
    entry.in_next_row = one.get<bool>("in_next_row");
    entry.weight = one.get<double>("weight");
    // Not in the first checkpoints that were written.
    if (one.contains("step")) {
      entry.step = one.get<int64_t>("step");
      entry.in_epoch = one.get<bool>("in_epoch");
    }
    const auto get_value = [&](const char* name) {
      for (const auto& [key, value] : one.entries()) {
        if (key == name && std::holds_alternative<at::Tensor>(value)) {
          return Value{0.0, std::get<at::Tensor>(value)};
        }
      }
      return Value{one.get<double>(name), {}};
    };
    entry.newest = get_value("newest");
    entry.accumulated = get_value("accumulated");
    entries_.push_back(std::move(entry));
  }
}

}  // namespace lightning
