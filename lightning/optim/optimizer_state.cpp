#include <lightning/optim/optimizer_state.h>

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <typeinfo>
#include <utility>
#include <vector>

#include <ATen/ATen.h>

#include <lightning/optim/detail/optimizer_members.h>
#include <lightning/optim/optimizers.h>
#include <lightning/util/error.h>

namespace lightning::optim {
namespace {

namespace to = torch::optim;
using States = ska::flat_hash_map<void*, std::unique_ptr<to::OptimizerParamState>>;

// ---- members to and from entries

void save_member(StateDict& out, const std::string& name, const at::Tensor& value) {
  if (value.defined()) out.set(name, value);
}

template <typename T>
requires std::is_arithmetic_v<T>
void save_member(StateDict& out, const std::string& name, T value) {
  out.set(name, StateDict::Value(value));
}

/// Where an entry is loaded to, for messages and for the tensors' device and layout.
struct Target {
  std::string path;
  const at::Tensor* parameter = nullptr;
};

const StateDict::Value* find_entry(const StateDict& in, std::string_view name) {
  for (const auto& [key, value] : in.entries()) {
    if (key == name) return &value;
  }
  return nullptr;
}

template <typename T>
requires std::is_arithmetic_v<T>
void load_member(const StateDict& in, const std::string& name, T& value, const Target& /*target*/) {
  value = in.get<T>(name);
}

/// A step count is a number in LibTorch's optimizers and a tensor in the fused ones.
void load_member(const StateDict& in, const std::string& name, int64_t& value,
                 const Target& /*target*/) {
  const StateDict::Value* entry = find_entry(in, name);
  const auto* tensor = entry == nullptr ? nullptr : std::get_if<at::Tensor>(entry);
  value = tensor != nullptr && tensor->numel() == 1 ? static_cast<int64_t>(tensor->item<double>())
                                                    : in.get<int64_t>(name);
}

void load_step(const StateDict::Value& entry, at::Tensor& value, const Target& target) {
  const auto options = at::TensorOptions().dtype(at::kFloat).device(target.parameter->device());
  if (const auto* number = std::get_if<int64_t>(&entry)) {
    value = at::full({}, static_cast<double>(*number), options);
    return;
  }
  const auto* tensor = std::get_if<at::Tensor>(&entry);
  LIGHTNING_CHECK(tensor != nullptr && tensor->numel() == 1, CheckpointError, "optimizer: \"",
                  target.path,
                  "/step\" in the checkpoint isn't a number, expected one. HINT: the checkpoint is "
                  "damaged; use a different one.");
  value = at::zeros({}, options).copy_(tensor->reshape({}));
}

void load_member(const StateDict& in, const std::string& name, at::Tensor& value,
                 const Target& target) {
  value = at::Tensor();
  const StateDict::Value* entry = find_entry(in, name);
  if (entry == nullptr) return;
  if (name == "step") {
    load_step(*entry, value, target);
    return;
  }
  const auto& saved = in.get<at::Tensor>(name);
  LIGHTNING_CHECK(saved.sizes() == target.parameter->sizes(), CheckpointError, "optimizer: \"",
                  target.path, "/", name, "\" is ", saved.sizes(),
                  " in the checkpoint, but the parameter is ", target.parameter->sizes(),
                  ". HINT: build the model with the options that it was saved with.");
  value = at::empty_like(*target.parameter, at::TensorOptions().requires_grad(false));
  value.copy_(saved);
}

// ---- the types of optimizers

using NewState = std::unique_ptr<to::OptimizerParamState>;

/// How to save and load one type of optimizer.
struct Kind {
  const std::type_info* type;
  const char* name;
  void (*save_options)(const to::OptimizerOptions&, StateDict&);
  void (*load_options)(const StateDict&, to::OptimizerOptions&);
  void (*save_state)(const to::OptimizerParamState&, StateDict&);
  NewState (*load_state)(const StateDict&, const Target&);
};

template <typename T>
void save_members(const T& object, StateDict& out) {
  visit_members(const_cast<T&>(object),  // the visit only reads
                [&](const char* name, const auto& member) { save_member(out, name, member); });
}

template <typename T>
void load_members(const StateDict& in, T& object, const Target& target) {
  visit_members(object,
                [&](const char* name, auto& member) { load_member(in, name, member, target); });
}

template <typename Optimizer, typename Options, typename State>
Kind kind(const char* name) {
  return {&typeid(Optimizer),
          name,
          [](const to::OptimizerOptions& options, StateDict& out) {
            save_members(static_cast<const Options&>(options), out);
          },
          [](const StateDict& in, to::OptimizerOptions& options) {
            load_members(in, static_cast<Options&>(options), {});
          },
          [](const to::OptimizerParamState& state, StateDict& out) {
            save_members(static_cast<const State&>(state), out);
          },
          [](const StateDict& in, const Target& target) -> NewState {
            auto state = std::make_unique<State>();
            load_members(in, *state, target);
            return state;
          }};
}

const Kind* find_kind(const to::Optimizer& optimizer) {
  static const std::array<Kind, 9> kinds = {
      kind<Adadelta, AdadeltaOptions, AdadeltaState>("Adadelta"),
      kind<Adam, to::AdamOptions, AdamState>("Adam"),
      kind<AdamW, to::AdamWOptions, AdamState>("AdamW"),
      kind<SGD, to::SGDOptions, to::SGDParamState>("SGD"),
      kind<to::Adam, to::AdamOptions, to::AdamParamState>("Adam"),
      kind<to::AdamW, to::AdamWOptions, to::AdamWParamState>("AdamW"),
      kind<to::SGD, to::SGDOptions, to::SGDParamState>("SGD"),
      kind<to::RMSprop, to::RMSpropOptions, to::RMSpropParamState>("RMSprop"),
      kind<to::Adagrad, to::AdagradOptions, to::AdagradParamState>("Adagrad"),
  };
  for (const Kind& candidate : kinds) {
    if (*candidate.type == typeid(optimizer)) return &candidate;
  }
  return nullptr;
}

/// The name of a parameter; one that isn't the module's is named by its place.
std::string name_of(const ParameterNames& names, const at::Tensor& parameter, size_t group,
                    size_t index) {
  const std::string* name = names.find(parameter);
  return name != nullptr ? *name : detail::concat("(group ", group, " parameter ", index, ")");
}

/// Names of the group's parameters, a repeated (tied) one once.
std::vector<std::string> group_names(const to::Optimizer& optimizer, size_t group,
                                     const ParameterNames& names) {
  std::vector<std::string> result;
  std::set<const c10::TensorImpl*> seen;
  const auto& parameters = optimizer.param_groups()[group].params();
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (seen.insert(parameters[i].unsafeGetTensorImpl()).second) {
      result.push_back(name_of(names, parameters[i], group, i));
    }
  }
  return result;
}

std::string group_key(size_t group) { return detail::concat("groups/", group); }

void check_group(const StateDict& saved, const std::vector<std::string>& present, size_t group) {
  const auto& list = saved.get<std::vector<std::string>>("parameters");
  const std::set<std::string> in_file(list.begin(), list.end());
  for (const std::string& name : present) {
    LIGHTNING_CHECK(in_file.contains(name), CheckpointError, "optimizer: parameter \"", name,
                    "\" of group ", group,
                    " is not in that group of the checkpoint. HINT: build "
                    "the model and its optimizer with the options that they were saved with.");
  }
  const std::set<std::string> in_optimizer(present.begin(), present.end());
  for (const std::string& name : list) {
    LIGHTNING_CHECK(in_optimizer.contains(name), CheckpointError, "optimizer: parameter \"", name,
                    "\" of group ", group,
                    " in the checkpoint is not in that group of the "
                    "optimizer. HINT: build the model and its optimizer with the options that they "
                    "were saved with.");
  }
}

void check_layout(const to::Optimizer& optimizer, const Kind& kind, const StateDict& state,
                  const ParameterNames& names) {
  const auto& type = state.get<std::string>("type");
  LIGHTNING_CHECK(type == kind.name, CheckpointError, "optimizer: the checkpoint has the state of ",
                  type, ", but the optimizer is ", kind.name,
                  ". HINT: use the optimizer that it was saved with, or start a new run from its "
                  "weights with load_from_checkpoint().");
  const size_t num_groups = state.nested("groups").top_level_names().size();
  LIGHTNING_CHECK(num_groups == optimizer.param_groups().size(), CheckpointError,
                  "optimizer: the checkpoint has ", num_groups,
                  " parameter groups, but the optimizer has ", optimizer.param_groups().size(),
                  ". HINT: build the optimizer with the groups that it was saved with.");
  for (size_t group = 0; group < num_groups; ++group) {
    check_group(state.nested(group_key(group)), group_names(optimizer, group, names), group);
  }
}

/// The entries of each parameter, in one pass over all of them. The last part of a key is the
/// member, the rest the parameter's name (which may contain slashes).
std::map<std::string, StateDict> entries_by_parameter(const StateDict& states) {
  std::map<std::string, StateDict> result;
  for (const auto& [key, value] : states.entries()) {
    const size_t slash = key.rfind('/');
    result[key.substr(0, slash)].set(key.substr(slash + 1), value);
  }
  return result;
}

/// Nothing for options that have no learning rate.
std::optional<double> rate_of(const to::OptimizerOptions& options) {
  try {
    return options.get_lr();
  } catch (const c10::Error&) {
    return std::nullopt;  // the class doesn't say
  }
}

/// What the settings need and the state lacks begins at zero, as in a new run: it was saved without
/// amsgrad, momentum or centered. LibTorch's steps take it for granted; the fused ones don't.
void complete_state(to::OptimizerParamState& state, const to::OptimizerOptions& settings,
                    const at::Tensor& parameter) {
  const auto completed = [&](const at::Tensor& present, bool needed) {
    return needed && !present.defined() ? at::zeros_like(parameter) : present;
  };
  if (auto* adam = dynamic_cast<to::AdamParamState*>(&state)) {
    const auto& options = static_cast<const to::AdamOptions&>(settings);
    adam->max_exp_avg_sq(completed(adam->max_exp_avg_sq(), options.amsgrad()));
  } else if (auto* adamw = dynamic_cast<to::AdamWParamState*>(&state)) {
    const auto& options = static_cast<const to::AdamWOptions&>(settings);
    adamw->max_exp_avg_sq(completed(adamw->max_exp_avg_sq(), options.amsgrad()));
  } else if (auto* rmsprop = dynamic_cast<to::RMSpropParamState*>(&state)) {
    const auto& options = static_cast<const to::RMSpropOptions&>(settings);
    rmsprop->momentum_buffer(completed(rmsprop->momentum_buffer(), options.momentum() > 0.0));
    rmsprop->grad_avg(completed(rmsprop->grad_avg(), options.centered()));
  }
}

void complete_states(to::Optimizer& optimizer) {
  for (auto& group : optimizer.param_groups()) {
    for (const at::Tensor& parameter : group.params()) {
      const auto found = optimizer.state().find(parameter.unsafeGetTensorImpl());
      if (found != optimizer.state().end()) {
        complete_state(*found->second, group.options(), parameter);
      }
    }
  }
}

void load_state(to::Optimizer& optimizer, const StateDict& state, const ParameterNames& names) {
  if (auto* own = dynamic_cast<StatefulOptimizer*>(&optimizer)) {
    own->load_state_dict(state, names);
    return;
  }
  require_supported(optimizer);
  const Kind& kind = *find_kind(optimizer);
  check_layout(optimizer, kind, state, names);

  // All that can fail comes before the optimizer is touched.
  at::NoGradGuard no_grad;
  States loaded;
  const auto saved = entries_by_parameter(state.nested("state"));
  auto& groups = optimizer.param_groups();
  for (size_t group = 0; group < groups.size(); ++group) {
    kind.load_options(state.nested(group_key(group)), *groups[group].options().clone());
    const auto& parameters = groups[group].params();
    for (size_t i = 0; i < parameters.size(); ++i) {
      const std::string name = name_of(names, parameters[i], group, i);
      const auto found = saved.find(name);
      if (found == saved.end()) continue;
      loaded[parameters[i].unsafeGetTensorImpl()] =
          kind.load_state(found->second, {"state/" + name, &parameters[i]});
    }
  }
  for (size_t group = 0; group < groups.size(); ++group) {
    kind.load_options(state.nested(group_key(group)), groups[group].options());
  }
  optimizer.state() = std::move(loaded);
  if (auto* fused = dynamic_cast<FusedOptimizer*>(&optimizer)) fused->state_changed();
}

}  // namespace

