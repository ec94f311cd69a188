#include <lightning/strategies/detail/gradient_reducer.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <numeric>
#include <unordered_set>

#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/variable.h>
#include <torch/csrc/distributed/c10d/reducer.hpp>

#include <lightning/util/error.h>

namespace lightning::detail {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using Nodes = std::unordered_set<const torch::autograd::Node*>;

enum Totals { kWeight, kHasData, kIsWeighted, kHasLastLoss, kNumTotals };

/// The loss as it is; its backward also gives `own` as the gradient of the parameter `totals`.
class AttachTotals : public torch::autograd::Function<AttachTotals> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& loss,
                            const at::Tensor& /*totals*/, const at::Tensor& own) {
    context->saved_data["own"] = own;
    return loss.clone();
  }
  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    return {grads[0], context->saved_data["own"].toTensor(), at::Tensor()};
  }
};

/// A root whose backward gives `own` as the gradient of the first parameter and no gradient to the
/// others: all the reducer needs is that backward comes by.
class TouchParameters : public torch::autograd::Function<TouchParameters> {
 public:
  static at::Tensor forward(AutogradContext* context, at::TensorList parameters,
                            const at::Tensor& own) {
    context->saved_data["own"] = own;
    context->saved_data["count"] = static_cast<int64_t>(parameters.size());
    return at::zeros({}, own.options());
  }
  static variable_list backward(AutogradContext* context, const variable_list& /*grads*/) {
    variable_list result(static_cast<size_t>(context->saved_data["count"].toInt()) + 1);
    result.front() = context->saved_data["own"].toTensor();
    return result;
  }
};

/// Sends buckets as 16-bit numbers, except for those of the totals' dtype.
class CompressHook : public c10d::CppCommHookInterface<c10::intrusive_ptr<c10d::ProcessGroup>> {
 public:
  CompressHook(const c10::intrusive_ptr<c10d::ProcessGroup>& group, at::ScalarType compressed,
               at::ScalarType left_alone)
      : CppCommHookInterface(group), compressed_(compressed), left_alone_(left_alone) {}

  c10::intrusive_ptr<c10::ivalue::Future> runHook(c10d::GradBucket& bucket) override {
    const at::NoGradGuard no_grad;
    const at::Tensor& buffer = bucket.getBuffer();
    dtypes_.push_back(buffer.scalar_type());
    at::Tensor sent = buffer;
    if (buffer.scalar_type() != left_alone_) {
      sent = at::empty(buffer.sizes(), buffer.options().dtype(compressed_));
    }
    // Before the conversion: the sum over ranks is out of a 16-bit number's range sooner.
    const double share = 1.0 / static_cast<double>(state_->getSize());
    at::mul_out(sent, buffer, at::scalar_tensor(share, at::kDouble));
    std::vector<at::Tensor> tensors = {sent};
    return state_->allreduce(tensors)->getFuture();
  }

  // Not where the future completes: that is a thread of the process group's.
  at::Tensor parseHookResult(const c10::IValue& result) override {
    const at::ScalarType dtype = dtypes_.front();
    dtypes_.pop_front();
    return c10d::detail::parseCppCommHookResult(result).to(dtype);
  }

 private:
  at::ScalarType compressed_;
  at::ScalarType left_alone_;
  std::deque<at::ScalarType> dtypes_;  // of the buckets in flight, which come and go in order
};

bool is_exact_float(const at::Tensor& tensor) {
  return tensor.scalar_type() == at::kFloat || tensor.scalar_type() == at::kDouble;
}

/// All that backward() from `root` comes by.
Nodes nodes_below(const at::Tensor& root) {
  Nodes seen;
  std::vector<torch::autograd::Node*> queue = {root.grad_fn().get()};
  while (!queue.empty()) {
    torch::autograd::Node* node = queue.back();
    queue.pop_back();
    for (const auto& edge : node->next_edges()) {
      if (edge.is_valid() && seen.insert(edge.function.get()).second) {
        queue.push_back(edge.function.get());
      }
    }
  }
  return seen;
}

bool contains(const Nodes& nodes, const at::Tensor& parameter) {
  return nodes.contains(torch::autograd::impl::grad_accumulator(parameter).get());
}

}  // namespace

GradientReducer::GradientReducer(const std::vector<std::pair<std::string, at::Tensor>>& parameters,
                                 at::Device device,
                                 const c10::intrusive_ptr<c10d::ProcessGroup>& group,
                                 const DDPOptions& options)
    : options_(options), world_size_(group->getSize()), knows_graph_(!options.static_graph) {
  // Gradients arrive from the last layer to the first.
  for (auto it = parameters.rbegin(); it != parameters.rend(); ++it) {
    parameters_.push_back(it->second);
    names_.push_back(it->first);
  }
  add_totals_parameter(device);
  make_reducer(group);
}

