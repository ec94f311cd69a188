/// RecordingBackend: a c10d::Backend around Gloo, NCCL or the fake one. It forwards collectives and
/// returns separate work, whose future can be failed from another thread: neither Gloo's abort()
/// nor its timeout frees a thread that waits for a rank which is gone.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <torch/csrc/distributed/c10d/Backend.hpp>

#include <lightning/collectives/detail/collective_log.h>

namespace lightning::detail {

class RecordedWork final : public c10d::Work {
 public:
  RecordedWork(int rank, c10d::OpType type, const at::Device& device);

  c10::intrusive_ptr<c10::ivalue::Future> getFuture() override { return future_; }
  std::vector<at::Tensor> result() override;
  uint64_t getSequencenumber() const override { return sequence_; }
  /// GPU: the current stream waits for the collective.
  void synchronize() override;

  // The first of these two settles the work, the other one does nothing.
  void complete(const c10::IValue& value);
  void abandon(const std::exception_ptr& error);

 private:
  friend class RecordingBackend;

  c10::intrusive_ptr<c10::ivalue::Future> future_;
  c10::intrusive_ptr<c10d::Work> inner_;  // GPU only
  uint64_t sequence_ = 0;
  std::atomic<bool> settled_ = false;
};

class RecordingBackend final : public c10d::Backend {
 public:
  /// `device`: CPU or CUDA, where the tensors of `inner` are.
  RecordingBackend(c10::intrusive_ptr<c10d::Backend> inner, std::shared_ptr<CollectiveLog> log,
                   const at::Device& device);
  /// Leaks `inner` after a failure or with something in flight: its destructor would block.
  ~RecordingBackend() override;

  const std::string getBackendName() const override { return inner_->getBackendName(); }

  using Work = c10::intrusive_ptr<c10d::Work>;
  Work allreduce(std::vector<at::Tensor>& tensors, const c10d::AllreduceOptions& options) override;
  Work allreduce_coalesced(std::vector<at::Tensor>& tensors,
                           const c10d::AllreduceCoalescedOptions& options) override;
  Work broadcast(std::vector<at::Tensor>& tensors, const c10d::BroadcastOptions& options) override;
  Work allgather(std::vector<std::vector<at::Tensor>>& outputs, std::vector<at::Tensor>& inputs,
                 const c10d::AllgatherOptions& options) override;
  Work _allgather_base(at::Tensor& output, at::Tensor& input,
                       const c10d::AllgatherOptions& options) override;
  Work reduce_scatter(std::vector<at::Tensor>& outputs,
                      std::vector<std::vector<at::Tensor>>& inputs,
                      const c10d::ReduceScatterOptions& options) override;
  Work _reduce_scatter_base(at::Tensor& output, at::Tensor& input,
                            const c10d::ReduceScatterOptions& options) override;
  Work barrier(const c10d::BarrierOptions& options) override;

 private:
  /// `result` makes the work's out of that of `call`, when it is there.
  template <typename Call>
  Work record(c10d::OpType type, const char* name, at::TensorList payload, const Call& call,
              std::function<std::vector<at::Tensor>()> result = {});
  void follow(const c10::intrusive_ptr<RecordedWork>& work, const Work& inner, const char* name,
              std::function<std::vector<at::Tensor>()> result);
  /// Whether a reduce-scatter is made by reduce_and_take_part().
  bool must_take_part() const;
  /// For Gloo, whose own reduce-scatter is this too (a copy of the input and an all-reduce, in
  /// LibTorch 2.11), but its work has no future that can be failed. `all`: the parts of all ranks,
  /// flat; overwritten.
  Work reduce_and_take_part(c10d::OpType type, at::TensorList payload, const at::Tensor& output,
                            at::Tensor all, const c10d::ReduceScatterOptions& options);

  c10::intrusive_ptr<c10d::Backend> inner_;
  std::shared_ptr<CollectiveLog> log_;
  at::Device device_;
};

}  // namespace lightning::detail
