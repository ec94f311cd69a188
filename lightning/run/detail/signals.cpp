#include <lightning/run/detail/signals.h>

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include <lightning/launch/deferred_termination.h>
#include <lightning/launch/launcher.h>
#include <lightning/launch/signal_forwarding.h>

namespace lightning {
namespace {

volatile std::sig_atomic_t pending_signal = 0;
volatile std::sig_atomic_t requeue_signal_in_force = 0;
// The launcher's handlers may still call ours when the watch is gone.
volatile std::sig_atomic_t watching = 0;
// Opened once, for handlers that run at any time.
volatile std::sig_atomic_t event_descriptor = -1;
// Written before the handlers are installed.
struct sigaction previous_actions[NSIG];

bool is(const struct sigaction& action, void (*handler)(int, siginfo_t*, void*)) {
  return (action.sa_flags & SA_SIGINFO) != 0 && action.sa_sigaction == handler;
}

/// Whether there was a handler to call. The launcher's isn't one: we forward by ourselves, and it
/// would end the program.
bool call_previous(int signal, siginfo_t* info, void* context, bool noted) {
  const struct sigaction& previous = previous_actions[signal];
  // Instead of the default, which isn't wanted once the signal was noted.
  if (noted && detail::DeferredTermination::is_handler(previous)) return true;
  if (is(previous, detail::forwarding_handler())) return false;
  if ((previous.sa_flags & SA_SIGINFO) != 0) {
    previous.sa_sigaction(signal, info, context);
  } else if (previous.sa_handler == SIG_DFL) {
    return false;
  } else if (previous.sa_handler != SIG_IGN) {
    previous.sa_handler(signal);
  }
  return true;
}

void note(int signal) {
  forward_signal(signal);
  if (signal == SIGINT && pending_signal == SIGINT) {
    ::signal(SIGINT, SIG_DFL);
    ::raise(SIGINT);
    return;
  }
  const bool ends_the_run = signal != requeue_signal_in_force;
  if (ends_the_run || pending_signal == 0) pending_signal = signal;
  const uint64_t one = 1;
  [[maybe_unused]] const auto woken = ::write(event_descriptor, &one, sizeof(one));
  static const char kText[] =
      "\nStopping after this step and writing a checkpoint. Press Ctrl-C again to end at once.\n";
  if (signal == SIGINT && !is_launched_rank()) {
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, kText, sizeof(kText) - 1);
  }
}

// A handler, as other programs that are started meanwhile would inherit SIG_IGN.
void do_nothing(int /*signal*/) {}

bool is_ignored(int signal) {
  struct sigaction action = {};
  ::sigaction(signal, nullptr, &action);
  return (action.sa_flags & SA_SIGINFO) == 0 && action.sa_handler == SIG_IGN;
}

// Only async-signal-safe calls in here.
void handle(int signal, siginfo_t* info, void* context) {
  const int error = errno;
  const bool noted = watching != 0;
  if (noted) note(signal);
  if (!call_previous(signal, info, context, noted) && !noted) detail::act_by_default(signal);
  errno = error;
}

}  // namespace

SignalHandler::SignalHandler(int requeue_signal) : watched_{SIGINT, SIGTERM} {
  requeue_signal_in_force = requeue_signal;
  if (requeue_signal != 0) watched_.push_back(requeue_signal);
  if (requeue_signal != SIGHUP && !is_ignored(SIGHUP)) watched_.push_back(SIGHUP);
  if (event_descriptor < 0) event_descriptor = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  forget();
  watching = 1;
  for (const int signal : watched_) {
    ::sigaction(signal, nullptr, &previous_actions[signal]);
    struct sigaction action = {};
    action.sa_sigaction = handle;
    sigemptyset(&action.sa_mask);
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    ::sigaction(signal, &action, nullptr);
  }
  struct sigaction pipe = {};
  ::sigaction(SIGPIPE, nullptr, &pipe);
  if ((pipe.sa_flags & SA_SIGINFO) == 0 && pipe.sa_handler == SIG_DFL) {
    pipe = {};
    pipe.sa_handler = do_nothing;
    sigemptyset(&pipe.sa_mask);
    pipe.sa_flags = SA_RESTART;
    ignores_pipe_ = ::sigaction(SIGPIPE, &pipe, nullptr) == 0;
  }
}

SignalHandler::~SignalHandler() {
  watching = 0;
  for (const int signal : watched_) {
    struct sigaction now = {};
    ::sigaction(signal, nullptr, &now);
    // A handler installed after ours calls ours; then we act as if it weren't there.
    if (is(now, handle)) ::sigaction(signal, &previous_actions[signal], nullptr);
  }
  struct sigaction pipe = {};
  ::sigaction(SIGPIPE, nullptr, &pipe);
  const bool ours = (pipe.sa_flags & SA_SIGINFO) == 0 && pipe.sa_handler == do_nothing;
  if (ignores_pipe_ && ours) ::signal(SIGPIPE, SIG_DFL);
}

int SignalHandler::pending() const { return pending_signal; }

int SignalHandler::descriptor() const { return event_descriptor; }

void SignalHandler::forget() {
  pending_signal = 0;
  eventfd_t count = 0;
  ::eventfd_read(event_descriptor, &count);
}

}  // namespace lightning
