/// SIGINT and SIGTERM during a run: the handler only sets a flag; the loops act on it at the next
/// safe point.
#pragma once

#include <csignal>

#include <lightning/util/export.h>

namespace lightning {

/// Catches both signals while it lives; one at a time. A second SIGINT ends the process at once.
class LIGHTNING_API SignalWatch {
 public:
  SignalWatch();
  ~SignalWatch();  // puts the previous handlers back
  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;

  /// The signal that arrived, or 0. One load.
  int pending() const;

 private:
  struct sigaction previous_interrupt_ = {};
  struct sigaction previous_terminate_ = {};
};

}  // namespace lightning
