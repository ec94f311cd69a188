#include <lightning/ops/bias_gelu.h>

#include <ATen/Parallel.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/gelu.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include <lightning/ops/detail/fast_path.h>
#include <lightning/util/error.h>

namespace lightning::ops {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

class BiasGeluFunction : public torch::autograd::Function<BiasGeluFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& input,
                            const at::Tensor& bias) {
    RECORD_FUNCTION("lightning::bias_gelu", std::vector<c10::IValue>());
    const at::Tensor dense = input.contiguous();
    const at::Tensor dense_bias = bias.contiguous();
    at::Tensor output = at::empty_like(dense);
    detail::with_element_type(dense, [&](auto element) {
      using T = decltype(element);
      const detail::BiasGeluArguments<T> arguments = {
          .input = detail::data<T>(dense),
          .bias = detail::data<float>(dense_bias),
          .width = dense.size(-1),
          .output = detail::mutable_data<T>(output),
      };
      at::parallel_for(0, dense.numel() / dense.size(-1), 4, [&](int64_t begin, int64_t end) {
        detail::typed<T>().bias_gelu(arguments, begin, end);
      });
    });
    context->save_for_backward({dense, dense_bias});
    return output;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    detail::check_first_derivative("bias_gelu");
    const variable_list saved = context->get_saved_variables();
    const at::Tensor& input = saved[0];
    const at::Tensor& bias = saved[1];
    const int64_t width = input.size(-1);
    const at::Tensor grad_output = grads[0].contiguous();
    const at::Tensor grad_input = at::empty_like(input);
    at::Tensor grad_bias;
    detail::with_element_type(input, [&](auto element) {
      using T = decltype(element);
      const detail::BiasGeluArguments<T> arguments = {
          .input = detail::data<T>(input),
          .bias = detail::data<float>(bias),
          .width = width,
          .grad_output = detail::data<T>(grad_output),
          .grad_input = detail::mutable_data<T>(grad_input),
      };
      grad_bias = detail::sum_over_rows(
          input.numel() / width, 1, width, [&](int64_t begin, int64_t end, float* part) {
            detail::typed<T>().bias_gelu_backward(arguments, begin, end, {.bias = part});
          });
    });
    return {grad_input, grad_bias.squeeze(0)};
  }
};

}  // namespace

at::Tensor bias_gelu(const at::Tensor& input, const at::Tensor& bias) {
  LIGHTNING_CHECK(input.dim() >= 1 && bias.dim() == 1 && bias.size(0) == input.size(-1),
                  ConfigError, "bias_gelu: the bias is ", bias.sizes(),
                  ", expected the last dimension of the input, which is ", input.sizes(), ".");
  if (input.numel() > 0 && detail::has_kernels(input) && detail::is_cpu_float(bias)) {
    return BiasGeluFunction::apply(input, bias);
  }
  return at::gelu(input + bias);
}

}  // namespace lightning::ops
