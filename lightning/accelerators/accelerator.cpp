#include <lightning/accelerators/accelerator.h>

#include <algorithm>
#include <fstream>
#include <optional>

#include <ATen/DeviceAccelerator.h>
#include <ATen/detail/CUDAHooksInterface.h>

#include <lightning/accelerators/detail/cuda_plugin.h>
#include <lightning/accelerators/detail/host_memory.h>
#include <lightning/util/detail/strings.h>
#include <lightning/util/error.h>
#include <lightning/util/log.h>

namespace lightning {
namespace {

using Stats = c10::CachingDeviceAllocator::DeviceStats;
constexpr auto kAggregate = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);

[[noreturn]] void throw_bad_devices(std::string_view devices, std::string_view expected) {
  throw ConfigError(detail::concat("Accelerator: devices is \"", devices, "\", expected ", expected,
                                   ". HINT: use auto for one device."));
}

/// The parts of "0,2" or "[0, 2]"; "1," is a list of one.
std::vector<int64_t> parse_list(std::string_view devices) {
  std::string_view rest = devices;
  if (rest.starts_with('[') && rest.ends_with(']')) rest = rest.substr(1, rest.size() - 2);
  std::vector<int64_t> indices;
  while (!trimmed(rest).empty()) {
    const size_t comma = std::min(rest.find(','), rest.size());
    const auto index = parse_number<int64_t>(trimmed(rest.substr(0, comma)));
    if (!index) throw_bad_devices(devices, "a list of device indices such as \"0,2\"");
    indices.push_back(*index);
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  return indices;
}

bool is_list(std::string_view devices) {
  return devices.find(',') != std::string_view::npos || devices.starts_with('[');
}

std::vector<int64_t> gpu_indices(std::string_view devices) {
  const int64_t available = num_gpus();
  const std::string expected = available == 1 ? "only GPU 0, which is all there is"
                                              : detail::concat("GPUs from 0 to ", available - 1);
  std::vector<int64_t> indices;
  if (is_list(devices)) {
    indices = parse_list(devices);
  } else {
    const auto count = devices == "auto" ? 1 : parse_number<int64_t>(devices);
    if (!count || *count == 0 || *count < -1 || *count > available) {
      throw_bad_devices(devices, detail::concat("auto, -1, a number from 1 to ", available,
                                                " or a list of indices"));
    }
    for (int64_t i = 0; i < (*count == -1 ? available : *count); ++i) indices.push_back(i);
  }
  if (indices.empty()) throw_bad_devices(devices, "at least one device");
  for (size_t i = 0; i < indices.size(); ++i) {
    if (indices[i] < 0 || indices[i] >= available) throw_bad_devices(devices, expected);
    if (std::count(indices.begin(), indices.end(), indices[i]) > 1) {
      throw_bad_devices(devices, "each device once");
    }
  }
  return indices;
}

std::vector<at::Device> cpu_devices(std::string_view devices) {
  const auto count = devices == "auto" ? 1 : parse_number<int64_t>(devices);
  static constexpr int64_t kMost = 100'000;
  if (!count || *count < 1 || *count > kMost) {
    throw_bad_devices(
        devices, detail::concat("auto or a number of processes (1 to ", kMost, ") for the CPU"));
  }
  return std::vector<at::Device>(static_cast<size_t>(*count), at::Device(at::kCPU));
}

/// `auto` has found no GPU: a warning where one was expected.
void warn_if_gpu_was_expected() {
  const detail::CudaPluginState& cuda = detail::cuda_plugin();
  if (!cuda.wanted || (cuda.plugin != nullptr && cuda.plugin->device_error().empty())) return;
  const detail::NoGpu no_gpu = detail::why_no_gpu();
  log_warning(detail::concat("Accelerator: accelerator auto takes the CPU: ", no_gpu.reason,
                             ". HINT: ", no_gpu.hint, "."));
}

std::string gpu_name(int64_t index) {
  const detail::CudaPluginState& cuda = detail::cuda_plugin();
  const std::string name = cuda.plugin != nullptr ? cuda.plugin->device_name(index) : "";
  return name.empty() ? detail::concat("CUDA device ", index) : name;
}

std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("model name")) continue;
    const size_t colon = line.find(':');
    if (colon != std::string::npos) return std::string(trimmed(line.substr(colon + 1)));
  }
  return "CPU";
}

}  // namespace

Accelerator::Accelerator(std::vector<at::Device> devices)
    : devices_(std::move(devices)), name_(device_name(devices_.front())) {}

Accelerator Accelerator::resolve(std::string_view accelerator, std::string_view devices) {
  devices = trimmed(devices);
  const bool wants_gpu = accelerator == "gpu" || accelerator == "cuda";
  LIGHTNING_CHECK(wants_gpu || accelerator == "cpu" || accelerator == "auto", ConfigError,
                  "Accelerator: accelerator is \"", accelerator,
                  "\", expected auto, cpu, gpu or cuda. HINT: use auto.");
  const bool has_gpu = accelerator != "cpu" && num_gpus() > 0;
  if (wants_gpu && !has_gpu) {
    const detail::NoGpu no_gpu = detail::why_no_gpu();
    throw ConfigError(detail::concat("Accelerator: accelerator is ", accelerator,
                                     " and this process sees no GPU: ", no_gpu.reason,
                                     ", expected at least one GPU. HINT: ", no_gpu.hint,
                                     ", or use accelerator: cpu."));
  }
  if (!has_gpu) {
    if (accelerator == "auto") warn_if_gpu_was_expected();
    return Accelerator(cpu_devices(devices));
  }
  std::vector<at::Device> gpus;
  for (const int64_t index : gpu_indices(devices)) {
    gpus.emplace_back(at::kCUDA, static_cast<c10::DeviceIndex>(index));
  }
  return Accelerator(std::move(gpus));
}

int64_t num_gpus() {
  const auto& hooks = at::detail::getCUDAHooks();
  return hooks.hasCUDA() ? hooks.getNumGPUs() : 0;
}

std::string device_name(at::Device device) {
  return device.is_cuda() ? gpu_name(device.index()) : cpu_name();
}

void set_current_device(at::Device device) {
  if (!device.is_cpu()) at::accelerator::setDeviceIndex(device.index());
}

void synchronize(at::Device device) {
  if (!device.is_cpu()) at::accelerator::synchronizeDevice(device.index());
}

MemoryStats memory_stats(at::Device device) {
  MemoryStats result;
  if (device.is_cpu()) {
    const HostMemoryUse use = host_memory_use();
    result.allocated = use.allocated;
    result.peak_allocated = use.peak;
    return result;
  }
  const Stats stats = at::accelerator::getDeviceStats(device.index());
  result.allocated = stats.allocated_bytes[kAggregate].current;
  result.peak_allocated = stats.allocated_bytes[kAggregate].peak;
  result.reserved = stats.reserved_bytes[kAggregate].current;
  const auto [free, total] = at::accelerator::getMemoryInfo(device.index());
  result.free = static_cast<int64_t>(free);
  result.total = static_cast<int64_t>(total);
  return result;
}

void reset_peak_memory(at::Device device) {
  if (device.is_cpu()) {
    reset_host_memory_peak();
  } else {
    at::accelerator::resetPeakStats(device.index());
  }
}

}  // namespace lightning
