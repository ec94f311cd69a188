/// Interrupted: a run ended early because of a signal; its checkpoint is written.
#pragma once

#include <string>

#include <lightning/util/error.h>
#include <lightning/util/export.h>

namespace lightning {

class LIGHTNING_API Interrupted : public Error {
 public:
  /// `signal` is the number of the signal that arrived. By shell convention the exit code of a
  /// program killed by a signal is 128 + signal: 130 for SIGINT, 143 for SIGTERM, 129 for
  /// SIGHUP. It is 0 when the
  /// run is certain to resume automatically.
  Interrupted(int signal, const std::string& message);
  Interrupted(int signal, const std::string& message, int exit_code);
  ~Interrupted() override;

  int signal() const { return signal_; }
  int exit_code() const { return exit_code_; }

 private:
  int signal_;
  int exit_code_;
};

}  // namespace lightning
