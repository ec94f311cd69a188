/// ProcessGroup: collectives on tensors between all ranks of a run, over shared memory or Gloo
/// (CPU) or NCCL (GPU). A custom c10d::Backend wraps LibTorch's: its futures can be
/// failed from outside, it counts what is sent, and it remembers the last collectives for messages.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>
#include <c10/util/intrusive_ptr.h>

#include <lightning/collectives/collectives_backend.h>
#include <lightning/control/control_plane.h>
#include <lightning/util/export.h>

namespace c10d {
class ProcessGroup;
}

namespace lightning {

enum class Reduction { kSum, kMin, kMax };

/// What this rank has sent since the start.
struct CollectiveCounters {
  int64_t messages = 0;
  int64_t bytes = 0;  // payload of the tensors given to collectives
};

struct CollectiveRecord {
  uint64_t sequence = 0;
  std::string name;  // all_reduce, broadcast, ...
  std::vector<int64_t> shape;
  at::ScalarType dtype = at::kFloat;
  bool completed = false;
};

/// Several groups of one process must not be used by several threads at the same time: over Gloo
/// LibTorch 2.11 corrupts what its flight recorder knows of them (pytorch/pytorch#179313), unless
/// TORCH_FR_BUFFER_SIZE=0 turns that off before the first group is made.
class LIGHTNING_API ProcessGroup {
 public:
  /// Every rank must call it. `control` carries the addresses, and its failures fail the group
  /// (this sets its failure handler). On a GPU tensors of both the CPU and the GPU can be sent.
  /// `backend`: auto is shared memory where all ranks can map it, else Gloo. Throws
  /// DistributedError when the ranks can't be connected, ConfigError when
  /// kSharedMemory was requested and a rank can't map the memory.
  static std::shared_ptr<ProcessGroup> create(
      std::shared_ptr<ControlPlane> control, at::Device device,
      ProcessGroupBackend backend = ProcessGroupBackend::kAuto);
  /// A group of one: every collective is a no-op.
  static std::shared_ptr<ProcessGroup> single();
  /// `rank` of a simulated world of `world_size` ranks: collectives return at once with plausible
  /// results (what a world of equal ranks would give). For dry runs.
  static std::shared_ptr<ProcessGroup> fake(int64_t rank, int64_t world_size);
  ~ProcessGroup();

  int64_t rank() const;
  int64_t world_size() const;
  /// shared_memory, gloo, nccl, single or fake.
  std::string_view backend() const;

  // Every rank must call these, in the same order, with equal shapes and dtypes. They return when
  // the result is there (CPU) or queued on the current stream (GPU). Throw DistributedError when
  // a rank fails while they wait, and at once after a failure. No gradient flows through them.
  void all_reduce(at::Tensor& tensor, Reduction reduction = Reduction::kSum);
  void broadcast(at::Tensor& tensor, int64_t root = 0);
  /// [world_size * n, ...] from [n, ...] of each rank, by rank; [world_size] from scalars.
  at::Tensor all_gather(const at::Tensor& tensor);
  /// [n / world_size, ...], this rank's part of the sum of all [n, ...].
  at::Tensor reduce_scatter(const at::Tensor& tensor);
  void barrier();

  /// A thread that waits in a collective gets a DistributedError of this failure, and so does
  /// each thread that begins one later. What carried the collectives is never destroyed then. Any
  /// thread; only the first call counts.
  void fail(const Failure& failure) noexcept;
  bool failed() const;

  CollectiveCounters counters() const;
  /// The same for each of the names that CollectiveRecord has.
  std::map<std::string, CollectiveCounters> counters_by_name() const;
  /// The last 32, the newest last.
  std::vector<CollectiveRecord> last_collectives() const;

  /// For torch's own classes (c10d::Reducer).
  const c10::intrusive_ptr<c10d::ProcessGroup>& c10d() const;

 private:
  class Impl;
  explicit ProcessGroup(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace lightning
