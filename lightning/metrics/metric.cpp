#include <lightning/metrics/metric.h>

#include <algorithm>
#include <limits>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <c10/util/ScopeExit.h>

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

/// The state of two parts; not kCat.
at::Tensor merged(StateReduceFx fx, const at::Tensor& a, const at::Tensor& b) {
  if (fx == StateReduceFx::kMin) return at::minimum(a, b);
  if (fx == StateReduceFx::kMax) return at::maximum(a, b);
  return a + b;
}

/// Of the entries in a checkpoint that hold the present batch: "batch/total".
std::string batch_entry(const std::string& name) { return "batch/" + name; }

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
    if (state.before.defined()) state.before = state.before.to(device);
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
  has_batch_ = false;
  for (State& state : states_) {
    state.value = at::full_like(state.value, neutral(state.reduce_fx, state.value.scalar_type()));
    state.before = at::Tensor();
    state.chunks.clear();
    state.chunks_before = 0;
  }
}

at::Tensor Metric::compute_batch() {
  const c10::InferenceMode no_inference(false);
  const at::NoGradGuard no_grad;
  at::Tensor value;
  {
    // Also after an exception of do_compute().
    const auto show_all = c10::make_scope_exit([this] { shown_ = Part::kAll; });
    if (has_batch_) shown_ = Part::kBatch;
    value = do_compute();
  }
  begin_batch();
  return value;
}

void Metric::begin_batch() {
  const c10::InferenceMode no_inference(false);
  const at::NoGradGuard no_grad;
  end_batch();
  for (State& state : states_) {
    state.chunks_before = state.chunks.size();
    if (state.reduce_fx == StateReduceFx::kCat) continue;
    state.before = state.value;
    state.value = at::full_like(state.value, neutral(state.reduce_fx, state.value.scalar_type()));
  }
  has_batch_ = true;
}

void Metric::drop_batch() {
  if (!has_batch_) return;
  const c10::InferenceMode no_inference(false);
  for (State& state : states_) {
    state.chunks.resize(state.chunks_before);
    if (state.reduce_fx == StateReduceFx::kCat) continue;
    state.value = at::full_like(state.value, neutral(state.reduce_fx, state.value.scalar_type()));
  }
}

void Metric::end_batch() {
  if (!has_batch_) return;
  for (State& state : states_) {
    if (state.reduce_fx == StateReduceFx::kCat) continue;
    state.value = merged(state.reduce_fx, state.before, state.value);
    state.before = at::Tensor();
  }
  has_batch_ = false;
}

std::vector<MetricState> Metric::states() const {
  const c10::InferenceMode no_inference(false);
  std::vector<MetricState> states;
  for (const State& state : states_) {
    const bool is_copy = state.reduce_fx == StateReduceFx::kCat || has_batch_;
    const at::Tensor value = joined(state, Part::kAll);
    states.push_back({state.name, state.reduce_fx, is_copy ? value : value.clone()});
  }
  return states;
}

void Metric::set_states(const std::vector<MetricState>& states) {
  const std::string fault = fault_of(states);
  LIGHTNING_CHECK(fault.empty(), ConfigError, name(), ": ", fault,
                  ". HINT: give the states() of a metric with the same options.");
  has_batch_ = false;
  for (size_t i = 0; i < states_.size(); ++i) assign(states_[i], states[i].value);
}

void Metric::merge(const std::vector<MetricState>& other) {
  const std::string fault = fault_of(other);
  LIGHTNING_CHECK(fault.empty(), ConfigError, name(), ": ", fault,
                  ". HINT: give the states() of a metric with the same options.");
  const c10::InferenceMode no_inference(false);
  const at::NoGradGuard no_grad;
  end_batch();
  for (size_t i = 0; i < states_.size(); ++i) {
    State& mine = states_[i];
    const at::Tensor theirs = other[i].value.to(mine.value.device());
    if (mine.reduce_fx != StateReduceFx::kCat) {
      mine.value = merged(mine.reduce_fx, mine.value, theirs);
    } else if (theirs.size(0) > 0) {
      mine.chunks.push_back(theirs.clone());
    }
  }
}

StateDict Metric::state_dict() const {
  const c10::InferenceMode no_inference(false);
  const at::NoGradGuard no_grad;
  StateDict dict;
  dict.set("type", std::string(name()));
  // Two sums that are added later aren't bitwise the sum of both: a batch is saved apart.
  for (const State& state : states_) {
    dict.set(state.name, joined(state, has_batch_ ? Part::kBefore : Part::kAll).clone());
  }
  if (!has_batch_) return dict;
  for (const State& state : states_) {
    dict.set(batch_entry(state.name), joined(state, Part::kBatch).clone());
  }
  return dict;
}

