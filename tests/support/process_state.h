/// What test cases of one process could leave behind for the next.
#pragma once

#include <signal.h>

#include <array>
#include <filesystem>
#include <map>
#include <string>

#include <lightning/util/log.h>

namespace lightning_tests {

/// The state of the process at construction; restore() brings it back: environment variables,
/// working directory, signal handlers, the log's sink, rank and level, torch's default generator,
/// default type, grad mode, determinism and number of threads, the seed of seed_everything().
class ProcessState {
 public:
  ProcessState();
  void restore() const;

 private:
  static constexpr std::array kSignals = {SIGINT,  SIGTERM, SIGUSR1, SIGUSR2,
                                          SIGPIPE, SIGCHLD, SIGHUP,  SIGCONT};
  std::map<std::string, std::string> variables_;
  std::filesystem::path folder_;
  std::array<struct sigaction, kSignals.size()> actions_;
  lightning::LogSink log_sink_;
  int threads_;
};

}  // namespace lightning_tests
