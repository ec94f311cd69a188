#include <lightning/nn/unit.h>

#include <algorithm>
#include <iterator>
#include <string>
#include <string_view>
#include <unordered_set>

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/accumulate_grad.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/variable.h>

#include <lightning/nn/batch_norm.h>
#include <lightning/ops/detail/fast_path.h>
#include <lightning/util/detail/generator_state.h>

namespace lightning {
namespace {

using torch::autograd::variable_list;

/// Autocast as it was when a unit ran forward. Its cache is off: a cast made without gradients, or
/// in the graph inside a unit, is of no use elsewhere.
class AutocastState {
 public:
  static AutocastState capture() {
    AutocastState state;
    for (size_t i = 0; i < kDevices.size(); ++i) {
      state.enabled_[i] = at::autocast::is_autocast_enabled(kDevices[i]);
      state.dtypes_[i] = at::autocast::get_autocast_dtype(kDevices[i]);
    }
    state.cache_ = at::autocast::is_autocast_cache_enabled();
    return state;
  }
  void restore() const {
    for (size_t i = 0; i < kDevices.size(); ++i) {
      at::autocast::set_autocast_enabled(kDevices[i], enabled_[i]);
      at::autocast::set_autocast_dtype(kDevices[i], dtypes_[i]);
    }
    at::autocast::set_autocast_cache_enabled(cache_);
  }
  void without_cache() { cache_ = false; }

 private:
  static constexpr std::array<at::DeviceType, 2> kDevices = {at::kCPU, at::kCUDA};
  std::array<bool, 2> enabled_ = {};
  std::array<at::ScalarType, 2> dtypes_ = {};
  bool cache_ = true;
};

/// Applies a state while it lives.
class WithAutocast {
 public:
  explicit WithAutocast(const AutocastState& state) : before_(AutocastState::capture()) {
    state.restore();
  }
  ~WithAutocast() { before_.restore(); }
  WithAutocast(const WithAutocast&) = delete;
  WithAutocast& operator=(const WithAutocast&) = delete;

 private:
  AutocastState before_;
};

/// Continues the generators where they are now, whatever is drawn while it lives.
class WithGenerators {
 public:
  explicit WithGenerators(const GeneratorState& state) : before_(GeneratorState::capture()) {
    state.restore();
  }
  ~WithGenerators() { before_.restore(); }
  WithGenerators(const WithGenerators&) = delete;
  WithGenerators& operator=(const WithGenerators&) = delete;

 private:
  GeneratorState before_;
};

/// Gives a layer its buffers back: a second forward must not count twice in running statistics.
class KeepBuffers {
 public:
  explicit KeepBuffers(const torch::nn::Module& layer) {
    for (const at::Tensor& buffer : layer.buffers()) {
      if (buffer.defined()) saved_.emplace_back(buffer, buffer.detach().clone());
    }
  }
  ~KeepBuffers() {
    const at::NoGradGuard no_grad;
    for (auto& [buffer, value] : saved_) buffer.copy_(value);
  }
  KeepBuffers(const KeepBuffers&) = delete;
  KeepBuffers& operator=(const KeepBuffers&) = delete;

 private:
  std::vector<std::pair<at::Tensor, at::Tensor>> saved_;
};

bool needs_gradient(const at::Tensor& tensor) { return tensor.defined() && tensor.requires_grad(); }

std::vector<at::Tensor> trainable_parameters(const torch::nn::Module& layer) {
  std::vector<at::Tensor> trainable;
  std::unordered_set<const c10::TensorImpl*> seen;
  for (const at::Tensor& parameter : layer.parameters()) {
    if (needs_gradient(parameter) && seen.insert(parameter.unsafeGetTensorImpl()).second) {
      trainable.push_back(parameter);
    }
  }
  return trainable;
}

std::vector<uint32_t> versions(const std::vector<at::Tensor>& tensors) {
  std::vector<uint32_t> all;
  for (const at::Tensor& tensor : tensors) {
    const bool counts = tensor.defined() && !tensor.is_inference();
    all.push_back(counts ? static_cast<uint32_t>(tensor._version()) : 0);
  }
  return all;
}

[[noreturn]] void refuse_in_place(const torch::nn::Module& layer, std::string_view when) {
  throw ConfigError(detail::concat(
      "Unit: an argument of ", layer.name(), " was changed in place ", when,
      ", expected one that stays as it is until backward. HINT: change a copy: x.clone()."));
}

/// A whole unit in the outer graph. Its edges lead to the arguments and to the trainable
/// parameters, so that whoever walks the graph (c10d::Reducer) finds these, and backward adds their
/// gradients where it adds all others.
class UnitNode final : public torch::autograd::Node {
 public:
  std::string name() const override { return "Unit"; }
  variable_list apply(variable_list&& gradients) override;

  std::shared_ptr<torch::nn::Module> layer;
  std::shared_ptr<UnitHooks> hooks;
  std::vector<at::Tensor> inputs;      // leaves of the graph inside
  std::vector<at::Tensor> outputs;     // of the graph inside; empty when it is computed again
  std::vector<at::Tensor> parameters;  // the trainable ones
  std::vector<uint32_t> input_versions;
  detail::UnitFunction forward;  // set when it is computed again
  GeneratorState generators;
  AutocastState autocast;
  bool is_used = false;

