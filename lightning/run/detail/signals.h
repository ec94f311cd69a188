/// Signals that ask a run to stop: the handler sets a flag and wakes who waits for one; the loops
/// act on it at the next safe point.
#pragma once

#include <csignal>
#include <vector>

#include <lightning/util/export.h>

namespace lightning {

/// Catches SIGINT, SIGTERM, SIGHUP (the terminal is gone) and, when given, a requeue signal while
/// it lives; one at a time. SIGHUP stays ignored where it was (nohup), unless it is the requeue
/// signal. A second SIGINT ends the process at once. Handlers that were there before run too.
///
/// SIGPIPE, where the program has no handler for it, does nothing while it lives: the process that
/// read the program's output may be gone, and writing to it gives an error (EPIPE) instead of
/// ending the run.
class LIGHTNING_API SignalHandler {
 public:
  explicit SignalHandler(int requeue_signal = 0);
  ~SignalHandler();  // puts the previous handlers back
  SignalHandler(const SignalHandler&) = delete;
  SignalHandler& operator=(const SignalHandler&) = delete;

  /// The signal that arrived, or 0. SIGINT, SIGTERM and SIGHUP replace a requeue signal that came
  /// before them, never the other way round. One load.
  int pending() const;
  /// An eventfd that becomes readable when a signal has come; reading it resets it.
  int descriptor() const;
  /// Waits for the next one.
  void forget();

 private:
  std::vector<int> watched_;
  bool ignores_pipe_ = false;
};

}  // namespace lightning
