/// Accelerator: which devices a run uses, from the texts that users write, and what can be asked of
/// a device. Works with and without a GPU, and compiles without a CUDA toolkit.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>

#include <lightning/util/export.h>

namespace lightning {

class LIGHTNING_API Accelerator {
 public:
  /// `accelerator`: auto (a GPU when there is one), cpu, gpu or cuda. `devices`: auto (one), a
  /// number, -1 (all), or a list of indices ("0,2", "[0, 2]", "1,"). Throws ConfigError, saying
  /// what there is, for devices that don't exist, and why no GPU can be used where gpu or cuda
  /// finds none. Warns when auto takes the CPU on a machine with a driver for GPUs.
  static Accelerator resolve(std::string_view accelerator, std::string_view devices);

  /// On the CPU each process counts as a device.
  const std::vector<at::Device>& devices() const { return devices_; }
  /// What the first device is called: "NVIDIA H100 80GB HBM3", "AMD EPYC 9R14".
  const std::string& name() const { return name_; }

 private:
  explicit Accelerator(std::vector<at::Device> devices);

  std::vector<at::Device> devices_;
  std::string name_;
};

/// GPUs that this process sees; 0 without a driver or the CUDA plug-in.
LIGHTNING_API int64_t num_gpus();

/// Maker's name of the device.
LIGHTNING_API std::string device_name(at::Device device);

/// Makes a GPU the one that this thread's CUDA calls go to; nothing on the CPU.
LIGHTNING_API void set_current_device(at::Device device);

/// Sync: returns when all work of the device is done; nothing on the CPU.
LIGHTNING_API void synchronize(at::Device device);

/// Bytes of device memory. On the CPU only the first two are known, of this process's tensors
/// (those whose memory torch allocated), to the byte: from the first Trainer for the CPU on, which
/// counts what is allocated after it was made. They are 0 where the program has set an allocator of
/// its own for torch, MALLOC_MMAP_THRESHOLD_ or MALLOC_TRIM_THRESHOLD_ is set, the C library isn't
/// glibc, or a sanitizer watches.
struct MemoryStats {
  int64_t allocated = 0;       // in tensors now
  int64_t peak_allocated = 0;  // most in tensors at one time since the last reset
  int64_t reserved = 0;        // held by the caching allocator
  int64_t free = 0;            // of the device, for all processes
  int64_t total = 0;
};
/// No sync. Any thread.
LIGHTNING_API MemoryStats memory_stats(at::Device device);
/// From here on `peak_allocated` begins with what is allocated now. Any thread.
LIGHTNING_API void reset_peak_memory(at::Device device);

}  // namespace lightning
