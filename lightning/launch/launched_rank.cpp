// The child's side of the launcher.
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <climits>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>

#include <lightning/launch/child_process.h>
#include <lightning/launch/launcher.h>
#include <lightning/launch/line_prefixer.h>
#include <lightning/util/error.h>

namespace lightning {
namespace {

constexpr int kWriteMilliseconds = 1000;

/// What is known of the launcher; not changed once `launched` is set.
struct Launched {
  detail::LauncherNote launcher;
  int terminal = STDERR_FILENO;  // the parent's stderr
  std::string prefix;
};

Launched& state() {
  // Never destroyed: the watching thread lives as long as the process.
  static auto* instance = new Launched;
  return *instance;
}

std::atomic<bool> launched{false};

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

void write_to_terminal(std::string_view bytes) {
  while (!bytes.empty()) {
    // The process that reads it may hang as well.
    struct pollfd terminal = {state().terminal, POLLOUT, 0};
    const int ready = ::poll(&terminal, 1, kWriteMilliseconds);
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return;
    // So much a pipe takes at once after poll.
    const ssize_t count =
        ::write(terminal.fd, bytes.data(), std::min<size_t>(bytes.size(), PIPE_BUF));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return;
    bytes.remove_prefix(static_cast<size_t>(count));
  }
}

void write_lines(std::string_view text) {
  detail::LinePrefixer lines(state().prefix, write_to_terminal);
  lines.feed(text);
  lines.finish();
}

/// Returns when the launcher has ended.
void wait_for_end(int pidfd) {
  const pid_t launcher = state().launcher.pid;
  struct pollfd end = {pidfd, POLLIN, 0};
  while (::getppid() == launcher) {
    const int timeout = pidfd < 0 ? 100 : -1;
    if (::poll(&end, 1, timeout) < 0 && errno != EINTR) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    // The pidfd is readable a moment before this process gets another parent.
    if (pidfd >= 0 && (end.revents & POLLIN) != 0) return;
  }
}

/// What this process wrote and no process has read.
void drain(int pipe) {
  detail::LinePrefixer lines(state().prefix, write_to_terminal);
  char buffer[4096];
  for (ssize_t count = 0; (count = ::read(pipe, buffer, sizeof(buffer))) > 0;) {
    lines.feed(std::string_view(buffer, static_cast<size_t>(count)));
  }
  lines.finish();
}

void watch(int pidfd) {
  wait_for_end(pidfd);
  const detail::LauncherNote& launcher = state().launcher;
  // First the redirection: what is written to the pipes after it would be lost.
  ::dup2(state().terminal, STDOUT_FILENO);
  ::dup2(state().terminal, STDERR_FILENO);
  drain(launcher.out);
  drain(launcher.err);
  write_lines(format("rank 0 (pid {}) has exited; terminating this rank (pid {})", launcher.pid,
                     ::getpid()));
  std::this_thread::sleep_for(std::chrono::milliseconds(launcher.grace_milliseconds));
  ::kill(::getpid(), SIGKILL);
}

bool start_watching(int pidfd) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  bool started = true;
  try {
    std::thread(watch, pidfd).detach();
  } catch (const std::system_error&) {
    started = false;
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return started;
}

/// 'T' for a process that a signal has stopped.
char process_state(pid_t pid) {
  std::ifstream file(detail::concat("/proc/", pid, "/stat"));
  std::string text;
  std::getline(file, text);
  // After the name, which may hold anything: "4711 (name) T ...".
  const size_t end = text.rfind(") ");
  return end == std::string::npos || end + 2 >= text.size() ? '?' : text[end + 2];
}

}  // namespace

bool is_launched_rank() noexcept { return launched.load(); }

void watch_launcher() {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  if (launched) return;
  Launched& here = state();
  const std::string note = variable("LIGHTNING_LAUNCHER");
  if (!detail::parse_launcher_note(note.c_str(), here.launcher)) return;
  // A program that a rank has started inherits the variables, but it is none.
  if (::getppid() != here.launcher.pid) return;
  const std::string terminal = variable("LIGHTNING_STDERR_FD");
  if (!terminal.empty()) here.terminal = std::atoi(terminal.c_str());
  here.prefix = detail::concat("[rank ", variable("LIGHTNING_RANK"), "] ");
  for (const int descriptor : {here.terminal, here.launcher.out, here.launcher.err}) {
    ::fcntl(descriptor, F_SETFD, FD_CLOEXEC);
  }
  // A pipe, but read by a person: lines are to appear when they are written.
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  const int pidfd = detail::open_pidfd(here.launcher.pid);
  launched = true;
  if (!start_watching(pidfd)) return;
  // SIGCONT instead of SIGKILL: should this process be stopped when rank 0 exits, it wakes up to
  // end like the others. Linux keeps this by thread, and it was the main thread that requested
  // SIGKILL.
  if (::gettid() == ::getpid()) ::prctl(PR_SET_PDEATHSIG, SIGCONT);
}

void write_final_message(std::string_view text) noexcept {
  try {
    write_lines(text);
  } catch (...) {
    write_to_terminal(text);
  }
}

void kill_stopped_launcher() noexcept {
  if (!is_launched_rank()) return;
  try {
    const pid_t launcher = state().launcher.pid;
    if (process_state(launcher) != 'T' || ::getppid() != launcher) return;
    write_lines(format("rank 0 (pid {}) is stopped; sending SIGKILL", launcher));
    ::kill(launcher, SIGKILL);
  } catch (...) {
    return;
  }
}

}  // namespace lightning
