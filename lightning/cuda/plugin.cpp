// What the plug-in exports: the table of lightning/accelerators/detail/cuda_plugin.h.
#include <torch/headeronly/version.h>

#include <lightning/accelerators/detail/cuda_plugin.h>
#include <lightning/cuda/device.h>
#include <lightning/cuda/nccl.h>
#include <lightning/util/export.h>

using lightning::detail::CudaPlugin;

extern "C" LIGHTNING_API const CudaPlugin* lightning_cuda_plugin() {
  static constexpr CudaPlugin kPlugin = {
      .abi = lightning::detail::kCudaPluginAbi,
      .libtorch_version = TORCH_VERSION,
      .cuda_version = lightning::cuda::version,
      .nccl_version = lightning::cuda::nccl_version,
      .device_error = lightning::cuda::device_error,
      .device_name = lightning::cuda::device_name,
      .make_nccl_backend = lightning::cuda::make_nccl_backend,
  };
  return &kPlugin;
}
