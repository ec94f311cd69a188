#include <lightning/launch/deferred_termination.h>

#include <unistd.h>

#include <atomic>

namespace lightning::detail {
namespace {

// Lock-free, as a signal handler must have them.
std::atomic<bool> has_other_ranks = false;
std::atomic<bool> has_come = false;
std::atomic<bool> is_active = false;
static_assert(std::atomic<bool>::is_always_lock_free);

bool handler_is(int signal, void (*handler)(int)) {
  struct sigaction action = {};
  return ::sigaction(signal, nullptr, &action) == 0 && (action.sa_flags & SA_SIGINFO) == 0 &&
         action.sa_handler == handler;
}

void terminate() {
  ::signal(SIGTERM, SIG_DFL);
  ::raise(SIGTERM);
}

void on_alarm(int /*signal*/) { terminate(); }

void on_terminate(int /*signal*/) {
  if (!is_active || !has_other_ranks) return terminate();
  has_come = true;
  ::alarm(1);
}

}  // namespace

DeferredTermination::DeferredTermination() {
  if (!handler_is(SIGTERM, SIG_DFL) || !handler_is(SIGALRM, SIG_DFL)) return;
  has_come = false;
  is_active = true;
  ::signal(SIGALRM, on_alarm);
  ::signal(SIGTERM, on_terminate);
  installed_ = true;
}

DeferredTermination::~DeferredTermination() {
  if (!installed_) return;
  is_active = false;
  // One that came later, the launcher's, still calls this one.
  if (handler_is(SIGTERM, on_terminate)) ::signal(SIGTERM, SIG_DFL);
  ::alarm(0);
  ::signal(SIGALRM, SIG_DFL);
  if (has_come) terminate();
}

bool DeferredTermination::is_handler(const struct sigaction& action) noexcept {
  return (action.sa_flags & SA_SIGINFO) == 0 && action.sa_handler == on_terminate;
}

void DeferredTermination::set_has_peers(bool has_peers) noexcept { has_other_ranks = has_peers; }

}  // namespace lightning::detail
