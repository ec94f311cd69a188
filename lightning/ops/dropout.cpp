#include <lightning/ops/dropout.h>

#include <ATen/Parallel.h>
#include <ATen/ops/dropout.h>
#include <ATen/ops/empty_like.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include <lightning/ops/detail/fast_path.h>

namespace lightning::ops {

namespace {

using detail::DropoutMask;

at::Tensor apply_mask(const at::Tensor& input, const DropoutMask& mask) {
  const at::Tensor dense = input.contiguous();
  at::Tensor output = at::empty_like(dense);
  const int64_t blocks = (dense.numel() + detail::kDropoutBlock - 1) / detail::kDropoutBlock;
  detail::with_element_type(dense, [&](auto element) {
    using T = decltype(element);
    const T* from = detail::data<T>(dense);
    T* to = detail::mutable_data<T>(output);
    at::parallel_for(0, blocks, 64, [&](int64_t begin, int64_t end) {
      detail::typed<T>().dropout(from, to, begin * detail::kDropoutBlock,
                                 std::min(end * detail::kDropoutBlock, dense.numel()), mask);
    });
  });
  return output;
}

class DropoutFunction : public torch::autograd::Function<DropoutFunction> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& input,
                            double p) {
    RECORD_FUNCTION("lightning::dropout", std::vector<c10::IValue>());
    const DropoutMask mask = detail::draw_dropout_mask(p);
    detail::save_mask(*context, mask);
    return apply_mask(input, mask);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& grads) {
    detail::check_first_derivative("dropout");
    return {apply_mask(grads[0], detail::saved_mask(*context)), at::Tensor()};
  }
};

}  // namespace

at::Tensor dropout(const at::Tensor& input, double p, bool training) {
  detail::check_probability("dropout", p);
  if (!training || p == 0.0) return input;
  if (!detail::has_kernels(input)) return at::dropout(input, p, /*train=*/true);
  return DropoutFunction::apply(input, p);
}

}  // namespace lightning::ops
