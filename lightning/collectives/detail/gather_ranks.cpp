#include <lightning/collectives/detail/gather_ranks.h>

#include <utility>

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/custom_function.h>

namespace lightning {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor gathered(ProcessGroup& group, const at::Tensor& tensor) {
  return group.all_gather(tensor.detach().contiguous().unsqueeze(0));
}

class GatherRanks : public torch::autograd::Function<GatherRanks> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& tensor,
                            const std::shared_ptr<ProcessGroup>& group) {
    context->saved_data["group"] =
        c10::IValue::make_capsule(c10::make_intrusive<GroupHolder>(group));
    return gathered(*group, tensor);
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    ProcessGroup& group =
        *static_cast<GroupHolder&>(*context->saved_data["group"].toCapsule()).group;
    return {group.reduce_scatter(grads[0].contiguous()).squeeze(0), at::Tensor()};
  }

 private:
  struct GroupHolder : torch::CustomClassHolder {
    explicit GroupHolder(std::shared_ptr<ProcessGroup> held) : group(std::move(held)) {}
    std::shared_ptr<ProcessGroup> group;
  };
};

}  // namespace

at::Tensor gather_ranks(const std::shared_ptr<ProcessGroup>& group, const at::Tensor& tensor,
                        bool sync_grads) {
  if (group == nullptr) return (sync_grads ? tensor : tensor.detach()).unsqueeze(0);
  if (sync_grads && at::GradMode::is_enabled()) return GatherRanks::apply(tensor, group);
  return gathered(*group, tensor);
}

}  // namespace lightning
