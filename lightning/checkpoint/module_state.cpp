#include <lightning/checkpoint/checkpoint.h>

#include <map>
#include <set>
#include <sstream>
#include <string_view>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/nn/module.h>

#include <lightning/checkpoint/detail/tensor_identity.h>
#include <lightning/util/error.h>

namespace lightning {
namespace {

using NamedTensors = Checkpoint::NamedTensors;

/// Pairs the tensors of a module with those of a checkpoint and collects what doesn't fit.
class Loader {
 public:
  Loader(const torch::nn::Module& module, const NamedTensors& tensors);
  void check(bool strict) const;
  void copy() const;
  const IncompatibleKeys& incompatible() const { return incompatible_; }

 private:
  void match(const std::string& name, const at::Tensor& source, const at::Tensor& target);
  void note(const std::string& text) { problems_ += "\n  " + text; }
  void add_copy(const std::string& name, const at::Tensor& source, const at::Tensor& target);

  struct Copy {
    std::string name;
    at::Tensor source;
    at::Tensor target;
  };
  std::map<detail::TensorIdentity, Copy> copies_;
  IncompatibleKeys incompatible_;
  std::string problems_;  // whatever isn't a name that only one side has
};

Loader::Loader(const torch::nn::Module& module, const NamedTensors& tensors) {
  const NamedTensors targets = model_state(module);
  const std::map<std::string, at::Tensor> by_name(targets.begin(), targets.end());
  std::set<std::string_view> given;
  for (const auto& [name, source] : tensors) {
    given.insert(name);
    const auto target = by_name.find(name);
    if (target != by_name.end()) {
      match(name, source, target->second);
    } else {
      incompatible_.unexpected_keys.push_back(name);
    }
  }
  for (const auto& [name, target] : targets) {
    // A tied tensor is there when one of its names is.
    if (given.contains(name) || copies_.contains(detail::TensorIdentity(target))) continue;
    incompatible_.missing_keys.push_back(name);
  }
}

void Loader::match(const std::string& name, const at::Tensor& source, const at::Tensor& target) {
  if (!source.defined()) {
    note("missing: \"" + name + "\" is undefined in the checkpoint");
  } else if (source.sizes() != target.sizes()) {
    std::ostringstream text;
    text << "shape: \"" << name << "\" is " << source.sizes() << " in the checkpoint but "
         << target.sizes() << " in the model";
    note(text.str());
  } else if (!c10::canCast(source.scalar_type(), target.scalar_type())) {
    note(detail::concat("type: \"", name, "\" is ", source.scalar_type(), " in the checkpoint but ",
                        target.scalar_type(), " in the model"));
  } else {
    add_copy(name, source, target);
  }
}

void Loader::add_copy(const std::string& name, const at::Tensor& source, const at::Tensor& target) {
  const auto [entry, inserted] = copies_.try_emplace(
      detail::TensorIdentity(target), Copy{.name = name, .source = source, .target = target});
  if (inserted) return;
  const at::Tensor& other = entry->second.source;
  if (detail::TensorIdentity(other) == detail::TensorIdentity(source)) return;
  if (!at::equal(other.to(at::kCPU), source.to(at::kCPU, other.scalar_type()))) {
    note("tied: \"" + entry->second.name + "\" and \"" + name +
         "\" are one tensor in the model but differ in the checkpoint");
  }
}

void Loader::check(bool strict) const {
  std::string problems = problems_;
  if (strict) {
    for (const std::string& name : incompatible_.missing_keys) {
      problems += "\n  missing: \"" + name + "\" isn't in the checkpoint";
    }
    for (const std::string& name : incompatible_.unexpected_keys) {
      problems += "\n  unexpected: \"" + name + "\" isn't in the model";
    }
  }
  LIGHTNING_CHECK(problems.empty(), CheckpointError,
                  "model: the checkpoint doesn't fit it:", problems,
                  "\nHINT: build the model with the options of the checkpoint.");
}

void Loader::copy() const {
  const at::NoGradGuard no_grad;
  for (const auto& [identity, entry] : copies_) entry.target.copy_(entry.source);
}

}  // namespace

NamedTensors model_state(const torch::nn::Module& module) {
  NamedTensors tensors;
  for (const auto& item : module.named_parameters()) {
    if (item.value().defined()) tensors.emplace_back(item.key(), item.value());
  }
  for (const auto& item : module.named_buffers()) {
    if (item.value().defined()) tensors.emplace_back(item.key(), item.value());
  }
  return tensors;
}

IncompatibleKeys load_model_state(torch::nn::Module& module, const NamedTensors& tensors,
                                  bool strict) {
  const Loader loader(module, tensors);
  loader.check(strict);
  loader.copy();
  return loader.incompatible();
}

}  // namespace lightning
