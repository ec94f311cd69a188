#include <lightning/callbacks/detail/weight_copy.h>

#include <utility>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/nn/module.h>

#include <lightning/util/error.h>

namespace lightning::detail {

void WeightCopy::attach(const torch::nn::Module& module, CopiedWeights what, bool average_buffers) {
  names_.clear();
  weights_.clear();
  averaged_.clear();
  index_.clear();
  for (const auto& item : module.named_parameters()) add(item.key(), item.value(), true);
  if (what == CopiedWeights::kParametersAndBuffers) {
    for (const auto& item : module.named_buffers()) {
      add(item.key(), item.value(), average_buffers);
    }
  }
  if (!exists()) return;
  LIGHTNING_CHECK(copies_.size() == weights_.size(), ConfigError, "LightningModule: it had ",
                  copies_.size(), " weights when they were copied and ", "has ", weights_.size(),
                  " now, expected as many. HINT: make all layers in the constructor or in "
                  "configure_model().");
  for (size_t i = 0; i < copies_.size(); ++i) copies_[i] = copies_[i].to(weights_[i].device());
  list_pairs();
}

void WeightCopy::add(const std::string& name, const at::Tensor& tensor, bool averaged) {
  if (!tensor.defined()) return;
  if (!index_.try_emplace(TensorIdentity(tensor), weights_.size()).second) return;
  names_.push_back(name);
  weights_.push_back(tensor);
  averaged_.push_back(averaged && (tensor.is_floating_point() || tensor.is_complex()));
}

void WeightCopy::drop() {
  copies_.clear();
  to_average_ = {};
  to_copy_ = {};
  lerp_weights_.clear();
}

void WeightCopy::allocate() {
  if (exists()) return;
  const at::NoGradGuard no_grad;
  for (const at::Tensor& weight : weights_) copies_.push_back(at::empty_like(weight));
  list_pairs();
}

void WeightCopy::list_pairs() {
  to_average_ = {};
  to_copy_ = {};
  for (size_t i = 0; i < copies_.size(); ++i) {
    Pairs& pairs = averaged_[i] ? to_average_ : to_copy_;
    pairs.copies.push_back(copies_[i]);
    pairs.weights.push_back(weights_[i]);
  }
}

void WeightCopy::copy_from_module() {
  allocate();
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < copies_.size(); ++i) copies_[i].copy_(weights_[i]);
}

void WeightCopy::copy_to_module() const {
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < copies_.size(); ++i) weights_[i].copy_(copies_[i]);
}

void WeightCopy::exchange_with_module() {
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < copies_.size(); ++i) {
    const at::Tensor before = weights_[i].clone();
    weights_[i].copy_(copies_[i]);
    copies_[i].copy_(before);
  }
}

void WeightCopy::lerp(double weight) {
  const at::NoGradGuard no_grad;
  if (!to_average_.copies.empty()) {
    at::_foreach_lerp_(to_average_.copies, to_average_.weights, weight);
  }
  take_the_rest();
}

void WeightCopy::lerp(const at::Tensor& weight) {
  const at::NoGradGuard no_grad;
  lerp_weights_.clear();
  for (const at::Tensor& copy : to_average_.copies) {
    const at::Tensor* last = lerp_weights_.empty() ? nullptr : &lerp_weights_.back();
    const bool same = last != nullptr && last->scalar_type() == copy.scalar_type() &&
                      last->device() == copy.device();
    lerp_weights_.push_back(same ? *last : weight.to(copy.options()).reshape({}));
  }
  if (!to_average_.copies.empty()) {
    at::_foreach_lerp_(to_average_.copies, to_average_.weights, lerp_weights_);
  }
  take_the_rest();
}

void WeightCopy::take_the_rest() {
  if (!to_copy_.copies.empty()) at::_foreach_copy_(to_copy_.copies, to_copy_.weights);
}

std::optional<size_t> WeightCopy::find(const at::Tensor& of_module) const {
  const auto found = index_.find(TensorIdentity(of_module));
  return found == index_.end() ? std::nullopt : std::optional(found->second);
}

StateDict WeightCopy::state_dict() const {
  StateDict state;
  for (size_t i = 0; i < copies_.size(); ++i) state.set(names_[i], copies_[i]);
  return state;
}

void WeightCopy::load_state_dict(const StateDict& state, std::string_view owner) {
  std::vector<at::Tensor> loaded;
  for (size_t i = 0; i < weights_.size(); ++i) {
    const at::Tensor& weight = weights_[i];
    const auto& tensor = state.get<at::Tensor>(names_[i]);
    LIGHTNING_CHECK(tensor.defined() && tensor.sizes() == weight.sizes() &&
                        tensor.scalar_type() == weight.scalar_type(),
                    CheckpointError, owner, ": the average of ", names_[i], " is ",
                    tensor.defined() ? concat(tensor.scalar_type(), " ", tensor.sizes())
                                     : std::string("undefined"),
                    " in the checkpoint, expected ", weight.scalar_type(), " ", weight.sizes(),
                    " as in the model. HINT: build the model with the options of the checkpoint.");
    loaded.push_back(tensor);
  }
  LIGHTNING_CHECK(state.entries().size() == loaded.size(), CheckpointError, owner,
                  ": the checkpoint has averages of ", state.entries().size(),
                  " weights and the model has ", loaded.size(),
                  ", expected as many. HINT: build the model with the options of the checkpoint.");
  allocate();
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < copies_.size(); ++i) copies_[i].copy_(loaded[i]);
}

}  // namespace lightning::detail
