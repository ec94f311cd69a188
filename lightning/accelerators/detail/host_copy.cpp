#include <lightning/accelerators/detail/host_copy.h>

#include <ATen/ATen.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

namespace lightning {

HostCopy::HostCopy(const at::Tensor& values) {
  at::NoGradGuard no_grad;
  const at::Tensor flat = values.detach().reshape({-1}).to(at::kDouble);
  if (flat.is_cpu()) {
    // A copy also when nothing was converted: the caller may change its tensor.
    host_ = flat.is_same(values) || flat.is_alias_of(values) ? flat.clone() : flat;
    return;
  }
  const c10::DeviceGuard on_device(flat.device());
  host_ = at::empty({flat.numel()}, at::TensorOptions().dtype(at::kDouble).pinned_memory(true));
  host_.copy_(flat, /*non_blocking=*/true);
  arrived_.emplace(flat.device().type());
  arrived_->record(c10::impl::VirtualGuardImpl(flat.device().type()).getStream(flat.device()));
}

HostCopy::HostCopy(HostCopy&&) noexcept = default;
HostCopy& HostCopy::operator=(HostCopy&&) noexcept = default;

// The pinned memory is given back to a caching allocator, which waits for the copy automatically.
HostCopy::~HostCopy() = default;

bool HostCopy::ready() const { return !arrived_ || arrived_->query(); }

std::vector<double> HostCopy::values() const {
  if (arrived_) arrived_->synchronize();
  const double* first = host_.data_ptr<double>();
  return {first, first + host_.numel()};
}

}  // namespace lightning
