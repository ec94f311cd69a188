#include <lightning/launch/child_process.h>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <utility>

#include <lightning/util/error.h>

namespace lightning::detail {
namespace {

/// A descriptor that is closed with its object and above the three standard ones.
class Descriptor {
 public:
  Descriptor() = default;
  ~Descriptor() { reset(); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  void take(int descriptor) {
    // Below 3 it would be in the way of the child's own stdin, stdout or stderr.
    value_ = ::fcntl(descriptor, F_DUPFD_CLOEXEC, 3);
    ::close(descriptor);
  }
  int get() const { return value_; }
  int release() { return std::exchange(value_, -1); }
  void reset() {
    if (value_ >= 0) ::close(value_);
    value_ = -1;
  }

 private:
  int value_ = -1;
};

struct Pipe {
  Descriptor read;
  Descriptor write;

  Pipe() {
    int ends[2];
    LIGHTNING_CHECK(::pipe2(ends, O_CLOEXEC) == 0, DistributedError,
                    "launcher: no pipe for a rank's output: ", std::strerror(errno));
    read.take(ends[0]);
    write.take(ends[1]);
    LIGHTNING_CHECK(read.get() >= 0 && write.get() >= 0, DistributedError,
                    "launcher: no pipe for a rank's output: ", std::strerror(errno));
  }
};

/// What the child needs between fork and exec, where nothing may be allocated.
struct Preparation {
  const char* program;
  char* const* arguments;
  char* const* variables;
  const sigset_t* mask;
  pid_t parent;
  int out;
  int err;
  int failure;  // takes errno
  int kept[3];
};

void close_on_exec_from(unsigned first) {
  // CLOSE_RANGE_CLOEXEC; the call is there since Linux 5.11.
#ifdef SYS_close_range
  if (::syscall(SYS_close_range, first, ~0U, 1U << 2) == 0) return;
#endif
  struct rlimit limit = {};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  const unsigned last = limit.rlim_cur < 65536 ? static_cast<unsigned>(limit.rlim_cur) : 65536;
  for (unsigned i = first; i < last; ++i) ::fcntl(static_cast<int>(i), F_SETFD, FD_CLOEXEC);
}

// Only async-signal-safe calls: other threads of the parent may have held any lock.
[[noreturn]] void become_rank(const Preparation& it) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != it.parent) ::_exit(127);  // it exited before the line above
  ::setpgid(0, 0);
  for (int signal = 1; signal < NSIG; ++signal) {
    // The parent's handlers know nothing of this process; what is ignored stays so, as exec has it.
    struct sigaction action = {};
    if (::sigaction(signal, nullptr, &action) != 0 || action.sa_handler == SIG_IGN) continue;
    action = {};
    action.sa_handler = SIG_DFL;
    ::sigaction(signal, &action, nullptr);
  }
  const int nothing = ::open("/dev/null", O_RDONLY);
  if (nothing < 0 || ::dup2(nothing, STDIN_FILENO) < 0 || ::dup2(it.out, STDOUT_FILENO) < 0 ||
      ::dup2(it.err, STDERR_FILENO) < 0) {
    const int code = errno;
    [[maybe_unused]] const auto written = ::write(it.failure, &code, sizeof(code));
    ::_exit(127);
  }
  close_on_exec_from(3);
  for (const int descriptor : it.kept) ::fcntl(descriptor, F_SETFD, 0);
  ::sigprocmask(SIG_SETMASK, it.mask, nullptr);
  ::execve(it.program, it.arguments, it.variables);
  const int code = errno;
  [[maybe_unused]] const auto written = ::write(it.failure, &code, sizeof(code));
  ::_exit(127);
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (std::string& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

/// errno of what went wrong before the new program began, or 0.
int read_failure(int descriptor) {
  int code = 0;
  ssize_t count = 0;
  do {
    count = ::read(descriptor, &code, sizeof(code));
  } while (count < 0 && errno == EINTR);
  return count == static_cast<ssize_t>(sizeof(code)) ? code : 0;
}

std::string program_path() {
  static constexpr char kLink[] = "/proc/self/exe";
  char path[PATH_MAX + 1] = {};
  struct stat running = {};
  struct stat named = {};
  if (::readlink(kLink, path, PATH_MAX) > 0 && ::stat(kLink, &running) == 0 &&
      ::stat(path, &named) == 0 && running.st_dev == named.st_dev &&
      running.st_ino == named.st_ino) {
    return path;
  }
  // The file was replaced, by a build perhaps: the link still leads to the one that runs. Otherwise
  // the path is better, since it gives the process its name.
  return kLink;
}

}  // namespace

void Command::set_variable(const std::string& name, const std::string& value) {
  const std::string prefix = name + "=";
  std::erase_if(variables, [&](const std::string& old) { return old.starts_with(prefix); });
  variables.push_back(prefix + value);
}

Command own_command() {
  Command command;
  command.program = program_path();
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\0', begin), text.size());
    command.arguments.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  LIGHTNING_CHECK(!command.arguments.empty(), DistributedError,
                  "launcher: /proc/self/cmdline can't be read, expected this program's arguments");
  for (char** variable = environ; variable != nullptr && *variable != nullptr; ++variable) {
    command.variables.emplace_back(*variable);
  }
  return command;
}

ChildProcess start_child(Command command, const sigset_t& mask, int stderr_copy,
                         long grace_milliseconds) {
  Pipe out;
  Pipe err;
  Pipe failure;
  command.set_variable("LIGHTNING_STDERR_FD", std::to_string(stderr_copy));
  command.set_variable("LIGHTNING_LAUNCHER", concat(::getpid(), ",", out.read.get(), ",",
                                                    err.read.get(), ",", grace_milliseconds));
  for (const int descriptor : {out.read.get(), err.read.get()}) {
    ::fcntl(descriptor, F_SETFL, O_NONBLOCK);
  }
  const std::vector<char*> arguments = pointers(command.arguments);
  const std::vector<char*> variables = pointers(command.variables);
  const Preparation preparation = {command.program.c_str(),
                                   arguments.data(),
                                   variables.data(),
                                   &mask,
                                   ::getpid(),
                                   out.write.get(),
                                   err.write.get(),
                                   failure.write.get(),
                                   {stderr_copy, out.read.get(), err.read.get()}};
  ChildProcess child;
  child.pid = ::fork();
  if (child.pid == 0) become_rank(preparation);
  LIGHTNING_CHECK(child.pid > 0, DistributedError,
                  "launcher: a rank's process can't be started: ", std::strerror(errno));
  failure.write.reset();
  if (const int code = read_failure(failure.read.get()); code != 0) {
    ::waitpid(child.pid, nullptr, 0);
    throw DistributedError(concat("launcher: ", command.program,
                                  " can't be started for a rank: ", std::strerror(code)));
  }
  child.end = open_pidfd(child.pid);
  child.out = out.read.release();
  child.err = err.read.release();
  return child;
}

bool parse_launcher_note(const char* text, LauncherNote& note) {
  return text != nullptr && std::sscanf(text, "%d,%d,%d,%ld", &note.pid, &note.out, &note.err,
                                        &note.grace_milliseconds) == 4;
}

int open_pidfd(pid_t pid) {
#ifdef SYS_pidfd_open
  return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0U));
#else
  static_cast<void>(pid);
  return -1;
#endif
}

}  // namespace lightning::detail
