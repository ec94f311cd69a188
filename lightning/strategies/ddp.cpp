#include <lightning/strategies/ddp.h>

#include <algorithm>
#include <sstream>
#include <string_view>
#include <unordered_set>
#include <utility>

#include <ATen/core/grad_mode.h>
#include <torch/nn/modules/embedding.h>
#include <torch/csrc/distributed/c10d/comm.hpp>

#include <lightning/collectives/process_group.h>
#include <lightning/config/options.h>
#include <lightning/distributed/world.h>
#include <lightning/nn/batch_norm.h>
#include <lightning/strategies/detail/gradient_reducer.h>
#include <lightning/strategies/detail/replica_check.h>
#include <lightning/util/error.h>

namespace lightning {
namespace {

using TensorSet = std::unordered_set<const c10::TensorImpl*>;

/// "[2, 3] Float, trainable".
std::string describe(const at::Tensor& tensor) {
  std::string text = detail::concat(tensor.sizes(), " ", at::toString(tensor.scalar_type()));
  // Gradients have the layout of their parameters.
  if (!tensor.is_contiguous()) text += detail::concat(" with strides ", tensor.strides());
  return text + (tensor.requires_grad() ? ", trainable" : "");
}

/// Calls `visit(name, module)` for the module itself, which needs no shared_ptr, and all below it.
template <typename Visit>
void for_each_module(torch::nn::Module& module, const Visit& visit) {
  visit("", module);
  for (const auto& layer : module.named_modules("", /*include_self=*/false)) {
    visit(layer.key(), *layer.value());
  }
}

/// The buffers that ranks keep equal by themselves.
TensorSet synchronized_buffers(torch::nn::Module& module) {
  TensorSet buffers;
  for_each_module(module, [&](const std::string&, const torch::nn::Module& layer) {
    const auto* norm = dynamic_cast<const nn::BatchNormImpl*>(&layer);
    if (norm == nullptr || norm->process_group() == nullptr) return;
    for (const at::Tensor& buffer : norm->buffers(/*recurse=*/false)) {
      buffers.insert(buffer.unsafeGetTensorImpl());
    }
  });
  return buffers;
}

void reject_sparse_gradients(torch::nn::Module& module) {
  for_each_module(module, [](const std::string& name, const torch::nn::Module& layer) {
    const auto* embedding = dynamic_cast<const torch::nn::EmbeddingImpl*>(&layer);
    const auto* bag = dynamic_cast<const torch::nn::EmbeddingBagImpl*>(&layer);
    const bool sparse = (embedding != nullptr && embedding->options.sparse()) ||
                        (bag != nullptr && bag->options.sparse());
    LIGHTNING_CHECK(!sparse, ConfigError, "DDPStrategy: the embedding ", name,
                    " has sparse gradients, expected dense ones. HINT: leave sparse(true) out of "
                    "its options.");
  });
}

std::vector<at::Tensor> tensors_of(
    const std::vector<std::pair<std::string, at::Tensor>>& parameters) {
  std::vector<at::Tensor> tensors;
  for (const auto& parameter : parameters) tensors.push_back(parameter.second);
  return tensors;
}

}  // namespace

DDPStrategy::DDPStrategy(StrategyContext context, const DDPOptions& options)
    : Strategy(std::move(context)), options_(options) {
  LIGHTNING_CHECK(options.bucket_cap_mb > 0.0, ConfigError, "DDPStrategy: bucket_cap_mb is ",
                  options.bucket_cap_mb, ", expected a size above 0.");
}

DDPStrategy::~DDPStrategy() = default;

void DDPStrategy::do_setup(torch::nn::Module& module) {
  reducers_.clear();
  module.to(root_device());
  if (world_size() == 1) return;
  reject_sparse_gradients(module);
  list_tensors(module);
  broadcast_coalesced(tensors_of(parameters_));
  // All of them: those that ranks keep equal are to begin equal.
  std::vector<at::Tensor> buffers;
  for (const at::Tensor& buffer : module.buffers()) {
    if (buffer.defined()) buffers.push_back(buffer);
  }
  broadcast_coalesced(buffers);
}

int64_t DDPStrategy::bucket_bytes() const {
  int64_t bytes = 0;
  for (const Reducer& one : reducers_) bytes += one.reducer->bucket_bytes();
  return bytes;
}

void DDPStrategy::do_teardown() { reducers_.clear(); }

void DDPStrategy::list_tensors(torch::nn::Module& module) {
  parameters_.clear();
  buffers_.clear();
  std::ostringstream description;
  for (const auto& [key, value] : config::to_node(options_).entries()) {
    description << "option " << key << '\t' << value.text() << '\n';
  }
  TensorSet seen;
  for (const auto& parameter : module.named_parameters()) {
    const at::Tensor& tensor = parameter.value();
    if (!tensor.defined() || !seen.insert(tensor.unsafeGetTensorImpl()).second) continue;
    parameters_.emplace_back(parameter.key(), tensor);
    description << "parameter " << parameter.key() << '\t' << describe(tensor) << '\n';
  }
  TensorSet skipped = synchronized_buffers(module);
  for (const auto& buffer : module.named_buffers()) {
    const at::Tensor& tensor = buffer.value();
    if (!tensor.defined()) continue;
    description << "buffer " << buffer.key() << '\t' << describe(tensor) << '\n';
    if (skipped.insert(tensor.unsafeGetTensorImpl()).second) buffers_.push_back(tensor);
  }
  detail::check_equal_on_ranks(world()->control(), description.str());
  compared_ = trainable();
}

void DDPStrategy::broadcast_coalesced(const std::vector<at::Tensor>& tensors) {
  if (tensors.empty()) return;
  static constexpr size_t kBytesAtOnce = 250 << 20;
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> detached;
  detached.reserve(tensors.size());
  for (const at::Tensor& tensor : tensors) detached.push_back(tensor.detach());
  c10d::broadcast_coalesced(world()->group().c10d(), detached, kBytesAtOnce, /*rank=*/0);
}

std::vector<bool> DDPStrategy::trainable() const {
  std::vector<bool> flags;
  for (const auto& parameter : parameters_) flags.push_back(parameter.second.requires_grad());
  return flags;
}

void DDPStrategy::do_begin_window(torch::nn::Module& module) {
  if (world_size() == 1) return;
  if (reducers_.empty()) list_tensors(module);
  do_synchronize_buffers();
}

// Made by the last backward of a window: only then it is known what is trainable in it, and a
// static graph is learnt from the first backward that a reducer sees, which must be the only one of
// its window.
detail::GradientReducer& DDPStrategy::present_reducer() {
  const std::vector<bool> now = trainable();
  const auto known = std::find_if(reducers_.begin(), reducers_.end(),
                                  [&](const Reducer& one) { return one.trainable == now; });
  if (known != reducers_.end()) return *known->reducer;
  std::ostringstream description;
  std::vector<std::pair<std::string, at::Tensor>> parameters;
  for (const auto& parameter : parameters_) {
    description << "parameter " << parameter.first << '\t' << describe(parameter.second) << '\n';
    if (parameter.second.requires_grad()) parameters.push_back(parameter);
  }
  if (now != compared_) {
    detail::check_equal_on_ranks(world()->control(), description.str());
  }
  // Each has buckets of its own. Sets that unfreezing layers leaves behind don't come back.
  static constexpr size_t kMostReducers = 8;
  if (reducers_.size() == kMostReducers) reducers_.erase(reducers_.begin());
  reducers_.push_back({now, std::make_unique<detail::GradientReducer>(
                                parameters, root_device(), world()->group().c10d(), options_)});
  return *reducers_.back().reducer;
}

void DDPStrategy::drop_present_reducer() {
  std::erase_if(reducers_,
                [now = trainable()](const Reducer& one) { return one.trainable == now; });
}

void DDPStrategy::do_backward(const RunBackward& run_backward, const at::Tensor& loss,
                              bool last_in_window, AccumulationWindow& window) {
  if (last_in_window && world_size() > 1) {
    detail::GradientReducer& reducer = present_reducer();
    reducer.backward(run_backward, loss, window);
    if (!reducer.knows_graph()) drop_present_reducer();
  } else if (loss.defined()) {
    run_backward(loss);
  }
}

void DDPStrategy::do_synchronize_buffers() {
  if (options_.broadcast_buffers) broadcast_coalesced(buffers_);
}

}  // namespace lightning
