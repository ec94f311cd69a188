#include <lightning/control/detail/control_thread.h>

#include <pthread.h>

#include <algorithm>
#include <csignal>
#include <system_error>
#include <utility>

#include <lightning/util/error.h>

namespace lightning::detail {

std::thread start_control_thread(const char* name, std::function<void()> run) {
  sigset_t all;
  sigset_t previous;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &previous);  // inherited by the thread
  std::thread thread;
  std::string problem;
  try {
    thread = std::thread(std::move(run));
  } catch (const std::system_error& error) {
    problem = error.what();
  }
  pthread_sigmask(SIG_SETMASK, &previous, nullptr);
  LIGHTNING_CHECK(problem.empty(), DistributedError,
                  "control plane: the system gives no thread: ", problem, ".");
  pthread_setname_np(thread.native_handle(), name);
  return thread;
}

std::chrono::milliseconds control_interval(const ControlPlaneOptions& options) {
  using std::chrono::milliseconds;
  const milliseconds shortest = std::min({options.heartbeat_timeout, options.late_warning,
                                          options.collective_timeout, options.connect_timeout});
  return std::clamp(shortest / 10, milliseconds(1), milliseconds(1000));
}

}  // namespace lightning::detail
