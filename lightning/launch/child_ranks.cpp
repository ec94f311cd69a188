#include <lightning/launch/child_ranks.h>

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <exception>
#include <future>
#include <system_error>
#include <thread>
#include <utility>

#include <lightning/launch/launcher.h>
#include <lightning/launch/signal_forwarding.h>
#include <lightning/util/error.h>
#include <lightning/util/exit_codes.h>
#include <lightning/util/log.h>

namespace lightning::detail {
namespace {

// How often ends are looked for where Linux has no pidfds.
constexpr int kPollMilliseconds = 50;
// Between SIGTERM and SIGKILL, and for the kernel to end a process.
constexpr std::chrono::milliseconds kLastGrace{2'000};

void write_stdout(std::string_view lines) {
  while (!lines.empty()) {
    const ssize_t count = ::write(STDOUT_FILENO, lines.data(), lines.size());
    if (count < 0 && errno == EAGAIN) {
      struct pollfd out = {STDOUT_FILENO, POLLOUT, 0};
      ::poll(&out, 1, -1);
      continue;
    }
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return;  // no process reads; the ranks continue
    lines.remove_prefix(static_cast<size_t>(count));
  }
}

void write_stderr(std::string_view lines) {
  // Through the log, so that lines don't tear the progress bar.
  lines.remove_suffix(1);
  log_unfiltered(lines);
}

RankExit read_end(int64_t rank, pid_t pid, const siginfo_t& info, bool ended_by_launcher) {
  RankExit end = {.rank = rank, .pid = pid};
  const bool exited = info.si_code == CLD_EXITED;
  end.signal = exited ? 0 : info.si_status;
  end.code = exited ? info.si_status : 128 + info.si_status;
  end.follows = ended_by_launcher || end.code == kPeerFailureExitCode ||
                end.code == kHungExitCode || was_forwarded(end.code - 128);
  return end;
}

/// Reads once from a pipe, which is closed at its end. False when nothing was there.
bool read_pipe(int& pipe, LinePrefixer& lines) {
  if (pipe < 0) return false;
  char buffer[1 << 16];
  const ssize_t count = ::read(pipe, buffer, sizeof(buffer));
  if (count > 0) {
    lines.feed(std::string_view(buffer, static_cast<size_t>(count)));
    return true;
  }
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  lines.finish();
  ::close(std::exchange(pipe, -1));
  return false;
}

void read_all(int& pipe, LinePrefixer& lines) {
  while (read_pipe(pipe, lines)) {
  }
  lines.finish();
}

}  // namespace

ChildRanks::ChildRanks(std::vector<Command> commands, std::chrono::milliseconds grace)
    : commands_(std::move(commands)), grace_(grace) {}

void ChildRanks::start() {
  sigset_t all;
  sigset_t mask;
  sigfillset(&all);
  // The new thread inherits the mask: signals are for the program's own threads.
  ::pthread_sigmask(SIG_SETMASK, &all, &mask);
  std::promise<void> promise;
  std::future<void> started = promise.get_future();
  try {
    std::thread([this, mask, promise = std::move(promise)]() mutable {
      try {
        start_all(mask);
      } catch (...) {
        promise.set_exception(std::current_exception());
        return;
      }
      promise.set_value();
      serve();
    }).detach();
  } catch (const std::system_error& error) {
    ::pthread_sigmask(SIG_SETMASK, &mask, nullptr);
    throw DistributedError(concat("launcher: no thread for the other ranks: ", error.what()));
  }
  ::pthread_sigmask(SIG_SETMASK, &mask, nullptr);
  started.get();
}

void ChildRanks::start_all(const sigset_t& mask) {
  // The terminal, for the children's final messages.
  int stderr_copy = ::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
  if (stderr_copy < 0) stderr_copy = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
  ranks_.reserve(commands_.size());
  std::vector<pid_t> pids;
  try {
    for (Command& command : commands_) {
      const auto number = static_cast<int64_t>(ranks_.size()) + 1;
      const ChildProcess process =
          start_child(std::move(command), mask, stderr_copy, static_cast<long>(grace_.count()));
      const std::string prefix = concat("[rank ", number, "] ");
      ranks_.push_back({.number = number,
                        .process = process,
                        .out = LinePrefixer(prefix, write_stdout),
                        .err = LinePrefixer(prefix, write_stderr)});
      pids.push_back(process.pid);
    }
  } catch (...) {
    for (const pid_t pid : pids) {
      ::kill(pid, SIGKILL);
      ::waitpid(pid, nullptr, 0);
    }
    throw;
  }
  start_forwarding(pids);
}

void ChildRanks::serve() {
  for (;;) {
    std::vector<struct pollfd> waited;
    bool poll_ends = false;
    for (const Rank& rank : ranks_) {
      for (const int descriptor :
           {rank.announced ? -1 : rank.process.end, rank.process.out, rank.process.err}) {
        if (descriptor >= 0) waited.push_back({descriptor, POLLIN, 0});
      }
      poll_ends = poll_ends || (!rank.announced && rank.process.end < 0);
    }
    if (waited.empty() && !poll_ends) return;  // all have ended, and whom they started too
    ::poll(waited.data(), waited.size(), poll_ends ? kPollMilliseconds : -1);
    read_output();
    {
      const std::lock_guard lock(mutex_);
      collect_ends();
    }
    announce_ends();
  }
}

void ChildRanks::read_output() {
  for (Rank& rank : ranks_) {
    read_pipe(rank.process.out, rank.out);
    read_pipe(rank.process.err, rank.err);
  }
}

void ChildRanks::collect_ends() {
  for (Rank& rank : ranks_) {
    if (rank.ended) continue;
    siginfo_t info = {};
    // WNOWAIT: it stays a zombie, so that its number can't become another process's.
    const int result =
        ::waitid(P_PID, static_cast<id_t>(rank.process.pid), &info, WEXITED | WNOHANG | WNOWAIT);
    if (result == 0 && info.si_pid == 0) continue;
    if (result != 0 && errno != ECHILD) continue;
    if (result != 0) {
      // Some other part of the program has waited for it; how it ended is lost.
      info.si_code = CLD_EXITED;
      info.si_status = kPeerFailureExitCode;
    }
    rank.ended = true;
    ends_.push_back(read_end(rank.number, rank.process.pid, info, ended_by_launcher_));
  }
}

void ChildRanks::announce_ends() {
  for (Rank& rank : ranks_) {
    RankExit end;
    {
      const std::lock_guard lock(mutex_);
      if (!rank.ended || rank.announced) continue;
      end = *std::find_if(ends_.begin(), ends_.end(),
                          [&](const RankExit& other) { return other.rank == rank.number; });
    }
    // What it wrote last; a process that it started may still hold the pipes.
    read_all(rank.process.out, rank.out);
    read_all(rank.process.err, rank.err);
    if (end.failed()) log_unfiltered(describe(end));
    const std::lock_guard lock(mutex_);
    rank.announced = true;
    changed_.notify_all();
  }
}

bool ChildRanks::all_announced() const {
  return std::all_of(ranks_.begin(), ranks_.end(), [](const Rank& rank) { return rank.announced; });
}

bool ChildRanks::wait_until_ended(std::chrono::milliseconds time) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, time, [this] { return all_announced(); });
}

