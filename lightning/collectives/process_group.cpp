#include <lightning/collectives/process_group.h>

#include <chrono>
#include <exception>
#include <functional>
#include <future>
#include <limits>
#include <thread>
#include <utility>

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <lightning/accelerators/detail/cuda_plugin.h>
#include <lightning/collectives/detail/backends.h>
#include <lightning/collectives/detail/collective_log.h>
#include <lightning/collectives/detail/recording_backend.h>
#include <lightning/util/detail/detached.h>
#include <lightning/util/detail/socket.h>
#include <lightning/util/error.h>

namespace lightning {
namespace {

using Work = c10::intrusive_ptr<c10d::Work>;
using BackendType = c10d::ProcessGroup::BackendType;
using namespace std::chrono_literals;

[[noreturn]] void rethrow_as_distributed_error(const char* action) {
  try {
    throw;
  } catch (const Error&) {
    throw;
  } catch (const c10::Error& e) {
    throw DistributedError(
        detail::concat("process_group: ", action, " failed: ", e.what_without_backtrace()));
  } catch (const std::exception& e) {
    throw DistributedError(detail::concat("process_group: ", action, " failed: ", e.what()));
  }
}

/// What `connect` returns, unless a rank fails meanwhile.
template <typename Result>
Result connect_unless_failed(ControlPlane& control, std::function<Result()> connect) {
  std::future<Result> result = detail::run_detached<Result>(std::move(connect));
  while (result.wait_for(10ms) != std::future_status::ready) control.throw_if_failed();
  try {
    return result.get();
  } catch (...) {
    // The control plane knows better what happened, a moment later.
    for (int i = 0; i < 200 && !control.failed(); ++i) std::this_thread::sleep_for(10ms);
    control.throw_if_failed();
    rethrow_as_distributed_error("connecting the ranks");
  }
}

/// LibTorch's store, for nothing but the addresses of Gloo and the ids of NCCL. Every rank must
/// call it.
c10::intrusive_ptr<c10d::Store> connect_store(const std::shared_ptr<ControlPlane>& control) {
  c10d::TCPStoreOptions options;
  options.waitWorkers = false;
  options.isServer = control->rank() == 0;
  std::string host = control->local_address();
  if (options.isServer) {
    // Left to itself the store would listen on all interfaces.
    Socket listener = Socket::listen(host, {0});
    options.port = listener.local_port();
    options.masterListenFd = listener.release();
  }
  const std::string address =
      control->broadcast("tcp_store", detail::concat(options.port, " ", host));
  const size_t space = address.find(' ');
  LIGHTNING_CHECK(space != std::string::npos, DistributedError, "process_group: rank 0 sent '",
                  address, "' as the address of its store, expected a port and a host.");
  options.port = static_cast<uint16_t>(std::stoul(address.substr(0, space)));
  host = address.substr(space + 1);
  return connect_unless_failed<c10::intrusive_ptr<c10d::Store>>(
      *control, [host, options] { return c10::make_intrusive<c10d::TCPStore>(host, options); });
}

/// The CUDA plug-in, which has NCCL. Throws ConfigError without one.
const detail::CudaPlugin& nccl_plugin() {
  const detail::CudaPluginState& cuda = detail::cuda_plugin();
  LIGHTNING_CHECK(cuda.plugin != nullptr, ConfigError,
                  "process_group: there is no NCCL: ", cuda.reason,
                  ", expected it for several ranks on GPUs. HINT: ", cuda.hint,
                  ", or use trainer.accelerator: cpu.");
  return *cuda.plugin;
}

c10::intrusive_ptr<c10d::Backend> make_nccl_backend(const detail::CudaPlugin& plugin,
                                                    const c10::intrusive_ptr<c10d::Store>& store,
                                                    int rank, int world_size,
                                                    const at::Device& device) {
  std::string error;
  auto backend = plugin.make_nccl_backend(store, rank, world_size, device, error);
  LIGHTNING_CHECK(backend != nullptr, DistributedError, "process_group: NCCL on ", device,
                  " failed: ", error,
                  ". HINT: set NCCL_DEBUG=INFO to see where, or use trainer.accelerator: cpu.");
  return backend;
}

}  // namespace

class ProcessGroup::Impl {
 public:
  Impl(int64_t rank, int64_t world_size, std::shared_ptr<ControlPlane> control)
      : log_(std::make_shared<detail::CollectiveLog>(std::move(control))),
        group_(c10::make_intrusive<c10d::ProcessGroup>(static_cast<int>(rank),
                                                       static_cast<int>(world_size))) {}

