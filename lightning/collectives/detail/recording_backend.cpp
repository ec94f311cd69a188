#include <lightning/collectives/detail/recording_backend.h>

#include <chrono>
#include <cstring>
#include <mutex>
#include <utility>
#include <vector>

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>
#include <ATen/core/ivalue.h>
#include <ATen/core/jit_type.h>

#include <lightning/util/error.h>

namespace lightning::detail {
namespace {

// A connection that breaks doesn't report the cause. The control plane learns it at the same time
// and names the rank; its text is worth a moment's wait.
constexpr std::chrono::seconds kPatience{5};

std::vector<c10::Device> devices_of_events(const at::Device& device) {
  return device.is_cuda() ? std::vector<c10::Device>{device} : std::vector<c10::Device>{};
}

std::string reason_of(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const c10::Error& e) {
    return e.what_without_backtrace();
  } catch (const std::exception& e) {
    return e.what();
  } catch (...) {
    return "unknown error";
  }
}

/// Until the process ends: the destructor of what carries collectives that never end would wait for
/// them.
void keep_forever(c10::intrusive_ptr<c10d::Backend> backend) {
  static std::mutex mutex;
  static auto* const kept = new std::vector<c10::intrusive_ptr<c10d::Backend>>();
  const std::lock_guard lock(mutex);
  kept->push_back(std::move(backend));
}

std::string description_of(const at::Tensor& tensor) {
  return concat(c10::str(tensor.sizes()), " of ", c10::toString(tensor.scalar_type()),
                tensor.is_contiguous() ? "" : " with gaps");
}

/// For all backends alike, before the collective is recorded: their own errors differ.
void check_scattered(const at::Tensor& input, const at::Tensor& output, int ranks) {
  TORCH_CHECK(output.is_contiguous() && output.numel() * ranks == input.numel() &&
                  output.scalar_type() == input.scalar_type(),
              "reduce_scatter got an input of ", description_of(input), " and an output of ",
              description_of(output), ", expected a contiguous output of the input's type with 1/",
              ranks, " of its elements. HINT: pad the input to a multiple of ", ranks, ".");
}

void check_parts(at::TensorList parts, const at::Tensor& output, int ranks) {
  TORCH_CHECK(static_cast<int>(parts.size()) == ranks, "reduce_scatter got ", parts.size(),
              " parts, expected one for each of ", ranks, " ranks.");
  for (size_t r = 0; r < parts.size(); ++r) {
    TORCH_CHECK(output.is_contiguous() && parts[r].numel() == output.numel() &&
                    parts[r].scalar_type() == output.scalar_type(),
                "reduce_scatter got ", description_of(parts[r]), " as the part of rank ", r,
                " and an output of ", description_of(output),
                ", expected parts of the size and type of the output, which is contiguous. HINT: "
                "pad the parts to one size.");
  }
}

}  // namespace

RecordedWork::RecordedWork(int rank, c10d::OpType type, const at::Device& device)
    : c10d::Work(rank, type),
      future_(c10::make_intrusive<c10::ivalue::Future>(
          c10::ListType::create(c10::TensorType::get()), devices_of_events(device))) {}

std::vector<at::Tensor> RecordedWork::result() {
  const c10::IValue value = future_->value();
  return value.isTensorList() ? value.toTensorVector() : std::vector<at::Tensor>{};
}

void RecordedWork::synchronize() {
  if (inner_) inner_->synchronize();
}

void RecordedWork::complete(const c10::IValue& value) {
  if (settled_.exchange(true)) return;
  future_->markCompleted(value);
  finish();
}

void RecordedWork::abandon(const std::exception_ptr& error) {
  if (settled_.exchange(true)) return;
  future_->setError(error);
  finish(error);
}

RecordingBackend::RecordingBackend(c10::intrusive_ptr<c10d::Backend> inner,
                                   std::shared_ptr<CollectiveLog> log, const at::Device& device)
    : c10d::Backend(inner->getRank(), inner->getSize()),
      inner_(std::move(inner)),
      log_(std::move(log)),
      device_(device) {}

RecordingBackend::~RecordingBackend() {
  if (!log_->idle()) keep_forever(std::move(inner_));
}

template <typename Call>
RecordingBackend::Work RecordingBackend::record(c10d::OpType type, const char* name,
                                                at::TensorList payload, const Call& call,
                                                std::function<std::vector<at::Tensor>()> result) {
  const auto work = c10::make_intrusive<RecordedWork>(rank_, type, device_);
  int64_t bytes = 0;
  for (const at::Tensor& tensor : payload) bytes += static_cast<int64_t>(tensor.nbytes());
  const bool has_data = !payload.empty();
  work->sequence_ = log_->begin(name, has_data ? payload[0].sizes().vec() : std::vector<int64_t>{},
                                has_data ? payload[0].scalar_type() : at::kByte, bytes,
                                [work](const std::exception_ptr& error) { work->abandon(error); });
  try {
    follow(work, call(), name, std::move(result));
  } catch (...) {
    log_->end(work->sequence_, false);
    throw;
  }
  return work;
}