GradientReducer::~GradientReducer() = default;

int64_t GradientReducer::bucket_bytes() const {
  if (options_.gradient_as_bucket_view) return static_cast<int64_t>(totals_.nbytes());
  int64_t bytes = 0;
  for (const at::Tensor& parameter : parameters_) bytes += static_cast<int64_t>(parameter.nbytes());
  return bytes;
}

void GradientReducer::add_totals_parameter(at::Device device) {
  const auto has = [&](at::ScalarType dtype) {
    return std::any_of(parameters_.begin(), parameters_.end(),
                       [&](const at::Tensor& p) { return p.scalar_type() == dtype; });
  };
  at::ScalarType dtype = at::kFloat;
  if (options_.comm_hook != CommHook::kNone) {
    // Not in a bucket that is compressed: a weight must arrive as it is.
    dtype = has(at::kDouble) && !has(at::kFloat) ? at::kFloat : at::kDouble;
  } else {
    const auto last = std::find_if(parameters_.rbegin(), parameters_.rend(), is_exact_float);
    if (last != parameters_.rend()) dtype = last->scalar_type();
  }
  const auto options = at::TensorOptions(device).dtype(dtype);
  own_totals_ = at::zeros({kNumTotals}, options);
  totals_ = at::zeros({kNumTotals}, options).set_requires_grad(true);
  // Before the last one of its dtype: after that it could begin a separate bucket.
  const auto last = std::find_if(parameters_.rbegin(), parameters_.rend(),
                                 [&](const at::Tensor& p) { return p.scalar_type() == dtype; });
  const auto index = last == parameters_.rend() ? static_cast<ptrdiff_t>(parameters_.size())
                                                : parameters_.rend() - last - 1;
  parameters_.insert(parameters_.begin() + index, totals_);
  names_.insert(names_.begin() + index, "(weight of the batch)");
}

void GradientReducer::make_reducer(const c10::intrusive_ptr<c10d::ProcessGroup>& group) {
  const size_t cap =
      static_cast<size_t>(std::max(std::llround(options_.bucket_cap_mb * 1024 * 1024), 1LL));
  const size_t first_cap = std::min<size_t>(c10d::kDefaultFirstBucketBytes, cap);
  // With indices, buckets keep the order of parameters_.
  std::vector<int64_t> order(parameters_.size());
  std::iota(order.begin(), order.end(), 0);
  auto buckets = std::get<0>(
      c10d::compute_bucket_assignment_by_size(parameters_, {first_cap, cap}, {}, order));
  std::unordered_map<size_t, std::string> names;
  for (size_t i = 0; i < names_.size(); ++i) names.emplace(i, names_[i]);
  reducer_ = std::make_unique<c10d::Reducer>(
      parameters_, std::move(buckets), group,
      /*expect_sparse_gradients=*/std::vector<bool>(parameters_.size(), false),
      static_cast<int64_t>(cap), options_.find_unused_parameters && !options_.static_graph,
      options_.gradient_as_bucket_view, std::move(names), static_cast<int64_t>(first_cap),
      /*skip_all_reduce_unused_params=*/false, /*use_python_reducer=*/false,
      /*bucket_bytes_cap_list=*/std::vector<int64_t>());
  if (options_.static_graph) reducer_->set_static_graph();
  // The reducer wants to lay out its buckets anew once, in the order in which gradients came. Done
  // here, in the order that they have already: later it would change the last bits of sums, so that
  // a resumed run would differ; never done, it would record the order indefinitely.
  reducer_->push_rebuilt_params_for_all_indices();
  reducer_->rebuild_buckets();
  if (options_.comm_hook != CommHook::kNone) {
    const bool half = options_.comm_hook == CommHook::kFp16Compress;
    reducer_->register_comm_hook(std::make_unique<CompressHook>(
        group, half ? at::kHalf : at::kBFloat16, totals_.scalar_type()));
  }
  // Gradients that are there already have become views of the new buckets.
  if (options_.gradient_as_bucket_view) make_detachable();
}

void GradientReducer::backward(const Strategy::RunBackward& run_backward, const at::Tensor& loss,
                               AccumulationWindow& window) {
  const at::Tensor root = attach_totals(loss, window);
  run(run_backward, loss, root);
  check_complete(root);
  read_totals(window);
  if (options_.gradient_as_bucket_view) make_detachable();
  first_window_ = false;
}

