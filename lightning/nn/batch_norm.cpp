#include <lightning/nn/batch_norm.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <ostream>
#include <tuple>
#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <lightning/collectives/process_group.h>
#include <lightning/ops/detail/fast_path.h>
#include <lightning/util/error.h>

namespace lightning::nn {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

thread_local bool is_uncounted = false;

/// Mean and variance per channel, and the number of values they are of, over all ranks.
struct Statistics {
  at::Tensor mean;   // float64
  at::Tensor var;    // float64, divided by count
  at::Tensor count;  // float64, one element
};

/// All dimensions but the channels'.
std::vector<int64_t> reduced_dims(const at::Tensor& input) {
  std::vector<int64_t> dims(static_cast<size_t>(input.dim()) - 1);
  std::iota(dims.begin() + 1, dims.end(), 2);
  return dims;
}

/// [C] as [1, C, 1, ...].
at::Tensor per_channel(const at::Tensor& values, const at::Tensor& input) {
  std::vector<int64_t> shape(static_cast<size_t>(input.dim()), 1);
  shape[1] = values.numel();
  return values.reshape(shape);
}

/// In float64: from sums of squares the variance couldn't be had in float32, and the mean of a few
/// numbers per channel costs nothing.
Statistics global_statistics(const at::Tensor& input, ProcessGroup& group) {
  const int64_t channels = input.size(1);
  const int64_t count = is_uncounted ? 0 : input.numel() / std::max<int64_t>(channels, 1);
  at::Tensor sums = at::zeros({2 * channels + 1}, input.options().dtype(at::kDouble));
  if (count > 0) {
    const auto [var, mean] = at::var_mean(input, reduced_dims(input), /*unbiased=*/false);
    const at::Tensor mean64 = mean.to(at::kDouble);
    sums.narrow(0, 0, channels).add_(mean64, static_cast<double>(count));
    sums.narrow(0, channels, channels)
        .add_(var.to(at::kDouble) + mean64.square(), static_cast<double>(count));
    sums.narrow(0, 2 * channels, 1).fill_(static_cast<double>(count));
  }
  group.all_reduce(sums);
  const at::Tensor total = sums.narrow(0, 2 * channels, 1);
  const at::Tensor mean = sums.narrow(0, 0, channels) / total;
  const at::Tensor var = sums.narrow(0, channels, channels) / total - mean.square();
  return {mean, var.clamp_min(0.0), total};
}

/// Normalises with the global batch's statistics. `mean` and `var` are of the input's dtype.
class SynchronizedBatchNorm : public torch::autograd::Function<SynchronizedBatchNorm> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& input,
                            const std::optional<at::Tensor>& weight,
                            const std::optional<at::Tensor>& bias, const at::Tensor& mean,
                            const at::Tensor& var, const at::Tensor& count, double eps,
                            const std::shared_ptr<ProcessGroup>& group) {
    context->save_for_backward({input, weight.value_or(at::Tensor()), mean, var, count});
    context->saved_data["eps"] = eps;
    context->saved_data["counts"] = !is_uncounted;
    context->saved_data["group"] =
        c10::IValue::make_capsule(c10::make_intrusive<GroupHolder>(group));
    return normalize(input, weight, bias, mean, var, eps);
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    ops::detail::check_first_derivative("BatchNorm");
    const variable_list saved = context->get_saved_variables();
    const at::Tensor& input = saved[0];
    const at::Tensor& mean = saved[2];
    const at::Tensor inverse = (saved[3] + context->saved_data["eps"].toDouble()).rsqrt();
    auto [grad_input, grad_weight, grad_bias] = local_gradients(
        grads[0], input, saved[1], mean, saved[3], context->saved_data["eps"].toDouble());

    // Through mean and variance every value depends on all others, also those of other ranks.
    const bool counts = context->saved_data["counts"].toBool();
    const int64_t channels = input.size(1);
    at::Tensor sums = at::cat({grad_bias, grad_weight}).to(at::kDouble);
    group_of(*context).all_reduce(sums);
    if (!saved[1].defined()) grad_weight = grad_bias = at::Tensor();
    const auto gradients = [&] {
      return variable_list{grad_input,   grad_weight,  grad_bias,    at::Tensor(),
                           at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
    };
    // Mean and variance don't depend on these values.
    if (!counts) return gradients();
    sums.div_(saved[4]);
    at::Tensor scale = inverse;
    if (saved[1].defined()) scale = scale * saved[1];
    const at::Tensor by_mean = sums.narrow(0, 0, channels).to(input.scalar_type()) * scale;
    const at::Tensor by_var =
        sums.narrow(0, channels, channels).to(input.scalar_type()) * scale * inverse;
    grad_input.addcmul_(input - per_channel(mean, input), per_channel(by_var, input), -1.0);
    grad_input.sub_(per_channel(by_mean, input));
    return gradients();
  }

 private:
  struct GroupHolder : torch::CustomClassHolder {
    explicit GroupHolder(std::shared_ptr<ProcessGroup> held) : group(std::move(held)) {}
    std::shared_ptr<ProcessGroup> group;
  };

  static ProcessGroup& group_of(AutogradContext& context) {
    return *static_cast<GroupHolder&>(*context.saved_data["group"].toCapsule()).group;
  }

  /// torch's kernel for evaluation, which takes statistics as they are.
  static at::Tensor normalize(const at::Tensor& input, const std::optional<at::Tensor>& weight,
                              const std::optional<at::Tensor>& bias, const at::Tensor& mean,
                              const at::Tensor& var, double eps) {
    if (input.numel() == 0) return at::empty_like(input);
    return std::get<0>(at::native_batch_norm(input, weight, bias, mean, var, /*training=*/false,
                                             /*momentum=*/0.0, eps));
  }

  /// The gradients of that, and the sums over this rank's batch: of grad * (input - mean) / std and
  /// of grad.
  static std::tuple<at::Tensor, at::Tensor, at::Tensor> local_gradients(
      const at::Tensor& grad, const at::Tensor& input, const at::Tensor& weight,
      const at::Tensor& mean, const at::Tensor& var, double eps) {
    if (input.numel() == 0) {
      const at::Tensor zeros = at::zeros_like(mean);
      return {at::zeros_like(input), zeros, zeros.clone()};
    }
    return at::native_batch_norm_backward(grad.contiguous(), input, weight, mean, var,
                                          /*save_mean=*/std::nullopt, /*save_invstd=*/std::nullopt,
                                          /*train=*/false, eps, {true, true, true});
  }
};

}  // namespace

