#include <lightning/accelerators/detail/cuda_plugin.h>

#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>
#include <string_view>

#include <ATen/detail/CUDAHooksInterface.h>
#include <torch/headeronly/version.h>

#include <lightning/util/detail/disk.h>
#include <lightning/util/error.h>

namespace lightning::detail {
namespace {

constexpr const char* kFileName = "liblightning_cuda.so";
constexpr const char* kSameBuild =
    "install liblightning and liblightning_cuda of one build, and the LibTorch that they were "
    "built with";

std::string last_dl_error() {
  const char* text = ::dlerror();
  return text != nullptr ? text : "no reason given";
}

/// LIGHTNING_CUDA_PLUGIN, else the file beside this library.
std::filesystem::path plugin_path() {
  if (const char* given = std::getenv("LIGHTNING_CUDA_PLUGIN");
      given != nullptr && *given != '\0') {
    return given;
  }
  Dl_info library{};
  if (::dladdr(&kFileName, &library) == 0) return kFileName;
  return std::filesystem::path(library.dli_fname).parent_path() / kFileName;
}

CudaPluginState without(bool wanted, std::string reason, std::string hint) {
  return {
      .plugin = nullptr, .wanted = wanted, .reason = std::move(reason), .hint = std::move(hint)};
}

CudaPluginState checked(void* function, const std::string& path) {
  const CudaPlugin* plugin = reinterpret_cast<CudaPluginFunction>(function)();
  if (plugin->abi != kCudaPluginAbi) {
    return without(true,
                   concat("the CUDA plug-in ", path, " has the ABI ", plugin->abi,
                          " and this library needs ABI ", kCudaPluginAbi),
                   kSameBuild);
  }
  if (std::string_view(plugin->libtorch_version) != TORCH_VERSION) {
    return without(true,
                   concat("the CUDA plug-in ", path, " was built with LibTorch ",
                          plugin->libtorch_version, " and this library with " TORCH_VERSION),
                   kSameBuild);
  }
  return {.plugin = plugin, .wanted = true};
}

CudaPluginState load() {
  if (void* function = ::dlsym(RTLD_DEFAULT, kCudaPluginFunction)) {
    return checked(function, "in this process");
  }
  // "-1" is what CUDA's own documents suggest for "none".
  if (const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
      visible != nullptr && (*visible == '\0' || std::string_view(visible) == "-1")) {
    return without(false, concat("CUDA_VISIBLE_DEVICES is \"", visible, "\""),
                   "unset CUDA_VISIBLE_DEVICES or list GPUs in it");
  }
  if (::dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL) == nullptr) {
    return without(false, concat("there is no NVIDIA driver (", last_dl_error(), ")"),
                   "install NVIDIA's driver, or give the container access to it");
  }
  const std::string path = plugin_path().string();
  if (!detail::path_exists(path)) {
    return without(true, concat("there is no CUDA plug-in ", path),
                   "build the target lightning_cuda where a CUDA toolkit is installed, or set "
                   "LIGHTNING_CUDA_PLUGIN to its file");
  }
  void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    return without(true, concat("the CUDA plug-in can't be loaded (", last_dl_error(), ")"),
                   kSameBuild);
  }
  void* function = ::dlsym(library, kCudaPluginFunction);
  if (function == nullptr) {
    return without(true, concat(path, " is not a CUDA plug-in (", last_dl_error(), ")"),
                   "set LIGHTNING_CUDA_PLUGIN to the file liblightning_cuda.so");
  }
  return checked(function, path);
}

__attribute__((constructor)) void load_before_main() { cuda_plugin(); }

}  // namespace

const CudaPluginState& cuda_plugin() {
  static const CudaPluginState state = load();
  return state;
}

NoGpu why_no_gpu() {
  const CudaPluginState& cuda = cuda_plugin();
  if (cuda.plugin == nullptr) return {cuda.reason, cuda.hint};
  if (!at::detail::getCUDAHooks().hasCUDART()) {
    return {"CUDA was requested from LibTorch before the CUDA plug-in was loaded",
            "use no LibTorch functions in constructors of libraries"};
  }
  const std::string error = cuda.plugin->device_error();
  return {error.empty() ? "CUDA finds no device" : concat("CUDA reports \"", error, "\""),
          "check nvidia-smi and CUDA_VISIBLE_DEVICES"};
}

}  // namespace lightning::detail
