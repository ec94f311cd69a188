#include <lightning/ops/self_attention.h>

#include <cmath>

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include <lightning/ops/detail/cpu_attention.h>
#include <lightning/ops/detail/fast_path.h>
#include <lightning/util/error.h>

namespace lightning::ops {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

class SelfAttentionFunction : public torch::autograd::Function<SelfAttentionFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& qkv,
                            const at::Tensor& attended, int64_t num_heads, double scale, double p) {
    RECORD_FUNCTION("lightning::self_attention", std::vector<c10::IValue>());
    const detail::AttentionProblem problem = {
        .qkv = qkv.contiguous(),
        .attended = attended,
        .num_heads = num_heads,
        .scale = scale,
        .mask = detail::draw_dropout_mask(p),
    };
    const int64_t batch = qkv.size(0);
    const int64_t tokens = qkv.size(1);
    at::Tensor output = at::empty({batch, tokens, qkv.size(2) / 3}, qkv.options());
    const at::Tensor log_sums =
        at::empty({batch, num_heads, tokens}, qkv.options().dtype(at::kFloat));
    detail::cpu_attention(problem, output, log_sums);
    context->save_for_backward({problem.qkv, attended, output, log_sums});
    context->saved_data["num_heads"] = num_heads;
    context->saved_data["scale"] = scale;
    detail::save_mask(*context, problem.mask);
    return output;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    detail::check_first_derivative("self_attention");
    const variable_list saved = context->get_saved_variables();
    const detail::AttentionProblem problem = {
        .qkv = saved[0],
        .attended = saved[1],
        .num_heads = context->saved_data["num_heads"].toInt(),
        .scale = context->saved_data["scale"].toDouble(),
        .mask = detail::saved_mask(*context),
    };
    at::Tensor grad_qkv = at::empty_like(problem.qkv);
    detail::cpu_attention_backward(problem, saved[2], saved[3], grads[0].contiguous(), grad_qkv);
    return {grad_qkv, at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

/// torch's attention: fused on GPUs, where it drops probabilities with torch's own generator.
at::Tensor torch_attention(const at::Tensor& qkv, const at::Tensor& attended,
                           const SelfAttentionOptions& options, double scale) {
  const int64_t batch = qkv.size(0);
  const int64_t tokens = qkv.size(1);
  // [3, B, heads, T, D]
  const at::Tensor parts =
      qkv.reshape({batch, tokens, 3, options.num_heads, -1}).permute({2, 0, 3, 1, 4});
  std::optional<at::Tensor> mask;
  if (attended.defined()) mask = (attended != 0).view({batch, 1, 1, tokens});
  const at::Tensor output = at::scaled_dot_product_attention(
      parts[0], parts[1], parts[2], mask, options.training ? options.dropout : 0.0,
      /*is_causal=*/false, scale);
  return output.transpose(1, 2).reshape({batch, tokens, qkv.size(2) / 3});
}

void check_arguments(const at::Tensor& qkv, const at::Tensor& attended,
                     const SelfAttentionOptions& options) {
  detail::check_probability("self_attention", options.dropout);
  LIGHTNING_CHECK(options.num_heads >= 1, ConfigError, "self_attention: num_heads is ",
                  options.num_heads, ", expected at least 1.");
  LIGHTNING_CHECK(qkv.dim() == 3 && qkv.size(2) % (3 * options.num_heads) == 0, ConfigError,
                  "self_attention: qkv is ", qkv.sizes(),
                  ", expected [B, T, 3 H] with H a multiple of num_heads, which is ",
                  options.num_heads, ".");
  LIGHTNING_CHECK(!attended.defined() || (attended.dim() == 2 && attended.size(0) == qkv.size(0) &&
                                          attended.size(1) == qkv.size(1)),
                  ConfigError, "self_attention: the mask is ",
                  attended.defined() ? attended.sizes() : at::IntArrayRef(),
                  ", expected [B, T] of qkv, which is ", qkv.sizes(), ".");
}

}  // namespace

at::Tensor self_attention(const at::Tensor& qkv, const at::Tensor& attended,
                          const SelfAttentionOptions& options) {
  check_arguments(qkv, attended, options);
  const int64_t head_size = qkv.size(2) / 3 / options.num_heads;
  const double scale =
      options.scale.value_or(1.0 / std::sqrt(static_cast<double>(std::max<int64_t>(head_size, 1))));
  if (qkv.numel() == 0 || !detail::has_kernels(qkv) ||
      !detail::cpu_attention_available(qkv.scalar_type(), head_size)) {
    return torch_attention(qkv, attended, options, scale);
  }
  const at::Tensor mask =
      attended.defined() ? (attended != 0).to(at::kByte).contiguous()
                         : at::ones({qkv.size(0), qkv.size(1)}, qkv.options().dtype(at::kByte));
  return SelfAttentionFunction::apply(qkv, mask, options.num_heads, scale,
                                      options.training ? options.dropout : 0.0);
}

}  // namespace lightning::ops
