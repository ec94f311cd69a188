// Compiled where nccl.h is found, but so far never run: no machine with a GPU was at hand.
#include <lightning/collectives/detail/backends.h>
#include <lightning/util/error.h>

#ifdef LIGHTNING_HAS_NCCL
#include <chrono>
#include <cstdlib>

#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif

namespace lightning::detail {

#ifdef LIGHTNING_HAS_NCCL

c10::intrusive_ptr<c10d::Backend> make_nccl_backend(const c10::intrusive_ptr<c10d::Store>& store,
                                                    int rank, int world_size,
                                                    const at::Device& device) {
  // The control plane decides what is late and ends the process; LibTorch's own threads would kill
  // it without our last words. Set by hand, these variables win.
  setenv("TORCH_NCCL_ASYNC_ERROR_HANDLING", "0", 0);
  setenv("TORCH_NCCL_ENABLE_MONITORING", "0", 0);
  auto options = c10d::ProcessGroupNCCL::Options::create();
  options->timeout = std::chrono::hours(24);
  auto backend = c10::make_intrusive<c10d::ProcessGroupNCCL>(store, rank, world_size, options);
  backend->setBoundDeviceId(device);
  return backend;
}

#else

c10::intrusive_ptr<c10d::Backend> make_nccl_backend(const c10::intrusive_ptr<c10d::Store>&, int,
                                                    int, const at::Device&) {
  throw ConfigError(
      "process_group: this build has no NCCL, expected it for several ranks on GPUs. HINT: build "
      "where nccl.h is installed, or use trainer.accelerator: cpu.");
}

#endif

}  // namespace lightning::detail
