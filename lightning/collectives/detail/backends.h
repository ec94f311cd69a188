/// What carries collectives: shared memory between the CPUs of a node, Gloo between nodes, NCCL
/// between GPUs (out of the CUDA plug-in), nothing in a dry run. The libraries' own headers stay in
/// one file each.
#pragma once

#include <functional>
#include <string>

#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include <lightning/control/control_plane.h>

namespace lightning::detail {

/// Connects all ranks over Gloo; waits for them. `address`: numeric, where others reach this rank.
c10::intrusive_ptr<c10d::Backend> make_gloo_backend(const c10::intrusive_ptr<c10d::Store>& store,
                                                    int rank, int world_size,
                                                    const std::string& address);

/// Collectives through memory that all ranks have mapped; each is done when it returns. Every rank
/// must call it; null on all of them when one can't map the memory. `throw_if_failed` is called now
/// and then while a rank waits for others.
c10::intrusive_ptr<c10d::Backend> make_shared_memory_backend(ControlPlane& control,
                                                             std::function<void()> throw_if_failed);

/// Returns at once, with what a world of ranks that hold the same tensors as this one would give.
c10::intrusive_ptr<c10d::Backend> make_fake_backend(int rank, int world_size);

}  // namespace lightning::detail
