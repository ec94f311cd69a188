#include <lightning/cuda/device.h>

#include <cuda_runtime_api.h>

namespace lightning::cuda {

std::string version() {
  int version = 0;
  if (cudaRuntimeGetVersion(&version) != cudaSuccess) return "unknown";
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

std::string device_error() {
  int devices = 0;
  const cudaError_t error = cudaGetDeviceCount(&devices);
  return error == cudaSuccess || error == cudaErrorNoDevice ? "" : cudaGetErrorString(error);
}

std::string device_name(int64_t index) {
  cudaDeviceProp properties;
  const cudaError_t error = cudaGetDeviceProperties(&properties, static_cast<int>(index));
  return error == cudaSuccess ? properties.name : "";
}

}  // namespace lightning::cuda