void ChildRanks::signal_remaining(int signal) {
  const std::lock_guard lock(mutex_);
  collect_ends();
  ended_by_launcher_ = true;
  for (const Rank& rank : ranks_) {
    if (rank.ended) continue;
    log_info(format("rank {} (pid {}) is still running after rank 0 finished; sending {}",
                    rank.number, rank.process.pid, signal == SIGTERM ? "SIGTERM" : "SIGKILL"));
    ::kill(rank.process.pid, signal);
  }
}

std::string ChildRanks::end_of(int64_t rank) {
  const std::lock_guard lock(mutex_);
  collect_ends();
  for (const RankExit& end : ends_) {
    if (end.rank == rank) return describe(end);
  }
  return "";
}

int ChildRanks::finish(int own_code) {
  size_t ends_before_own = 0;
  {
    const std::lock_guard lock(mutex_);
    collect_ends();
    ends_before_own = ends_.size();
  }
  if (!wait_until_ended(grace_)) {
    signal_remaining(SIGTERM);
    if (!wait_until_ended(std::min(grace_, kLastGrace))) {
      signal_remaining(SIGKILL);
      wait_until_ended(kLastGrace);
    }
  }
  const std::lock_guard lock(mutex_);
  return exit_code_of_run(own_code, ends_before_own, ends_);
}

}  // namespace lightning::detail
