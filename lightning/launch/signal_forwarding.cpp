#include <lightning/launch/signal_forwarding.h>

#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>

#include <lightning/launch/launcher.h>

namespace lightning {
namespace {

constexpr int kForwarded[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGTSTP, SIGCONT};

// What handlers read; written before they are installed, never freed.
std::atomic<const std::vector<pid_t>*> targets{nullptr};
std::atomic<pid_t> owner{-1};
std::atomic<uint64_t> forwarded{0};
// The thread that is in a handler which was there before ours, and may forward too (SignalHandler):
// ranks take a second SIGINT for the order to end at once.
std::atomic<pid_t> chaining{-1};
struct sigaction previous[NSIG];

void send(int signal) {
  const std::vector<pid_t>* processes = targets.load();
  // A process that the user forked has these handlers too, but not these ranks.
  if (processes == nullptr || owner.load() != ::getpid()) return;
  for (const pid_t process : *processes) ::kill(process, signal);
}

void forward(int signal) {
  if (signal == SIGTSTP) {
    // Without a controlling terminal a process would ignore SIGTSTP.
    send(SIGSTOP);
  } else {
    if (signal > 0 && signal < 64) forwarded.fetch_or(uint64_t{1} << signal);
    send(signal);
  }
}

// Only async-signal-safe calls in here.
void handle(int signal, siginfo_t* info, void* context) {
  const int error = errno;
  forward(signal);
  const struct sigaction& next = previous[signal];
  const pid_t before = chaining.exchange(::gettid());
  if ((next.sa_flags & SA_SIGINFO) != 0) {
    next.sa_sigaction(signal, info, context);
  } else if (next.sa_handler != SIG_DFL) {
    next.sa_handler(signal);
  } else if (signal != SIGCONT) {
    detail::act_by_default(signal);
  }
  chaining = before;
  // Here again: another process has continued this one, or it was never stopped.
  if (signal == SIGTSTP) send(SIGCONT);
  errno = error;
}

}  // namespace

void forward_signal(int signal) noexcept {
  const int error = errno;
  if (chaining.load() != ::gettid()) forward(signal);
  errno = error;
}

namespace detail {

SignalHandler forwarding_handler() noexcept { return handle; }

void act_by_default(int signal) noexcept {
  struct sigaction standard = {};
  standard.sa_handler = SIG_DFL;
  struct sigaction own = {};
  ::sigaction(signal, &standard, &own);
  ::raise(signal);
  sigset_t set;
  sigset_t before;
  sigemptyset(&set);
  sigaddset(&set, signal);
  ::pthread_sigmask(SIG_UNBLOCK, &set, &before);  // it happens here
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ::sigaction(signal, &own, nullptr);
}

void start_forwarding(const std::vector<pid_t>& processes) {
  owner = ::getpid();
  targets = new std::vector<pid_t>(processes);
  for (const int signal : kForwarded) {
    ::sigaction(signal, nullptr, &previous[signal]);
    const bool siginfo = (previous[signal].sa_flags & SA_SIGINFO) != 0;
    // What is ignored (nohup) the ranks ignore as well.
    if (!siginfo && previous[signal].sa_handler == SIG_IGN) continue;
    struct sigaction action = {};
    action.sa_sigaction = handle;
    sigemptyset(&action.sa_mask);
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    ::sigaction(signal, &action, nullptr);
  }
}

bool was_forwarded(int signal) {
  return signal > 0 && signal < 64 && (forwarded.load() >> signal & 1) != 0;
}

}  // namespace detail
}  // namespace lightning
