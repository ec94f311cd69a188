/// The CUDA plug-in liblightning_cuda: all that needs libtorch_cuda, in a library that only a
/// process with an NVIDIA driver loads. What goes through ATen (streams, memory, kernels) works
/// once it is loaded; the rest is in a table of functions.
#pragma once

#include <cstdint>
#include <string>

#include <c10/core/Device.h>
#include <c10/util/intrusive_ptr.h>

#include <lightning/util/export.h>

namespace c10d {
class Backend;
class Store;
}  // namespace c10d

namespace lightning::detail {

/// To be raised with every change of CudaPlugin.
inline constexpr uint32_t kCudaPluginAbi = 1;

/// The functions don't throw. A later version may change all but the first two members.
struct CudaPlugin {
  uint32_t abi;
  const char* libtorch_version;
  /// "13.0"
  std::string (*cuda_version)();
  std::string (*nccl_version)();
  /// Why CUDA finds no device; empty when it finds one or there just is none.
  std::string (*device_error)();
  /// The maker's name; empty when CUDA does not know the device.
  std::string (*device_name)(int64_t index);
  /// NCCL on `device`; ranks connect at their first collective. Null with `error` set when it can't
  /// be made.
  c10::intrusive_ptr<c10d::Backend> (*make_nccl_backend)(
      const c10::intrusive_ptr<c10d::Store>& store, int rank, int world_size,
      const c10::Device& device, std::string& error);
};

/// The one function that the plug-in exports.
inline constexpr const char* kCudaPluginFunction = "lightning_cuda_plugin";
using CudaPluginFunction = const CudaPlugin* (*)();

/// What came of loading the plug-in.
struct CudaPluginState {
  const CudaPlugin* plugin = nullptr;
  /// Whether this process was meant to use GPUs: it has a driver, and CUDA_VISIBLE_DEVICES does not
  /// forbid them.
  bool wanted = false;
  /// Where there is no plug-in: why, and what can be done.
  std::string reason = {};
  std::string hint = {};
};

/// Loads the plug-in on the first call, which is made before main(): LibTorch asks for its CUDA
/// functions once, for example in torch::manual_seed(), and never sees a plug-in loaded later.
LIGHTNING_API const CudaPluginState& cuda_plugin();

/// Why a process that sees no GPU sees none, and what can be done.
struct NoGpu {
  std::string reason;
  std::string hint;
};
NoGpu why_no_gpu();

}  // namespace lightning::detail
