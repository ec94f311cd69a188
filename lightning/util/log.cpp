#include <lightning/util/log.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <ctime>
#include <deque>
#include <mutex>
#include <unordered_set>
#include <utility>

#include <lightning/util/file_system.h>

namespace lightning {
namespace {

struct LogState {
  std::mutex mutex;
  LogSink sink = [](std::string_view line) {
    std::fprintf(stderr, "%.*s\n", static_cast<int>(line.size()), line.data());
    std::fflush(stderr);
  };
  std::unordered_set<std::string> warned;
  std::FILE* file = nullptr;
  std::deque<std::string> before_file;
};

LogState& state() {
  // Never destroyed: worker threads may still log while the program ends.
  static auto* instance = new LogState;
  return *instance;
}

std::atomic<int> log_rank{0};

constexpr size_t kLinesBeforeFile = 1000;

std::string with_time(std::string_view text) {
  const std::time_t now = std::time(nullptr);
  std::tm utc = {};
  ::gmtime_r(&now, &utc);
  char time[32];
  const size_t size = std::strftime(time, sizeof(time), "%Y-%m-%dT%H:%M:%SZ ", &utc);
  return std::string(time, size).append(text);
}

/// With the lock held.
void note(std::string_view text) {
  LogState& log = state();
  const std::string line = with_time(text);
  if (log.file != nullptr) {
    std::fprintf(log.file, "%s\n", line.c_str());
    std::fflush(log.file);
    return;
  }
  if (log.before_file.size() == kLinesBeforeFile) log.before_file.pop_front();
  log.before_file.push_back(line);
}

}  // namespace

void log_info(std::string_view text) {
  const std::lock_guard lock(state().mutex);
  note(text);
  if (log_rank == 0) state().sink(text);
}

void log_on_every_rank(std::string_view text) {
  const std::lock_guard lock(state().mutex);
  note(text);
  state().sink(text);
}

void log_to_file(std::string_view text) {
  const std::lock_guard lock(state().mutex);
  note(text);
}

void log_warning(std::string_view text) {
  const std::lock_guard lock(state().mutex);
  if (!state().warned.insert(std::string(text)).second) return;
  const std::string line = "warning: " + std::string(text);
  note(line);
  if (log_rank == 0) state().sink(line);
}

void set_log_file(const std::filesystem::path& path) {
  std::FILE* file = std::fopen(path.c_str(), "a");
  const int error = errno;
  {
    const std::lock_guard lock(state().mutex);
    LogState& log = state();
    if (log.file != nullptr) std::fclose(log.file);
    log.file = file;
    for (const std::string& line : log.before_file) {
      if (file != nullptr) std::fprintf(file, "%s\n", line.c_str());
    }
    log.before_file.clear();
    if (file != nullptr) std::fflush(file);
  }
  if (file == nullptr) log_warning(io_error_text("write", path, error));
}

LogSink set_log_sink(LogSink sink) {
  const std::lock_guard lock(state().mutex);
  return std::exchange(state().sink, std::move(sink));
}

void set_log_rank(int rank) { log_rank = rank; }

}  // namespace lightning