void Metric::load_state_dict(const StateDict& dict) {
  const auto& type = dict.get<std::string>("type");
  LIGHTNING_CHECK(type == name(), CheckpointError, name(), ": the checkpoint has the state of \"",
                  type, "\" here, expected \"", name(),
                  "\". HINT: resume with the metrics that the run had.");
  const bool has_batch = dict.contains_nested("batch");
  std::vector<MetricState> loaded, batch;
  for (const State& state : states_) {
    loaded.push_back({state.name, state.reduce_fx, dict.get<at::Tensor>(state.name)});
    if (!has_batch) continue;
    batch.push_back({state.name, state.reduce_fx, dict.get<at::Tensor>(batch_entry(state.name))});
  }
  std::string fault = fault_of(loaded);
  if (fault.empty() && has_batch) fault = fault_of(batch);
  const size_t expected = states_.size() * (has_batch ? 2 : 1) + 1;
  if (dict.entries().size() != expected) {
    fault = detail::concat("there are ", dict.entries().size(), " entries, expected ", expected);
  }
  LIGHTNING_CHECK(fault.empty(), CheckpointError, name(), ": in the checkpoint ", fault,
                  ". HINT: resume with the options that the metric had.");
  has_batch_ = false;
  for (size_t i = 0; i < states_.size(); ++i) assign(states_[i], loaded[i].value);
  if (!has_batch) return;
  begin_batch();
  for (size_t i = 0; i < states_.size(); ++i) {
    const at::Tensor rows = batch[i].value.detach().clone(at::MemoryFormat::Contiguous);
    if (states_[i].reduce_fx != StateReduceFx::kCat) {
      states_[i].value = rows;
    } else if (rows.size(0) > 0) {
      states_[i].chunks.push_back(rows);
    }
  }
}

void Metric::add_state(std::string name, StateReduceFx reduce_fx, at::IntArrayRef shape,
                       at::ScalarType dtype) {
  const c10::InferenceMode no_inference(false);
  std::vector<int64_t> sizes = shape.vec();
  if (reduce_fx == StateReduceFx::kCat) sizes.insert(sizes.begin(), 0);
  states_.push_back({std::move(name),
                     reduce_fx,
                     at::full(sizes, neutral(reduce_fx, dtype), at::TensorOptions(dtype)),
                     {},
                     {},
                     0});
}

size_t Metric::index_of(std::string_view name) const {
  const auto found = std::find_if(states_.begin(), states_.end(),
                                  [&](const State& state) { return state.name == name; });
  LIGHTNING_CHECK(found != states_.end(), ConfigError, this->name(), ": there is no state \"", name,
                  "\", expected one of those declared. HINT: add_state() it in the constructor.");
  return static_cast<size_t>(found - states_.begin());
}

at::Tensor& Metric::state(std::string_view name) { return states_[index_of(name)].value; }

at::Tensor Metric::state(std::string_view name) const {
  return joined(states_[index_of(name)], shown_);
}

void Metric::append(std::string_view name, const at::Tensor& rows) {
  if (rows.size(0) > 0) states_[index_of(name)].chunks.push_back(rows);
}

int64_t Metric::counted(std::string_view name) const { return state(name).item<int64_t>(); }

at::Tensor Metric::joined(const State& state, Part part) const {
  if (state.reduce_fx != StateReduceFx::kCat) {
    if (!has_batch_ || part == Part::kBatch) return state.value;
    if (part == Part::kBefore) return state.before;
    return merged(state.reduce_fx, state.before, state.value);
  }
  const size_t begin = part == Part::kBatch ? state.chunks_before : 0;
  const size_t end = part == Part::kBefore ? state.chunks_before : state.chunks.size();
  // An empty one is copied as well.
  if (begin == end) return state.value.clone();
  return at::cat(at::TensorList(state.chunks).slice(begin, end - begin));
}

void Metric::assign(State& state, const at::Tensor& value) {
  const c10::InferenceMode no_inference(false);
  const at::NoGradGuard no_grad;
  const at::Tensor copy = value.detach().clone(at::MemoryFormat::Contiguous);
  state.before = at::Tensor();
  state.chunks_before = 0;
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
