/// Starting one process per rank, and what the two sides exchange about it.
#pragma once

#include <sys/types.h>

#include <csignal>
#include <string>
#include <vector>

namespace lightning::detail {

/// Program, arguments and environment of a process.
struct Command {
  std::string program;
  std::vector<std::string> arguments;
  std::vector<std::string> variables;  // NAME=value

  void set_variable(const std::string& name, const std::string& value);
};

/// Those of this process. Throws DistributedError when /proc can't be read.
Command own_command();

struct ChildProcess {
  pid_t pid = -1;
  int end = -1;  // pidfd, readable once it has ended; -1 on Linux older than 5.3
  int out = -1;  // read ends, non-blocking
  int err = -1;
};

/// Runs `command` in a separate process group. It gets SIGKILL when the calling thread ends. Its
/// stdout and stderr are pipes, stdin is /dev/null, its signal mask is `mask`; `stderr_copy` and
/// the read ends of its pipes stay open in it, all other descriptors are closed. The numbers are
/// added to its environment (LIGHTNING_STDERR_FD, LIGHTNING_LAUNCHER). To be called with all
/// signals blocked. Throws DistributedError.
ChildProcess start_child(Command command, const sigset_t& mask, int stderr_copy,
                         long grace_milliseconds);

/// What start_child() put into LIGHTNING_LAUNCHER.
struct LauncherNote {
  pid_t pid = -1;
  int out = -1;
  int err = -1;
  long grace_milliseconds = 0;
};
bool parse_launcher_note(const char* text, LauncherNote& note);

/// A descriptor that becomes readable when the process has ended; -1 where Linux has none.
int open_pidfd(pid_t pid);

}  // namespace lightning::detail