 private:
  variable_list differentiate(const variable_list& gradients);
  void recompute();
  void check_inside(const variable_list& roots, const variable_list& leaves) const;
};

void UnitNode::recompute() {
  if (versions(inputs) != input_versions) refuse_in_place(*layer, "after its forward");
  const at::AutoGradMode with_gradients(true);
  const WithAutocast with_autocast(autocast);
  const WithGenerators with_generators(generators);
  outputs = forward(inputs);
}

/// Gradients of what is neither an argument nor a parameter would be lost.
void UnitNode::check_inside(const variable_list& roots, const variable_list& leaves) const {
  std::unordered_set<const c10::TensorImpl*> known;
  for (const at::Tensor& leaf : leaves) known.insert(leaf.unsafeGetTensorImpl());
  std::unordered_set<const torch::autograd::Node*> seen;
  std::vector<std::shared_ptr<torch::autograd::Node>> queue;
  for (const at::Tensor& root : roots) {
    queue.push_back(torch::autograd::impl::gradient_edge(root).function);
  }
  while (!queue.empty()) {
    const std::shared_ptr<torch::autograd::Node> node = std::move(queue.back());
    queue.pop_back();
    if (node == nullptr || !seen.insert(node.get()).second) continue;
    for (const auto& edge : node->next_edges()) queue.push_back(edge.function);
    const auto* leaf = dynamic_cast<const torch::autograd::AccumulateGrad*>(node.get());
    LIGHTNING_CHECK(leaf == nullptr || known.contains(leaf->variable.unsafeGetTensorImpl()),
                    ConfigError, "Unit: ", layer->name(), " uses a tensor of shape ",
                    leaf == nullptr ? at::IntArrayRef() : leaf->variable.sizes(),
                    " that requires a gradient and is neither a parameter of it nor an argument. "
                    "HINT: register the tensor in the layer, or pass it to the unit.");
  }
}

variable_list UnitNode::differentiate(const variable_list& gradients) {
  variable_list roots, root_gradients, leaves;
  std::vector<size_t> places;
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (!gradients[i].defined() || !needs_gradient(outputs[i])) continue;
    roots.push_back(outputs[i]);
    root_gradients.push_back(gradients[i]);
  }
  const auto add_leaf = [&](const at::Tensor& tensor, size_t place) {
    if (!needs_gradient(tensor)) return;
    leaves.push_back(tensor);
    places.push_back(place);
  };
  for (size_t i = 0; i < inputs.size(); ++i) add_leaf(inputs[i], i);
  for (size_t i = 0; i < parameters.size(); ++i) add_leaf(parameters[i], inputs.size() + i);
  variable_list result(inputs.size() + parameters.size());
  if (roots.empty() || leaves.empty()) return result;
  check_inside(roots, leaves);
  outputs.clear();
  variable_list found = torch::autograd::grad(roots, leaves, root_gradients, /*retain_graph=*/false,
                                              /*create_graph=*/false, /*allow_unused=*/true);
  for (size_t i = 0; i < found.size(); ++i) result[places[i]] = std::move(found[i]);
  return result;
}

variable_list UnitNode::apply(variable_list&& gradients) {
  ops::detail::check_first_derivative("Unit");
  LIGHTNING_CHECK(!is_used, ConfigError, "Unit: backward ran twice through one forward of ",
                  layer->name(),
                  ", expected once. HINT: call the unit again, or add the losses before backward.");
  is_used = true;
  if (hooks != nullptr) hooks->before_backward();
  variable_list result;
  if (forward) {
    // Until the end: the graph inside may have saved buffers.
    const KeepBuffers keep_buffers(*layer);
    recompute();
    result = differentiate(gradients);
  } else {
    result = differentiate(gradients);
  }
  if (hooks != nullptr) {
    const auto first = result.begin() + static_cast<ptrdiff_t>(inputs.size());
    variable_list own(std::make_move_iterator(first), std::make_move_iterator(result.end()));
    hooks->after_backward(parameters, own);
    std::move(own.begin(), own.end(), first);
  }
  outputs.clear();
  inputs.clear();
  forward = nullptr;
  return result;
}

/// Runs forward for a node; fills in what its backward needs.
std::vector<at::Tensor> run_forward(UnitNode& node, bool recomputes, detail::UnitFunction forward) {
  AutocastState autocast = AutocastState::capture();
  autocast.without_cache();
  const WithAutocast without_cache(autocast);
  if (!recomputes) {
    try {
      return node.outputs = forward(node.inputs);
    } catch (const c10::Error& error) {
      // LibTorch's own text speaks of leaves, which the caller has not made.
      const std::string_view text = error.what_without_backtrace();
      if (text.find("is being used in an in-place operation") == std::string_view::npos) throw;
      refuse_in_place(*node.layer, "by its forward");
    }
  }
  const at::NoGradGuard no_grad;
  node.autocast = autocast;
  node.generators = GeneratorState::capture();
  std::vector<at::Tensor> outputs = forward(node.inputs);
  if (versions(node.inputs) != node.input_versions) {
    refuse_in_place(*node.layer, "by its forward");
  }
  node.forward = std::move(forward);
  return outputs;
}

/// The outputs as they are in the outer graph.
std::vector<at::Tensor> attach(const std::vector<at::Tensor>& inner,
                               const std::shared_ptr<UnitNode>& node, bool recomputes) {
  std::vector<at::Tensor> outer;
  for (const at::Tensor& output : inner) {
    at::Tensor tensor = output.defined() ? output.detach() : output;
    // Without a graph it isn't known which outputs have a gradient.
    const bool differentiable =
        output.defined() &&
        (recomputes ? at::isFloatingType(output.scalar_type()) : output.requires_grad());
    torch::autograd::set_history(differentiable ? tensor : at::Tensor(), node);
    outer.push_back(std::move(tensor));
  }
  return outer;
}

bool is_inside(const std::string& name, const std::string& unit) {
  return unit.empty() || name.starts_with(unit + ".");
}

void check_recomputable(const std::string& name, torch::nn::Module& unit) {
  for (const auto& layer : unit.modules(/*include_self=*/true)) {
    const auto* norm = dynamic_cast<const nn::BatchNormImpl*>(layer.get());
    LIGHTNING_CHECK(norm == nullptr || norm->process_group() == nullptr, ConfigError,
                    "Unit: ", name,
                    " recomputes its activations and has a BatchNorm with statistics over several "
                    "ranks, expected one of this rank's. HINT: set trainer.sync_batchnorm to false "
                    "or trainer.activation_checkpointing to none.");
  }
}

}  // namespace