SkipStatistics::SkipStatistics(bool active) : before_(is_uncounted) {
  is_uncounted = is_uncounted || active;
}

SkipStatistics::~SkipStatistics() { is_uncounted = before_; }

BatchNormImpl::BatchNormImpl(const BatchNormOptions& options_) : options(options_) {
  BatchNormImpl::reset();
}

void BatchNormImpl::reset() {
  const int64_t channels = options.num_features();
  const bool affine = options.affine();
  weight = register_parameter("weight", affine ? at::empty({channels}) : at::Tensor(), affine);
  bias = register_parameter("bias", affine ? at::empty({channels}) : at::Tensor(), affine);
  const bool tracks = options.track_running_stats();
  running_mean = register_buffer("running_mean", tracks ? at::empty({channels}) : at::Tensor());
  running_var = register_buffer("running_var", tracks ? at::empty({channels}) : at::Tensor());
  num_batches_tracked = register_buffer(
      "num_batches_tracked", tracks ? at::empty({}, at::TensorOptions(at::kLong)) : at::Tensor());
  reset_parameters();
}

void BatchNormImpl::reset_parameters() {
  const at::NoGradGuard no_grad;
  if (options.affine()) {
    weight.fill_(1.0);
    bias.fill_(0.0);
  }
  if (!options.track_running_stats()) return;
  running_mean.fill_(0.0);
  running_var.fill_(1.0);
  num_batches_tracked.fill_(0);
}

void BatchNormImpl::pretty_print(std::ostream& stream) const {
  stream << std::boolalpha << "lightning::nn::BatchNorm(" << options.num_features()
         << ", eps=" << options.eps() << ", momentum=";
  if (options.momentum()) {
    stream << *options.momentum();
  } else {
    stream << "None";
  }
  stream << ", affine=" << options.affine()
         << ", track_running_stats=" << options.track_running_stats() << ')';
}

void BatchNormImpl::set_process_group(std::shared_ptr<ProcessGroup> group) {
  group_ = std::move(group);
}

double BatchNormImpl::next_momentum() {
  if (!is_training() || !options.track_running_stats()) return options.momentum().value_or(0.0);
  num_batches_tracked.add_(1);
  if (options.momentum()) return *options.momentum();
  // Sync: a cumulative average needs the count.
  return 1.0 / num_batches_tracked.item<double>();
}

at::Tensor BatchNormImpl::forward(const at::Tensor& input) {
  LIGHTNING_CHECK(input.dim() >= 2 && input.size(1) == options.num_features(), ConfigError,
                  "BatchNorm: the input is ", input.sizes(), ", expected [N, ",
                  options.num_features(), ", ...].");
  const double momentum = next_momentum();
  const bool by_batch = is_training() || !options.track_running_stats();
  if (is_training() && group_ != nullptr && group_->world_size() > 1) {
    return forward_on_all_ranks(input, momentum);
  }
  if (by_batch) {
    LIGHTNING_CHECK(input.numel() != input.size(1), DataError, "BatchNorm: the input is ",
                    input.sizes(), ", expected more than one value per channel in training mode.");
  }
  return at::batch_norm(input, weight, bias, running_mean, running_var, by_batch, momentum,
                        options.eps(), at::globalContext().userEnabledCuDNN());
}

at::Tensor BatchNormImpl::forward_on_all_ranks(const at::Tensor& input, double momentum) {
  // 16-bit inputs: in float32, as torch's kernels do inside.
  const bool reduced = input.scalar_type() == at::kHalf || input.scalar_type() == at::kBFloat16;
  const at::Tensor wide = reduced ? input.to(at::kFloat) : input;
  const auto in_wide = [&](const at::Tensor& t) { return t.to(wide.scalar_type()); };
  // Functions take no undefined tensors.
  const auto if_defined = [&](const at::Tensor& t) {
    return t.defined() ? std::optional(in_wide(t)) : std::nullopt;
  };
  at::Tensor mean, var, count;
  {
    const at::NoGradGuard no_grad;
    const Statistics statistics = global_statistics(wide.detach(), *group_);
    count = statistics.count;
    mean = in_wide(statistics.mean);
    var = in_wide(statistics.var);
    if (options.track_running_stats()) {
      // The unbiased estimate is kept, the biased one used, as everywhere.
      const at::Tensor unbiased = statistics.var * (count / (count - 1.0).clamp_min(1.0));
      running_mean.lerp_(statistics.mean.to(running_mean.scalar_type()), momentum);
      running_var.lerp_(unbiased.to(running_var.scalar_type()), momentum);
    }
  }
  const at::Tensor output = SynchronizedBatchNorm::apply(wide, if_defined(weight), if_defined(bias),
                                                         mean, var, count, options.eps(), group_);
  return reduced ? output.to(input.scalar_type()) : output;
}

}  // namespace lightning::nn
