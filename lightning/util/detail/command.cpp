#include <lightning/util/detail/command.h>

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <thread>

#include <lightning/util/error.h>

namespace lightning::detail {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kMostOutput = 65'536;

/// Both ends of a pipe, closed with the object.
struct Pipe {
  Pipe() {
    if (pipe2(ends.data(), O_CLOEXEC) != 0) ends = {-1, -1};
  }
  ~Pipe() {
    close_end(0);
    close_end(1);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;

  void close_end(size_t end) {
    if (ends[end] >= 0) close(ends[end]);
    ends[end] = -1;
  }

  std::array<int, 2> ends{-1, -1};
};

/// 0, or the system's error number.
int spawn(const std::vector<std::string>& arguments, int output, pid_t& child) {
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);

  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&files, output, 1);
  posix_spawn_file_actions_adddup2(&files, output, 2);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t signals;
  sigfillset(&signals);
  posix_spawnattr_setsigdefault(&attributes, &signals);
  sigemptyset(&signals);
  posix_spawnattr_setsigmask(&attributes, &signals);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
  const int error = posix_spawnp(&child, argv[0], &files, &attributes, argv.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  return error;
}

/// Reads until the other end is closed or the deadline passes; true in the first case.
bool read_all(int descriptor, Clock::time_point deadline, std::string& output) {
  std::array<char, 4096> buffer{};
  while (true) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return false;
    pollfd waiting{descriptor, POLLIN, 0};
    const int ready = poll(&waiting, 1, static_cast<int>(std::min<int64_t>(left, 1'000'000)));
    if (ready < 0 && errno != EINTR) return true;
    if (ready <= 0) continue;
    const ssize_t count = read(descriptor, buffer.data(), buffer.size());
    if (count == 0 || (count < 0 && errno != EINTR)) return true;
    if (count < 0) continue;
    const auto room = std::min(kMostOutput - output.size(), static_cast<size_t>(count));
    output.append(buffer.data(), room);
  }
}

/// The exit status; nothing is waited for past the deadline.
int wait_for(pid_t child, Clock::time_point deadline) {
  while (true) {
    int status = 0;
    const pid_t ended = waitpid(child, &status, WNOHANG);
    if (ended == child) return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    if (ended < 0 && errno != EINTR) return 1;
    if (Clock::now() >= deadline) return CommandResult::kTimedOut;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

}  // namespace

CommandResult run_command(const std::vector<std::string>& arguments,
                          std::chrono::milliseconds limit) {
  const auto deadline = Clock::now() + limit;
  CommandResult result;
  Pipe pipe;
  pid_t child = 0;
  const int error = pipe.ends[0] < 0 ? EMFILE : spawn(arguments, pipe.ends[1], child);
  if (error != 0) {
    result.status = error == ENOENT ? CommandResult::kNotFound : 126;
    result.output = concat("can't run ", arguments[0], ": ", std::strerror(error));
    return result;
  }
  pipe.close_end(1);
  read_all(pipe.ends[0], deadline, result.output);
  result.status = wait_for(child, deadline);
  if (result.status == CommandResult::kTimedOut) {
    kill(-child, SIGKILL);
    wait_for(child, Clock::now() + std::chrono::seconds(5));
    result.output += concat(arguments[0], " gave no answer within ", limit.count() / 1000.0, " s");
  }
  return result;
}

}  // namespace lightning::detail
