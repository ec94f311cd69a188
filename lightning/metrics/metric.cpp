#include <lightning/metrics/metric.h>

#include <algorithm>
#include <limits>

#include <ATen/Functions.h>

#include <lightning/util/error.h>

namespace lightning::metrics {
namespace {

std::string_view to_text(StateReduceFx fx) {
  switch (fx) {
    case StateReduceFx::kSum:
      return "sum";
    case StateReduceFx::kMin:
      return "min";
    case StateReduceFx::kMax:
      return "max";
    case StateReduceFx::kCat:
      return "cat";
  }
  return "";
}

/// What changes nothing when it is merged.
at::Scalar neutral(StateReduceFx fx, at::ScalarType dtype) {
  if (fx != StateReduceFx::kMin && fx != StateReduceFx::kMax) return 0;
  if (at::isIntegralType(dtype, /*includeBool=*/false)) {
    using Limits = std::numeric_limits<int64_t>;
    return fx == StateReduceFx::kMin ? Limits::max() : Limits::min();
  }
  const double infinity = std::numeric_limits<double>::infinity();
  return fx == StateReduceFx::kMin ? infinity : -infinity;
}

}  // namespace

Metric::~Metric() = default;

Metric::UpdateScope::UpdateScope(Metric& metric, const at::Tensor& input) {
  LIGHTNING_CHECK(input.defined(), DataError, metric.name(),
                  ": update() got an undefined tensor, expected values. HINT: leave the update out "
                  "where there is nothing.");
  const at::Device device = input.device();
  for (State& state : metric.states_) {
    if (state.value.device() == device) continue;
    state.value = state.value.to(device);
    for (at::Tensor& chunk : state.chunks) chunk = chunk.to(device);
  }
}

at::Tensor Metric::compute() const {
  const c10::InferenceMode no_inference(false);
  const at::NoGradGuard no_grad;
  return do_compute();
}

void Metric::reset() {
  const c10::InferenceMode no_inference(false);
  for (State& state : states_) {
    state.value = at::full_like(state.value, neutral(state.reduce_fx, state.value.scalar_type()));
    state.chunks.clear();
  }
}

std::vector<MetricState> Metric::states() const {
  const c10::InferenceMode no_inference(false);
  std::vector<MetricState> states;
  for (const State& state : states_) {
    const bool is_copy = state.reduce_fx == StateReduceFx::kCat;
    const at::Tensor value = joined(state);
    states.push_back({state.name, state.reduce_fx, is_copy ? value : value.clone()});
  }
  return states;
}

void Metric::set_states(const std::vector<MetricState>& states) {
  const std::string fault = fault_of(states);
  LIGHTNING_CHECK(fault.empty(), ConfigError, name(), ": ", fault,
                  ". HINT: give the states() of a metric with the same options.");
  for (size_t i = 0; i < states_.size(); ++i) assign(states_[i], states[i].value);
}

void Metric::merge(const std::vector<MetricState>& other) {
  const std::string fault = fault_of(other);
  LIGHTNING_CHECK(fault.empty(), ConfigError, name(), ": ", fault,
                  ". HINT: give the states() of a metric with the same options.");
  const c10::InferenceMode no_inference(false);
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < states_.size(); ++i) {
    State& mine = states_[i];
    const at::Tensor theirs = other[i].value.to(mine.value.device());
    switch (mine.reduce_fx) {
      case StateReduceFx::kSum:
        mine.value = mine.value + theirs;
        break;
      case StateReduceFx::kMin:
        mine.value = at::minimum(mine.value, theirs);
        break;
      case StateReduceFx::kMax:
        mine.value = at::maximum(mine.value, theirs);
        break;
      case StateReduceFx::kCat:
        if (theirs.size(0) > 0) mine.chunks.push_back(theirs.clone());
        break;
    }
  }
}

StateDict Metric::state_dict() const {
  StateDict dict;
  dict.set("type", std::string(name()));
  for (MetricState& state : states()) dict.set(state.name, std::move(state.value));
  return dict;
}

