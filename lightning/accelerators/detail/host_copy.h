/// HostCopy: values on their way from a device to the host, for logging without waiting.
#pragma once

#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>

#include <lightning/util/export.h>

namespace lightning {

class LIGHTNING_API HostCopy {
 public:
  /// Starts copying a tensor of any shape and number type, as float64. From a GPU it runs on the
  /// current stream into pinned memory, and the host doesn't wait; on the CPU it's done at once.
  explicit HostCopy(const at::Tensor& values);
  HostCopy(HostCopy&&) noexcept;
  HostCopy& operator=(HostCopy&&) noexcept;
  ~HostCopy();

  /// Whether the values have arrived. No sync.
  bool ready() const;
  /// In the tensor's order. Sync: waits until they have arrived.
  std::vector<double> values() const;

 private:
  at::Tensor host_;
  std::optional<c10::Event> arrived_;  // none on the CPU
};

}  // namespace lightning
