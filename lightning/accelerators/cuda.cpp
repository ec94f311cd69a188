#include <lightning/accelerators/cuda.h>

#ifdef LIGHTNING_HAS_CUDA
#include <cuda_runtime_api.h>
#endif

namespace lightning::cuda {

std::string device_name(int64_t index) {
#ifdef LIGHTNING_HAS_CUDA
  cudaDeviceProp properties;
  if (cudaGetDeviceProperties(&properties, static_cast<int>(index)) == cudaSuccess) {
    return properties.name;
  }
#endif
  return "CUDA device " + std::to_string(index);
}

}  // namespace lightning::cuda