void RecordingBackend::follow(const c10::intrusive_ptr<RecordedWork>& work, const Work& inner,
                              const char* name, std::function<std::vector<at::Tensor>()> result) {
  const bool on_gpu = device_.is_cuda();
  if (on_gpu) {
    work->inner_ = inner;
    // NCCL's future is there once the collective is queued; this one once it is done.
    inner->getFutureResult()->addCallback(
        [log = log_, sequence = work->sequence_](c10::ivalue::Future& status) {
          log->end(sequence, !status.hasError());
        });
  }
  inner->getFuture()->addCallback([work, log = log_, name, on_gpu,
                                   result = std::move(result)](c10::ivalue::Future& future) {
    if (!future.hasError()) {
      const c10::IValue value = result ? c10::IValue(result()) : future.value();
      if (!on_gpu) log->end(work->sequence_, true);
      work->complete(value);
      return;
    }
    // On a thread of the inner group, which is of no use any more.
    if (!log->wait_for_failure(kPatience)) {
      log->fail({.text = concat(
                     "process_group: ", name, " (collective number ", work->sequence_,
                     ") failed: ", reason_of(future.exception_ptr()),
                     ", expected every rank to take part. HINT: look for the first error in the "
                     "logs of the other ranks.")});
    }
  });
}

bool RecordingBackend::must_take_part() const { return inner_->getBackendName() == "gloo"; }

RecordingBackend::Work RecordingBackend::reduce_and_take_part(
    c10d::OpType type, at::TensorList payload, const at::Tensor& output, at::Tensor all,
    const c10d::ReduceScatterOptions& options) {
  std::vector<at::Tensor> sum{std::move(all)};
  c10d::AllreduceOptions all_options;
  all_options.reduceOp = options.reduceOp;
  const at::Tensor part = sum[0].view({size_, -1})[rank_];
  return record(
      type, "reduce_scatter", payload, [&] { return inner_->allreduce(sum, all_options); },
      [part, output] {
        if (output.is_cpu()) {
          // Not copy_(), which would start a team of threads for this one.
          std::memcpy(output.mutable_data_ptr(), part.const_data_ptr(), part.nbytes());
        } else {
          const at::NoGradGuard no_grad;
          output.view(-1).copy_(part);
        }
        return std::vector<at::Tensor>{output};
      });
}

RecordingBackend::Work RecordingBackend::allreduce(std::vector<at::Tensor>& tensors,
                                                   const c10d::AllreduceOptions& options) {
  return record(c10d::OpType::ALLREDUCE, "all_reduce", tensors,
                [&] { return inner_->allreduce(tensors, options); });
}

RecordingBackend::Work RecordingBackend::allreduce_coalesced(
    std::vector<at::Tensor>& tensors, const c10d::AllreduceCoalescedOptions& options) {
  return record(c10d::OpType::ALLREDUCE_COALESCED, "all_reduce_coalesced", tensors,
                [&] { return inner_->allreduce_coalesced(tensors, options); });
}

RecordingBackend::Work RecordingBackend::broadcast(std::vector<at::Tensor>& tensors,
                                                   const c10d::BroadcastOptions& options) {
  return record(c10d::OpType::BROADCAST, "broadcast", tensors,
                [&] { return inner_->broadcast(tensors, options); });
}

RecordingBackend::Work RecordingBackend::allgather(std::vector<std::vector<at::Tensor>>& outputs,
                                                   std::vector<at::Tensor>& inputs,
                                                   const c10d::AllgatherOptions& options) {
  return record(c10d::OpType::ALLGATHER, "all_gather", inputs,
                [&] { return inner_->allgather(outputs, inputs, options); });
}

RecordingBackend::Work RecordingBackend::_allgather_base(at::Tensor& output, at::Tensor& input,
                                                         const c10d::AllgatherOptions& options) {
  return record(c10d::OpType::_ALLGATHER_BASE, "all_gather", input,
                [&] { return inner_->_allgather_base(output, input, options); });
}

RecordingBackend::Work RecordingBackend::reduce_scatter(
    std::vector<at::Tensor>& outputs, std::vector<std::vector<at::Tensor>>& inputs,
    const c10d::ReduceScatterOptions& options) {
  const std::vector<at::Tensor>& parts = inputs.at(0);
  check_parts(parts, outputs.at(0), size_);
  if (!must_take_part()) {
    return record(c10d::OpType::REDUCE_SCATTER, "reduce_scatter", parts,
                  [&] { return inner_->reduce_scatter(outputs, inputs, options); });
  }
  std::vector<at::Tensor> flat;
  for (const at::Tensor& part : parts) flat.push_back(part.reshape(-1));
  return reduce_and_take_part(c10d::OpType::REDUCE_SCATTER, parts, outputs.at(0), at::cat(flat),
                              options);
}

RecordingBackend::Work RecordingBackend::_reduce_scatter_base(
    at::Tensor& output, at::Tensor& input, const c10d::ReduceScatterOptions& options) {
  check_scattered(input, output, size_);
  if (!must_take_part()) {
    return record(c10d::OpType::_REDUCE_SCATTER_BASE, "reduce_scatter", input,
                  [&] { return inner_->_reduce_scatter_base(output, input, options); });
  }
  return reduce_and_take_part(c10d::OpType::_REDUCE_SCATTER_BASE, input, output,
                              input.clone(at::MemoryFormat::Contiguous), options);
}

RecordingBackend::Work RecordingBackend::barrier(const c10d::BarrierOptions& options) {
  return record(c10d::OpType::BARRIER, "barrier", {}, [&] { return inner_->barrier(options); });
}

}  // namespace lightning::detail
