#include <lightning/util/log.h>

#include <atomic>
#include <cstdio>
#include <mutex>
#include <unordered_set>
#include <utility>

namespace lightning {
namespace {

struct LogState {
  std::mutex mutex;
  LogSink sink = [](std::string_view line) {
    std::fprintf(stderr, "%.*s\n", static_cast<int>(line.size()), line.data());
    std::fflush(stderr);
  };
  std::unordered_set<std::string> warned;
};

LogState& state() {
  // Never destroyed: worker threads may still log while the program ends.
  static auto* instance = new LogState;
  return *instance;
}

std::atomic<int> log_rank{0};

}  // namespace

void log_info(std::string_view text) {
  if (log_rank != 0) return;
  const std::lock_guard lock(state().mutex);
  state().sink(text);
}

void log_warning(std::string_view text) {
  if (log_rank != 0) return;
  const std::lock_guard lock(state().mutex);
  if (!state().warned.insert(std::string(text)).second) return;
  state().sink("warning: " + std::string(text));
}

LogSink set_log_sink(LogSink sink) {
  const std::lock_guard lock(state().mutex);
  return std::exchange(state().sink, std::move(sink));
}

void set_log_rank(int rank) { log_rank = rank; }

}  // namespace lightning