UnitHooks::~UnitHooks() = default;
UnitSlot::~UnitSlot() = default;

void UnitSlot::set_hooks(std::shared_ptr<UnitHooks> hooks) {
  hooks_ = std::move(hooks);
  is_active_ = recomputes_ || hooks_ != nullptr;
}

void UnitSlot::set_recomputes(bool recomputes) {
  recomputes_ = recomputes;
  is_active_ = recomputes_ || hooks_ != nullptr;
}

int64_t recompute_activations(torch::nn::Module& module, int64_t every_nth) {
  LIGHTNING_CHECK(every_nth >= 0, ConfigError, "Unit: every ", every_nth,
                  "-th unit is to recompute, expected 0 or more. HINT: use 1 for all, 0 for none.");
  int64_t units = 0;
  int64_t chosen = 0;
  std::optional<std::string> enclosing;
  for (const auto& layer : module.named_modules("", /*include_self=*/false)) {
    auto* slot = dynamic_cast<UnitSlot*>(layer.value().get());
    if (slot == nullptr) continue;
    const bool counts = !enclosing || !is_inside(layer.key(), *enclosing);
    if (counts) enclosing = layer.key();
    const bool recomputes = counts && every_nth > 0 && units++ % every_nth == 0;
    if (recomputes) check_recomputable(layer.key(), *layer.value());
    slot->set_recomputes(recomputes);
    chosen += recomputes ? 1 : 0;
  }
  return chosen;
}

namespace detail {

std::vector<at::Tensor> call_unit(const std::shared_ptr<torch::nn::Module>& layer,
                                  const UnitSlot& slot, const std::vector<at::Tensor>& inputs,
                                  UnitFunction forward) {
  const std::shared_ptr<UnitHooks> hooks = slot.hooks();
  if (hooks != nullptr) hooks->before_forward();
  std::vector<at::Tensor> parameters;
  if (at::GradMode::is_enabled()) parameters = trainable_parameters(*layer);
  bool has_gradient = !parameters.empty();
  for (const at::Tensor& input : inputs) has_gradient = has_gradient || needs_gradient(input);
  std::vector<at::Tensor> outputs;
  if (!at::GradMode::is_enabled() || !has_gradient) {
    outputs = forward(inputs);
  } else {
    const std::shared_ptr<UnitNode> node(new UnitNode, torch::autograd::deleteNode);
    torch::autograd::edge_list edges;
    for (const at::Tensor& input : inputs) {
      const bool needs = needs_gradient(input);
      edges.push_back(needs ? torch::autograd::impl::gradient_edge(input)
                            : torch::autograd::Edge());
      node->inputs.push_back(input.defined() ? input.detach().set_requires_grad(needs) : input);
    }
    for (const at::Tensor& parameter : parameters) {
      edges.push_back(torch::autograd::impl::gradient_edge(parameter));
    }
    node->set_next_edges(std::move(edges));
    node->layer = layer;
    node->hooks = hooks;
    node->parameters = std::move(parameters);
    node->input_versions = versions(node->inputs);
    const bool recomputes = slot.recomputes();
    outputs = attach(run_forward(*node, recomputes, std::move(forward)), node, recomputes);
  }
  if (hooks != nullptr) hooks->after_forward();
  return outputs;
}

}  // namespace detail
}  // namespace lightning
