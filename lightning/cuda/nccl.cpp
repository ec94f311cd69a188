// Compiled where nccl.h is found, but never run: no GPU was available.
#include <lightning/cuda/nccl.h>

#include <chrono>
#include <cstdlib>
#include <exception>

#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

namespace lightning::cuda {

std::string nccl_version() { return c10d::getNcclVersion(); }

c10::intrusive_ptr<c10d::Backend> make_nccl_backend(const c10::intrusive_ptr<c10d::Store>& store,
                                                    int rank, int world_size,
                                                    const c10::Device& device,
                                                    std::string& error) try {
  // The control plane decides what is late and ends the process; LibTorch's own threads would kill
  // it without our final message. Set by hand, these variables win.
  setenv("TORCH_NCCL_ASYNC_ERROR_HANDLING", "0", 0);
  setenv("TORCH_NCCL_ENABLE_MONITORING", "0", 0);
  auto options = c10d::ProcessGroupNCCL::Options::create();
  options->timeout = std::chrono::hours(24);
  auto backend = c10::make_intrusive<c10d::ProcessGroupNCCL>(store, rank, world_size, options);
  backend->setBoundDeviceId(device);
  return backend;
} catch (const c10::Error& e) {
  error = e.what_without_backtrace();
  return nullptr;
} catch (const std::exception& e) {
  error = e.what();
  return nullptr;
}

}  // namespace lightning::cuda
