#include <lightning/trainer/signals.h>

#include <unistd.h>

#include <cstring>

#include <lightning/distributed/launcher.h>

namespace lightning {
namespace {

volatile std::sig_atomic_t pending_signal = 0;

// Only async-signal-safe calls in here.
void handle(int signal) {
  forward_signal(signal);
  if (signal == SIGINT && pending_signal == SIGINT) {
    ::signal(SIGINT, SIG_DFL);
    ::raise(SIGINT);
    return;
  }
  pending_signal = signal;
  static const char kText[] =
      "\nStopping after this step and writing a checkpoint. Press Ctrl-C again to end at once.\n";
  if (signal == SIGINT && !is_launched_rank()) {
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, kText, sizeof(kText) - 1);
  }
}

}  // namespace

SignalWatch::SignalWatch() {
  pending_signal = 0;
  struct sigaction action = {};
  action.sa_handler = handle;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, &previous_interrupt_);
  sigaction(SIGTERM, &action, &previous_terminate_);
}

SignalWatch::~SignalWatch() {
  sigaction(SIGINT, &previous_interrupt_, nullptr);
  sigaction(SIGTERM, &previous_terminate_, nullptr);
}

int SignalWatch::pending() const { return pending_signal; }

}  // namespace lightning
