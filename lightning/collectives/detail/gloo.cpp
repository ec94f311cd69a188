#include <chrono>
#include <csignal>

#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include <lightning/collectives/detail/backends.h>

namespace lightning::detail {
namespace {

// The control plane decides what is late.
constexpr std::chrono::hours kTimeout{24};

// Gloo writes to sockets without MSG_NOSIGNAL: where no handler is set, the exit of a peer would
// end this process by SIGPIPE, without a message.
void survive_broken_connections() {
  struct sigaction action = {};
  ::sigaction(SIGPIPE, nullptr, &action);
  const bool by_default = (action.sa_flags & SA_SIGINFO) == 0 && action.sa_handler == SIG_DFL;
  if (by_default) ::signal(SIGPIPE, SIG_IGN);
}

}  // namespace

c10::intrusive_ptr<c10d::Backend> make_gloo_backend(const c10::intrusive_ptr<c10d::Store>& store,
                                                    int rank, int world_size,
                                                    const std::string& address) {
  survive_broken_connections();
  auto options = c10d::ProcessGroupGloo::Options::create(kTimeout);
  // Not the default device, which takes what the hostname resolves to.
  options->devices = {c10d::ProcessGroupGloo::createDeviceForHostname(address)};
  options->threads = 2;
  return c10::make_intrusive<c10d::ProcessGroupGloo>(store, rank, world_size, options);
}

}  // namespace lightning::detail
