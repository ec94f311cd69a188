/// DeferredTermination: lets a rank report which other rank was lost before SIGTERM ends it.
#pragma once

#include <csignal>

#include <lightning/util/export.h>

namespace lightning::detail {

/// srun and torchrun send SIGTERM to the other ranks as soon as they have seen one end. While this
/// lives and the process is one of several ranks, a SIGTERM that no other handler takes waits for
/// its end, for a second at most. A handler that the program had before stays. One at a time.
class LIGHTNING_API DeferredTermination {
 public:
  DeferredTermination();
  ~DeferredTermination();  // a SIGTERM that has come ends the process
  DeferredTermination(const DeferredTermination&) = delete;
  DeferredTermination& operator=(const DeferredTermination&) = delete;

  /// Whether the process is one of several ranks.
  static void set_has_peers(bool has_peers) noexcept;
  /// Whether that is the handler of this class. Handlers that take the signal don't call it.
  static bool is_handler(const struct sigaction& action) noexcept;

 private:
  bool installed_ = false;
};

}  // namespace lightning::detail