void Metric::load_state_dict(const StateDict& dict) {
  const auto& type = dict.get<std::string>("type");
  LIGHTNING_CHECK(type == name(), CheckpointError, name(), ": the checkpoint has the state of \"",
                  type, "\" here, expected \"", name(),
                  "\". HINT: resume with the metrics that the run had.");
  std::vector<MetricState> loaded;
  for (const State& state : states_) {
    loaded.push_back({state.name, state.reduce_fx, dict.get<at::Tensor>(state.name)});
  }
  std::string fault = fault_of(loaded);
  if (dict.entries().size() != states_.size() + 1) {
    fault = detail::concat("there are ", dict.entries().size(), " entries, expected ",
                           states_.size() + 1);
  }
  LIGHTNING_CHECK(fault.empty(), CheckpointError, name(), ": in the checkpoint ", fault,
                  ". HINT: resume with the options that the metric had.");
  for (size_t i = 0; i < states_.size(); ++i) assign(states_[i], loaded[i].value);
}

void Metric::add_state(std::string name, StateReduceFx reduce_fx, at::IntArrayRef shape,
                       at::ScalarType dtype) {
  const c10::InferenceMode no_inference(false);
  std::vector<int64_t> sizes = shape.vec();
  if (reduce_fx == StateReduceFx::kCat) sizes.insert(sizes.begin(), 0);
  states_.push_back({std::move(name),
                     reduce_fx,
                     at::full(sizes, neutral(reduce_fx, dtype), at::TensorOptions(dtype)),
                     {}});
}

size_t Metric::index_of(std::string_view name) const {
  const auto found = std::find_if(states_.begin(), states_.end(),
                                  [&](const State& state) { return state.name == name; });
  LIGHTNING_CHECK(found != states_.end(), ConfigError, this->name(), ": there is no state \"", name,
                  "\", expected one of those declared. HINT: add_state() it in the constructor.");
  return static_cast<size_t>(found - states_.begin());
}

at::Tensor& Metric::state(std::string_view name) { return states_[index_of(name)].value; }

at::Tensor Metric::state(std::string_view name) const { return joined(states_[index_of(name)]); }

void Metric::append(std::string_view name, const at::Tensor& rows) {
  if (rows.size(0) > 0) states_[index_of(name)].chunks.push_back(rows);
}

int64_t Metric::counted(std::string_view name) const { return state(name).item<int64_t>(); }

at::Tensor Metric::joined(const State& state) {
  if (state.reduce_fx != StateReduceFx::kCat) return state.value;
  // An empty one is copied as well.
  return state.chunks.empty() ? state.value.clone() : at::cat(state.chunks);
}

void Metric::assign(State& state, const at::Tensor& value) {
  const c10::InferenceMode no_inference(false);
  const at::NoGradGuard no_grad;
  const at::Tensor copy = value.detach().clone(at::MemoryFormat::Contiguous);
  if (state.reduce_fx != StateReduceFx::kCat) {
    state.value = copy;
    return;
  }
  state.value = copy.narrow(0, 0, 0).clone();
  state.chunks.clear();
  if (copy.size(0) > 0) state.chunks.push_back(copy);
}

std::string Metric::fault_of(const std::vector<MetricState>& states) const {
  if (states.size() != states_.size()) {
    return detail::concat("there are ", states.size(), " states, expected ", states_.size());
  }
  int64_t rows = -1;
  for (size_t i = 0; i < states_.size(); ++i) {
    const State& mine = states_[i];
    const MetricState& theirs = states[i];
    if (theirs.name != mine.name || theirs.reduce_fx != mine.reduce_fx) {
      return detail::concat("state ", i, " is \"", theirs.name, "\" (", to_text(theirs.reduce_fx),
                            "), expected \"", mine.name, "\" (", to_text(mine.reduce_fx), ")");
    }
    const at::Tensor& value = theirs.value;
    if (!value.defined() || value.scalar_type() != mine.value.scalar_type()) {
      return detail::concat("state \"", mine.name, "\" is ",
                            value.defined() ? at::toString(value.scalar_type()) : "undefined",
                            ", expected ", at::toString(mine.value.scalar_type()));
    }
    const bool is_cat = mine.reduce_fx == StateReduceFx::kCat;
    const size_t first = is_cat ? 1 : 0;
    if (value.dim() != mine.value.dim() ||
        value.sizes().slice(first) != mine.value.sizes().slice(first)) {
      return detail::concat("state \"", mine.name, "\" is a tensor of shape ", value.sizes(),
                            ", expected ", is_cat ? "n rows like " : "", mine.value.sizes());
    }
    if (!is_cat) continue;
    if (rows >= 0 && value.size(0) != rows) {
      return detail::concat("state \"", mine.name, "\" has ", value.size(0), " rows, expected ",
                            rows, " as the others");
    }
    rows = value.size(0);
  }
  return {};
}

}  // namespace lightning::metrics
