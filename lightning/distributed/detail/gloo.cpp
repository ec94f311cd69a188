#include <chrono>

#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include <lightning/distributed/detail/backends.h>

namespace lightning::detail {
namespace {

// The control plane decides what is late.
constexpr std::chrono::hours kTimeout{24};

}  // namespace

c10::intrusive_ptr<c10d::Backend> make_gloo_backend(const c10::intrusive_ptr<c10d::Store>& store,
                                                    int rank, int world_size,
                                                    const std::string& address) {
  auto options = c10d::ProcessGroupGloo::Options::create(kTimeout);
  // Not the default device, which takes what the hostname resolves to.
  options->devices = {c10d::ProcessGroupGloo::createDeviceForHostname(address)};
  options->threads = 2;
  return c10::make_intrusive<c10d::ProcessGroupGloo>(store, rank, world_size, options);
}

}  // namespace lightning::detail