  /// Tensors on devices of `type` go through `backend`; its futures hold events of `device`. The
  /// last one gives the group its name.
  void add(at::DeviceType type, BackendType backend_type, c10::intrusive_ptr<c10d::Backend> backend,
           const at::Device& device) {
    name_ = backend->getBackendName();
    group_->setBackend(
        type, backend_type,
        c10::make_intrusive<detail::RecordingBackend>(std::move(backend), log_, device));
    group_->setDefaultBackend(backend_type);
  }

  /// Runs `begin(backend)` for the backend of `device` and waits.
  template <typename Begin>
  void run(const char* action, at::DeviceType device, const Begin& begin) const {
    try {
      const at::NoGradGuard no_grad;
      const Work work = begin(*group_->getBackend(device));
      work->wait();
    } catch (...) {
      rethrow_as_distributed_error(action);
    }
  }

  bool alone() const { return group_->getSize() == 1; }
  /// Whether minima and maxima are NaN where a rank has NaN.
  bool keeps_nan(at::DeviceType device) const {
    return group_->getBackend(device)->getBackendName() == "shared_memory";
  }

  std::string name_;
  std::shared_ptr<detail::CollectiveLog> log_;
  c10::intrusive_ptr<c10d::ProcessGroup> group_;
  /// NCCL's kernels hold up the GPU until they are aborted.
  c10::intrusive_ptr<c10d::Backend> to_abort_;
};

ProcessGroup::ProcessGroup(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ProcessGroup::~ProcessGroup() = default;

std::shared_ptr<ProcessGroup> ProcessGroup::create(std::shared_ptr<ControlPlane> control,
                                                   at::Device device, ProcessGroupBackend backend) {
  if (control->world_size() == 1) return single();
  // Before ranks wait for one another.
  const detail::CudaPlugin* plugin = device.is_cuda() ? &nccl_plugin() : nullptr;
  const auto rank = static_cast<int>(control->rank());
  const auto size = static_cast<int>(control->world_size());
  auto impl = std::make_unique<Impl>(rank, size, control);
  c10::intrusive_ptr<c10d::Backend> shared_memory;
  if (backend != ProcessGroupBackend::kGloo) {
    shared_memory = detail::make_shared_memory_backend(
        *control, [log = impl->log_] { log->throw_if_failed(); });
  }
  LIGHTNING_CHECK(
      shared_memory != nullptr || backend != ProcessGroupBackend::kSharedMemory, ConfigError,
      "process_group: process_group_backend is shared_memory, but not all ranks could map the "
      "memory of rank 0, expected ranks of one user on one node that see one another in /proc. "
      "HINT: set process_group_backend: gloo.");
  c10::intrusive_ptr<c10d::Store> store;
  if (shared_memory == nullptr || device.is_cuda()) store = connect_store(control);
  if (shared_memory != nullptr) {
    impl->add(at::kCPU, BackendType::CUSTOM, std::move(shared_memory), at::kCPU);
  } else {
    auto gloo = connect_unless_failed<c10::intrusive_ptr<c10d::Backend>>(
        *control, [store, rank, size, address = control->local_address()] {
          return detail::make_gloo_backend(store, rank, size, address);
        });
    impl->add(at::kCPU, BackendType::GLOO, std::move(gloo), at::kCPU);
  }
  if (plugin != nullptr) {
    auto nccl = make_nccl_backend(*plugin, store, rank, size, device);
    impl->to_abort_ = nccl;
    impl->add(at::kCUDA, BackendType::NCCL, std::move(nccl), device);
  }
  std::shared_ptr<ProcessGroup> group(new ProcessGroup(std::move(impl)));
  control->set_failure_handler([weak = std::weak_ptr(group)](const Failure& failure) {
    if (const auto alive = weak.lock()) alive->fail(failure);
  });
  if (control->failed()) group->fail(control->failure());
  return group;
}

std::shared_ptr<ProcessGroup> ProcessGroup::fake(int64_t rank, int64_t world_size) {
  auto impl = std::make_unique<Impl>(rank, world_size, nullptr);
  auto backend = detail::make_fake_backend(static_cast<int>(rank), static_cast<int>(world_size));
  for (const at::DeviceType type : {at::kCPU, at::kCUDA}) {
    impl->add(type, BackendType::CUSTOM, backend, at::kCPU);
  }
  return std::shared_ptr<ProcessGroup>(new ProcessGroup(std::move(impl)));
}

std::shared_ptr<ProcessGroup> ProcessGroup::single() { return fake(0, 1); }

int64_t ProcessGroup::rank() const { return impl_->group_->getRank(); }
int64_t ProcessGroup::world_size() const { return impl_->group_->getSize(); }
std::string_view ProcessGroup::backend() const { return impl_->name_; }

void ProcessGroup::all_reduce(at::Tensor& tensor, Reduction reduction) {
  if (impl_->alone()) return;
  c10d::AllreduceOptions options;
  options.reduceOp = reduction == Reduction::kSum   ? c10d::ReduceOp::SUM
                     : reduction == Reduction::kMin ? c10d::ReduceOp::MIN
                                                    : c10d::ReduceOp::MAX;
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> tensors{tensor.contiguous()};
  const auto run = [&](std::vector<at::Tensor>& reduced, c10d::AllreduceOptions& how) {
    impl_->run("all_reduce", tensor.device().type(),
               [&](c10d::Backend& backend) { return backend.allreduce(reduced, how); });
  };
  // Gloo and NCCL compare with < and fmax(), which pass over a NaN or not as the ranks are ordered.
  at::Tensor nan;
  if (reduction != Reduction::kSum && tensor.is_floating_point() &&
      !impl_->keeps_nan(tensor.device().type())) {
    std::vector<at::Tensor> nans{at::isnan(tensors[0]).to(at::kByte)};
    c10d::AllreduceOptions any;
    any.reduceOp = c10d::ReduceOp::MAX;
    run(nans, any);
    nan = nans[0].to(at::kBool);
  }
  run(tensors, options);
  if (nan.defined()) tensors[0].masked_fill_(nan, std::numeric_limits<double>::quiet_NaN());
  if (!tensors[0].is_same(tensor)) tensor.copy_(tensors[0]);
}

void ProcessGroup::broadcast(at::Tensor& tensor, int64_t root) {
  if (impl_->alone()) return;
  c10d::BroadcastOptions options;
  options.rootRank = root;
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> tensors{tensor.contiguous()};
  impl_->run("broadcast", tensor.device().type(),
             [&](c10d::Backend& backend) { return backend.broadcast(tensors, options); });
  if (!tensors[0].is_same(tensor)) tensor.copy_(tensors[0]);
}

at::Tensor ProcessGroup::all_gather(const at::Tensor& tensor) {
  const at::NoGradGuard no_grad;
  at::Tensor input = (tensor.dim() == 0 ? tensor.unsqueeze(0) : tensor).contiguous();
  if (impl_->alone()) return input.clone();
  std::vector<int64_t> shape = input.sizes().vec();
  shape[0] *= world_size();
  at::Tensor output = at::empty(shape, input.options());
  impl_->run("all_gather", tensor.device().type(),
             [&](c10d::Backend& backend) { return backend._allgather_base(output, input, {}); });
  return output;
}

at::Tensor ProcessGroup::reduce_scatter(const at::Tensor& tensor) {
  const at::NoGradGuard no_grad;
  const int64_t rows = tensor.dim() == 0 ? 0 : tensor.size(0);
  LIGHTNING_CHECK(rows % world_size() == 0 && tensor.dim() > 0, DistributedError,
                  "process_group: reduce_scatter got a tensor with ", tensor.dim(),
                  " dimensions and ", rows, " rows, expected a number of rows that ", world_size(),
                  " ranks can share equally. HINT: pad the tensor.");
  at::Tensor input = tensor.contiguous();
  if (impl_->alone()) return input.clone();
  std::vector<int64_t> shape = input.sizes().vec();
  shape[0] /= world_size();
  at::Tensor output = at::empty(shape, input.options());
  impl_->run("reduce_scatter", tensor.device().type(), [&](c10d::Backend& backend) {
    return backend._reduce_scatter_base(output, input, {});
  });
  return output;
}

void ProcessGroup::barrier() {
  if (impl_->alone()) return;
  impl_->run("barrier", at::kCPU, [](c10d::Backend& backend) { return backend.barrier({}); });
}

void ProcessGroup::fail(const Failure& failure) noexcept {
  impl_->log_->fail(failure);
  if (impl_->to_abort_ == nullptr) return;
  // Off the calling thread, which must continue: aborting may wait for the GPU.
  std::thread([backend = impl_->to_abort_] { backend->abort(); }).detach();
}

bool ProcessGroup::failed() const { return impl_->log_->failed(); }

CollectiveCounters ProcessGroup::counters() const { return impl_->log_->counters(); }
std::map<std::string, CollectiveCounters> ProcessGroup::counters_by_name() const {
  return impl_->log_->counters_by_name();
}

std::vector<CollectiveRecord> ProcessGroup::last_collectives() const {
  return impl_->log_->last_collectives();
}

const c10::intrusive_ptr<c10d::ProcessGroup>& ProcessGroup::c10d() const { return impl_->group_; }

}  // namespace lightning