at::Tensor GradientReducer::attach_totals(const at::Tensor& loss,
                                          const AccumulationWindow& window) {
  {
    const at::NoGradGuard no_grad;
    own_totals_.zero_();
    if (window.has_data) own_totals_.select(0, kHasData).fill_(1.0);
    if (loss.defined()) own_totals_.select(0, kHasLastLoss).fill_(1.0);
    if (window.weight.defined()) {
      own_totals_.select(0, kWeight).copy_(window.weight);
      own_totals_.select(0, kIsWeighted).fill_(1.0);
    }
  }
  totals_.mutable_grad().reset();
  if (loss.defined()) return AttachTotals::apply(loss, totals_, own_totals_);
  // Those that backward doesn't come by count as unused with find_unused_parameters: the gradients
  // of parameters that no rank used stay undefined.
  std::vector<at::Tensor> touched = {totals_};
  if (!options_.find_unused_parameters || options_.static_graph) {
    for (size_t i = 0; i < parameters_.size(); ++i) {
      const bool expected = in_graph_.empty() || in_graph_[i];
      if (expected && !parameters_[i].is_same(totals_)) touched.push_back(parameters_[i]);
    }
  }
  return TouchParameters::apply(at::TensorList(touched), own_totals_);
}

void GradientReducer::run(const Strategy::RunBackward& run_backward, const at::Tensor& loss,
                          const at::Tensor& root) {
  reducer_->prepare_for_backward({root});
  try {
    if (loss.defined()) {
      run_backward(root);
    } else {
      root.backward();
    }
  } catch (const c10::Error&) {
    // The error of a reducer with a static graph about a gradient that is new to it.
    if (!in_graph_.empty()) check_part_in_loss(root);
    throw;
  }
  if (knows_graph_) return;
  const Nodes nodes = nodes_below(root);
  for (const at::Tensor& parameter : parameters_) in_graph_.push_back(contains(nodes, parameter));
  reducer_->delay_all_reduce();
}

void GradientReducer::check_complete(const at::Tensor& root) {
  try {
    reducer_->check_finalized();
  } catch (const c10::Error&) {
    check_part_in_loss(root);
    throw;
  }
}

void GradientReducer::check_part_in_loss(const at::Tensor& root) const {
  const Nodes nodes = nodes_below(root);
  std::string names;
  int64_t count = 0;
  // In the order of the module.
  for (size_t i = parameters_.size(); i-- > 0;) {
    const bool expected = in_graph_.empty() || in_graph_[i];
    if (contains(nodes, parameters_[i]) == expected) continue;
    static constexpr int64_t kMostNames = 5;
    if (++count <= kMostNames) names += (names.empty() ? "" : ", ") + names_[i];
    if (count == kMostNames + 1) names += ", ...";
  }
  LIGHTNING_CHECK(count == 0 || in_graph_.empty(), ConfigError, "DDPStrategy: ", count,
                  count == 1 ? " trainable parameter" : " trainable parameters",
                  " contributed to the loss of this step or of the first one, but not to both (",
                  names,
                  "), expected the same in all steps with static_graph. HINT: use "
                  "find_unused_parameters: true instead.");
  LIGHTNING_CHECK(
      count == 0, ConfigError, "DDPStrategy: ", count,
      count == 1 ? " trainable parameter" : " trainable parameters",
      " did not contribute to the loss of this step (", names,
      "), expected all of them. HINT: set find_unused_parameters: true, or freeze the unused "
      "ones.");
}

void GradientReducer::make_detachable() {
  // zero_grad(set_to_none = false) of LibTorch's optimizers calls detach_(), which views refuse.
  for (at::Tensor& parameter : parameters_) {
    at::Tensor& grad = parameter.mutable_grad();
    if (grad.defined() && grad.is_view()) grad = grad.detach();
  }
}

void GradientReducer::read_totals(AccumulationWindow& window) {
  const at::NoGradGuard no_grad;
  const at::Tensor& totals = totals_.grad();
  bool is_weighted = window.weight.defined();
  // Sync with a GPU: a rank that had no loss can't know otherwise whether others had.
  if (totals.is_cpu() || first_window_ || !window.has_data) {
    const at::Tensor host = totals.to(at::kCPU, at::kDouble);
    const double* means = host.const_data_ptr<double>();
    window.has_data = means[kHasData] > 0.0;
    is_weighted = means[kIsWeighted] > 0.0;
    const double ranks = static_cast<double>(world_size_);
    if (first_window_) knows_graph_ = knows_graph_ || means[kHasLastLoss] * ranks > ranks - 0.5;
    LIGHTNING_CHECK(!is_weighted || std::abs(means[kIsWeighted] - means[kHasData]) * ranks < 0.5,
                    ConfigError, "DDPStrategy: training_step() gave a weight on ",
                    std::lround(means[kIsWeighted] * ranks), " of the ",
                    std::lround(means[kHasData] * ranks),
                    " ranks with a loss, expected one on all or on none.");
  }
  window.weight = is_weighted ? totals.select(0, kWeight) : at::Tensor();
}

}  // namespace lightning::detail
