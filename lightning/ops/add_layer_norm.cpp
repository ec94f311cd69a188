#include <lightning/ops/add_layer_norm.h>

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include <lightning/ops/detail/fast_path.h>
#include <lightning/ops/dropout.h>
#include <lightning/util/error.h>

namespace lightning::ops {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

enum Input { kInput, kBias, kResidual, kWeight, kShift, kMean, kInverse };

/// What forward and backward have in common; `tensors` in the order of Input.
template <typename T>
detail::AddLayerNormArguments<T> arguments(const variable_list& tensors, double epsilon,
                                           const detail::DropoutMask& mask) {
  return {
      .input = detail::data<T>(tensors[kInput]),
      .bias = detail::data<float>(tensors[kBias]),
      .residual = detail::data<float>(tensors[kResidual]),
      .weight = detail::data<float>(tensors[kWeight]),
      .shift = detail::data<float>(tensors[kShift]),
      .width = tensors[kInput].size(-1),
      .epsilon = static_cast<float>(epsilon),
      .mask = mask,
      .mean = detail::mutable_data<float>(tensors[kMean]),
      .inverse_deviation = detail::mutable_data<float>(tensors[kInverse]),
  };
}

int64_t num_rows(const at::Tensor& tensor) { return tensor.numel() / tensor.size(-1); }

class AddLayerNormFunction : public torch::autograd::Function<AddLayerNormFunction> {
 public:
  /// Returns {residual, compute}, without compute when the dtypes agree.
  static variable_list forward(AutogradContext* context, const at::Tensor& input,
                               const at::Tensor& bias, const at::Tensor& residual,
                               const at::Tensor& weight, const at::Tensor& shift, double epsilon,
                               double p) {
    RECORD_FUNCTION("lightning::add_layer_norm", std::vector<c10::IValue>());
    const int64_t rows = num_rows(input);
    const auto statistics = residual.options();
    const variable_list tensors = {input.contiguous(),           bias.contiguous(),
                                   residual.contiguous(),        weight.contiguous(),
                                   shift.contiguous(),           at::empty({rows}, statistics),
                                   at::empty({rows}, statistics)};
    const detail::DropoutMask mask = detail::draw_dropout_mask(p);
    variable_list outputs = {at::empty_like(tensors[kResidual])};
    if (input.scalar_type() != residual.scalar_type()) {
      outputs.push_back(at::empty_like(tensors[kInput]));
    }
    detail::with_element_type(input, [&](auto element) {
      using T = decltype(element);
      auto kernel_arguments = arguments<T>(tensors, epsilon, mask);
      kernel_arguments.output = detail::mutable_data<float>(outputs[0]);
      if (outputs.size() == 2) kernel_arguments.copy = detail::mutable_data<T>(outputs[1]);
      at::parallel_for(0, rows, 16, [&](int64_t begin, int64_t end) {
        detail::typed<T>().add_layer_norm(kernel_arguments, begin, end);
      });
    });
    context->save_for_backward(tensors);
    context->saved_data["epsilon"] = epsilon;
    context->set_materialize_grads(false);
    detail::save_mask(*context, mask);
    return outputs;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    detail::check_first_derivative("add_layer_norm");
    const variable_list tensors = context->get_saved_variables();
    const at::Tensor& input = tensors[kInput];
    const int64_t width = input.size(-1);
    const auto dense = [](const at::Tensor& grad) {
      return grad.defined() ? grad.contiguous() : grad;
    };
    const at::Tensor grad_output = dense(grads[0]);
    const at::Tensor grad_copy = grads.size() == 2 ? dense(grads[1]) : at::Tensor();
    if (!grad_output.defined() && !grad_copy.defined()) return variable_list(7);
    const at::Tensor grad_input = at::empty_like(input);
    const at::Tensor grad_residual = at::empty_like(tensors[kResidual]);
    at::Tensor sums;
    detail::with_element_type(input, [&](auto element) {
      using T = decltype(element);
      auto kernel_arguments = arguments<T>(tensors, context->saved_data["epsilon"].toDouble(),
                                           detail::saved_mask(*context));
      kernel_arguments.grad_output = detail::data_or_null<float>(grad_output);
      kernel_arguments.grad_copy = detail::data_or_null<T>(grad_copy);
      kernel_arguments.grad_input = detail::mutable_data<T>(grad_input);
      kernel_arguments.grad_residual = detail::mutable_data<float>(grad_residual);
      sums = detail::sum_over_rows(
          num_rows(input), 3, width, [&](int64_t begin, int64_t end, float* part) {
            std::vector<float> scratch(static_cast<size_t>(3 * width));
            detail::typed<T>().add_layer_norm_backward(
                kernel_arguments, begin, end,
                {.bias = part, .weight = part + width, .shift = part + 2 * width}, scratch.data());
          });
    });
    return {grad_input,        sums.select(0, 0), grad_residual, sums.select(0, 1),
            sums.select(0, 2), at::Tensor(),      at::Tensor()};
  }
};

void check_shapes(const at::Tensor& input, const at::Tensor& bias, const at::Tensor& residual,
                  const at::Tensor& weight, const at::Tensor& shift) {
  LIGHTNING_CHECK(input.dim() >= 1 && input.sizes() == residual.sizes(), ConfigError,
                  "add_layer_norm: the input is ", input.sizes(), " and the residual ",
                  residual.sizes(), ", expected equal shapes.");
  for (const at::Tensor* row : {&bias, &weight, &shift}) {
    LIGHTNING_CHECK(row->dim() == 1 && row->size(0) == input.size(-1), ConfigError,
                    "add_layer_norm: bias, weight or shift is ", row->sizes(),
                    ", expected the last dimension of the input, ", input.size(-1), ".");
  }
}

}  // namespace

AddLayerNormOutput add_layer_norm(const at::Tensor& input, const at::Tensor& bias,
                                  const at::Tensor& residual, const at::Tensor& weight,
                                  const at::Tensor& shift, const AddLayerNormOptions& options) {
  check_shapes(input, bias, residual, weight, shift);
  detail::check_probability("add_layer_norm", options.dropout);
  const double p = options.training ? options.dropout : 0.0;
  if (input.numel() > 0 && detail::has_kernels(input) && detail::is_cpu_float(bias) &&
      detail::is_cpu_float(residual) && detail::is_cpu_float(weight) &&
      detail::is_cpu_float(shift)) {
    const variable_list outputs =
        AddLayerNormFunction::apply(input, bias, residual, weight, shift, options.epsilon, p);
    return {outputs.front(), outputs.back()};
  }
  const at::Tensor sum = residual + ops::dropout(input + bias, p, options.training);
  const at::Tensor output = at::layer_norm(sum, {input.size(-1)}, weight, shift, options.epsilon);
  return {output, output.to(input.scalar_type())};
}

}  // namespace lightning::ops
