/// Interrupted: a run ended early because a signal asked for it; its checkpoint is written.
#pragma once

#include <string>

#include <lightning/util/error.h>
#include <lightning/util/export.h>

namespace lightning {

class LIGHTNING_API Interrupted : public Error {
 public:
  /// `signal` is the number of the signal that arrived (SIGINT, SIGTERM).
  Interrupted(int signal, const std::string& message);
  ~Interrupted() override;

  int signal() const { return signal_; }
  /// What a shell expects of a program that a signal ended: 130 for SIGINT, 143 for SIGTERM.
  int exit_code() const { return 128 + signal_; }

 private:
  int signal_;
};

}  // namespace lightning
