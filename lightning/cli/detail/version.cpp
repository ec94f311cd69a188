#include <lightning/cli/detail/version.h>

#include <initializer_list>
#include <string_view>
#include <utility>

#include <ATen/Version.h>
#include <torch/headeronly/version.h>

#include <lightning/accelerators/accelerator.h>
#include <lightning/accelerators/detail/cuda_plugin.h>
#include <lightning/util/error.h>

namespace lightning {
namespace {

#ifdef __clang__
constexpr const char* kCompiler = "clang++ " __clang_version__;
#else
constexpr const char* kCompiler = "g++ " __VERSION__;
#endif

std::string build_type() {
  const std::string_view sanitizers = LIGHTNING_SANITIZERS;
  return detail::concat(LIGHTNING_BUILD_TYPE, sanitizers.empty() ? "" : ", sanitizers ",
                        sanitizers);
}

std::string collectives() {
  const detail::CudaPlugin* cuda = detail::cuda_plugin().plugin;
  return "shared_memory, gloo" + (cuda != nullptr ? ", nccl " + cuda->nccl_version() : "");
}

std::string gpus() {
  const detail::CudaPlugin* cuda = detail::cuda_plugin().plugin;
  const std::string version = cuda != nullptr ? cuda->cuda_version() : "not loaded";
  const int64_t count = num_gpus();
  if (count == 0) return detail::concat(version, ", no GPU: ", detail::why_no_gpu().reason);
  return detail::concat(version, ", ", count,
                        count == 1 ? " GPU: " : " GPUs: ", device_name(at::Device(at::kCUDA, 0)));
}

}  // namespace

std::string version_text() {
  std::string text;
  for (const auto& [name, value] : std::initializer_list<std::pair<std::string, std::string>>{
           {"lightning", LIGHTNING_VERSION},
           {"LibTorch", TORCH_VERSION},
           {"compiler", kCompiler},
           {"build type", build_type()},
           {"CPU capability", at::get_cpu_capability()},
           {"collectives", collectives()},
           {"CUDA", gpus()}}) {
    text += name + std::string(16 - name.size(), ' ') + value + "\n";
  }
  return text;
}

}  // namespace lightning
