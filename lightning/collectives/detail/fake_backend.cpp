#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>

#include <lightning/collectives/detail/backends.h>
#include <lightning/collectives/detail/completed_work.h>

namespace lightning::detail {
namespace {

using Tensors = std::vector<at::Tensor>;

class FakeBackend final : public c10d::Backend {
 public:
  using c10d::Backend::Backend;
  using Work = c10::intrusive_ptr<c10d::Work>;

  const std::string getBackendName() const override { return size_ == 1 ? "single" : "fake"; }

  Work allreduce(Tensors& tensors, const c10d::AllreduceOptions& options) override {
    for (at::Tensor& tensor : tensors) reduce(tensor, options.reduceOp);
    return completed_work(tensors);
  }
  Work allreduce_coalesced(Tensors& tensors,
                           const c10d::AllreduceCoalescedOptions& options) override {
    return allreduce(tensors, options);
  }
  Work broadcast(Tensors& tensors, const c10d::BroadcastOptions&) override {
    return completed_work(tensors);
  }
  Work allgather(std::vector<Tensors>& outputs, Tensors& inputs,
                 const c10d::AllgatherOptions&) override {
    for (at::Tensor& output : outputs[0]) copy(output, inputs[0]);
    return completed_work(outputs[0]);
  }
  Work _allgather_base(at::Tensor& output, at::Tensor& input,
                       const c10d::AllgatherOptions&) override {
    copy(output.view({size_, -1}), input.reshape({1, -1}));
    return completed_work({output});
  }
  Work reduce_scatter(Tensors& outputs, std::vector<Tensors>& inputs,
                      const c10d::ReduceScatterOptions& options) override {
    copy(outputs.at(0), inputs.at(0).at(static_cast<size_t>(rank_)).reshape(outputs[0].sizes()));
    reduce(outputs[0], options.reduceOp);
    return completed_work({outputs[0]});
  }
  Work _reduce_scatter_base(at::Tensor& output, at::Tensor& input,
                            const c10d::ReduceScatterOptions& options) override {
    copy(output.view(-1), input.reshape({size_, -1})[rank_]);
    reduce(output, options.reduceOp);
    return completed_work({output});
  }
  Work barrier(const c10d::BarrierOptions&) override { return completed_work({}); }

 private:
  static void copy(const at::Tensor& to, const at::Tensor& from) {
    const at::NoGradGuard no_grad;
    to.copy_(from);
  }

  void reduce(at::Tensor& tensor, const c10d::ReduceOp& operation) const {
    const at::NoGradGuard no_grad;
    if (operation.op_ == c10d::ReduceOp::SUM) tensor.mul_(size_);
  }
};

}  // namespace

c10::intrusive_ptr<c10d::Backend> make_fake_backend(int rank, int world_size) {
  return c10::make_intrusive<FakeBackend>(rank, world_size);
}

}  // namespace lightning::detail
