#include <lightning/optim/parameter_groups.h>

#include <cctype>
#include <string_view>
#include <unordered_set>

#include <torch/nn/module.h>

#include <lightning/util/error.h>
#include <lightning/util/log.h>

namespace lightning::optim {
namespace {

bool is_bias(std::string_view name) { return name == "bias" || name.ends_with("_bias"); }

/// Whether the class name (without namespaces and template arguments) holds the word "Norm"; the
/// word ends where no lower-case letter follows, so that "NormalisedLinear" is none.
bool is_norm(std::string_view type_name) {
  type_name = type_name.substr(0, type_name.find('<'));
  const size_t colon = type_name.rfind(':');
  if (colon != std::string_view::npos) type_name.remove_prefix(colon + 1);
  const size_t at = type_name.find("Norm");
  if (at == std::string_view::npos) return false;
  return at + 4 == type_name.size() ||
         std::islower(static_cast<unsigned char>(type_name[at + 4])) == 0;
}

std::string describe(const ParameterNames& names, const at::Tensor& parameter, size_t group) {
  const std::string* name = names.find(parameter);
  if (name != nullptr) return detail::concat("parameter \"", *name, "\"");
  return detail::concat("a parameter of group ", group, " that isn't the module's");
}

/// Keeps the first of each tensor in the group; `seen` holds the groups of those before.
void keep_first(std::vector<at::Tensor>& parameters, size_t group, const ParameterNames& names,
                std::unordered_map<const c10::TensorImpl*, size_t>& seen) {
  std::vector<at::Tensor> kept;
  for (const at::Tensor& parameter : parameters) {
    const auto [place, is_new] = seen.emplace(parameter.unsafeGetTensorImpl(), group);
    LIGHTNING_CHECK(is_new || place->second == group, ConfigError,
                    "optimizer: ", describe(names, parameter, group), " stands in the groups ",
                    place->second, " and ", group,
                    ", expected it in one. HINT: leave it out of one of the groups.");
    if (is_new) kept.push_back(parameter);
  }
  if (kept.size() != parameters.size()) parameters = std::move(kept);
}

}  // namespace

ParameterNames::ParameterNames(const torch::nn::Module& module) {
  for (const auto& item : module.named_parameters()) {
    names_.emplace(item.value().unsafeGetTensorImpl(), item.key());
  }
}

const std::string* ParameterNames::find(const at::Tensor& parameter) const {
  const auto found = names_.find(parameter.unsafeGetTensorImpl());
  return found == names_.end() ? nullptr : &found->second;
}

ParameterSplit split_for_weight_decay(const torch::nn::Module& module) {
  // Walks children(), since named_modules() throws for a module that isn't in a shared_ptr.
  std::unordered_set<const c10::TensorImpl*> of_norms;
  const auto visit = [&](const torch::nn::Module& part, const auto& self) -> void {
    if (is_norm(part.name())) {
      for (const auto& item : part.named_parameters(/*recurse=*/false)) {
        of_norms.insert(item.value().unsafeGetTensorImpl());
      }
    }
    for (const auto& child : part.children()) self(*child, self);
  };
  visit(module, visit);

  ParameterSplit split;
  std::unordered_set<const c10::TensorImpl*> seen;
  for (const auto& item : module.named_parameters()) {
    const at::Tensor& parameter = item.value();
    if (!parameter.defined() || !parameter.requires_grad()) continue;
    if (!seen.insert(parameter.unsafeGetTensorImpl()).second) continue;
    const std::string_view path = item.key();
    const bool no_decay = is_bias(path.substr(path.rfind('.') + 1)) ||
                          of_norms.contains(parameter.unsafeGetTensorImpl());
    (no_decay ? split.no_decay : split.decay).push_back(parameter);
  }
  return split;
}

void validate_parameters(torch::optim::Optimizer& optimizer, const torch::nn::Module& module) {
  const ParameterNames names(module);
  std::unordered_map<const c10::TensorImpl*, size_t> seen;
  bool any_trainable = false;
  size_t num_foreign = 0;
  auto& groups = optimizer.param_groups();
  for (size_t group = 0; group < groups.size(); ++group) {
    keep_first(groups[group].params(), group, names, seen);
    for (const at::Tensor& parameter : groups[group].params()) {
      any_trainable = any_trainable || parameter.requires_grad();
      num_foreign += names.find(parameter) == nullptr ? 1 : 0;
    }
  }
  LIGHTNING_CHECK(!seen.empty(), ConfigError,
                  "optimizer: it has no parameters, expected at least one. HINT: register the "
                  "layers (register_module) before configure_optimizers() calls parameters().");
  LIGHTNING_CHECK(any_trainable, ConfigError, "optimizer: all of its ", seen.size(),
                  " parameters are frozen, expected one with requires_grad. HINT: unfreeze what "
                  "should be trained.");
  if (num_foreign > 0) {
    log_warning(detail::concat("optimizer: ", num_foreign,
                               " of its parameters aren't parameters of the module: their values "
                               "are not saved in checkpoints. HINT: register_parameter() them."));
  }
}

}  // namespace lightning::optim