StatefulOptimizer::~StatefulOptimizer() = default;

void require_supported(const to::Optimizer& optimizer) {
  if (dynamic_cast<const StatefulOptimizer*>(&optimizer) != nullptr) return;
  LIGHTNING_CHECK(
      find_kind(optimizer) != nullptr, ConfigError, "optimizer: the state of a ",
      c10::demangle(typeid(optimizer).name()),
      " can't be saved, expected one of lightning::optim's Adadelta, Adam, AdamW, SGD or "
      "torch::optim's SGD, Adam, AdamW, RMSprop, Adagrad. HINT: let your optimizer also "
      "derive from lightning::optim::StatefulOptimizer.");
}

std::string optimizer_name(const to::Optimizer& optimizer) {
  const Kind* kind = find_kind(optimizer);
  return kind != nullptr ? kind->name : "Optimizer";
}

StateDict optimizer_state(const to::Optimizer& optimizer, const ParameterNames& names) {
  if (const auto* own = dynamic_cast<const StatefulOptimizer*>(&optimizer)) {
    return own->state_dict(names);
  }
  require_supported(optimizer);
  const Kind& kind = *find_kind(optimizer);
  StateDict result;
  result.set("type", kind.name);
  std::set<const c10::TensorImpl*> seen;
  const auto& groups = optimizer.param_groups();
  for (size_t group = 0; group < groups.size(); ++group) {
    StateDict entry;
    entry.set("parameters", group_names(optimizer, group, names));
    kind.save_options(groups[group].options(), entry);
    result.set(group_key(group), entry);
    const auto& parameters = groups[group].params();
    for (size_t i = 0; i < parameters.size(); ++i) {
      c10::TensorImpl* const key = parameters[i].unsafeGetTensorImpl();
      const auto found = optimizer.state().find(key);
      if (found == optimizer.state().end() || !seen.insert(key).second) continue;
      StateDict members;
      kind.save_state(*found->second, members);
      result.set("state/" + name_of(names, parameters[i], group, i), members);
    }
  }
  return result;
}

