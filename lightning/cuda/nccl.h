/// Collectives between GPUs. No function throws.
#pragma once

#include <string>

#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

namespace lightning::cuda {

/// Of the NCCL that was loaded: "2.28.9".
std::string nccl_version();

/// Null with `error` set when it can't be made.
c10::intrusive_ptr<c10d::Backend> make_nccl_backend(const c10::intrusive_ptr<c10d::Store>& store,
                                                    int rank, int world_size,
                                                    const c10::Device& device, std::string& error);

}  // namespace lightning::cuda