StateDict group_options(const to::Optimizer& optimizer) {
  const bool has_own_state = dynamic_cast<const StatefulOptimizer*>(&optimizer) != nullptr;
  const Kind* kind = has_own_state ? nullptr : find_kind(optimizer);
  StateDict result;
  const auto& groups = optimizer.param_groups();
  for (size_t group = 0; group < groups.size(); ++group) {
    StateDict entry;
    if (kind != nullptr) {
      kind->save_options(groups[group].options(), entry);
    } else if (const auto rate = rate_of(groups[group].options())) {
      entry.set("lr", *rate);
    }
    result.set(group_key(group), entry);
  }
  return result;
}

void load_optimizer_state(to::Optimizer& optimizer, const StateDict& state,
                          const ParameterNames& names, bool keep_options) {
  if (!keep_options) return load_state(optimizer, state, names);
  std::vector<std::unique_ptr<to::OptimizerOptions>> kept;
  for (const auto& group : optimizer.param_groups()) kept.push_back(group.options().clone());
  load_state(optimizer, state, names);
  for (size_t group = 0; group < kept.size(); ++group) {
    optimizer.param_groups()[group].set_options(std::move(kept[group]));
  }
  complete_states(optimizer);
  if (auto* fused = dynamic_cast<FusedOptimizer*>(&optimizer)) fused->state_changed();
}

}  // namespace lightning::optim
