#include <lightning/util/log.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <unordered_set>
#include <utility>
#include <vector>

#include <spdlog/details/log_msg_buffer.h>
#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>

#include <lightning/util/detail/printable.h>
#include <lightning/util/detail/terminal.h>
#include <lightning/util/error.h>
#include <lightning/util/file_system.h>
#include <lightning/util/format.h>
#include <lightning/util/spdlog_sink.h>

namespace lightning {
namespace {

constexpr size_t kLinesBeforeFile = 1000;
constexpr const char* kFilePattern = "%Y-%m-%dT%H:%M:%S.%eZ [rank %k] [%l] %v";

std::atomic<int> log_rank{0};

class RankFileSink;
// What writes to stderr may run before the state is made.
std::atomic<RankFileSink*> rank_file{nullptr};

// LogLevel's values are spdlog's up to kError; then it has `critical`, which isn't used here.
spdlog::level::level_enum spdlog_level(LogLevel level) {
  return level == LogLevel::kOff ? spdlog::level::off
                                 : static_cast<spdlog::level::level_enum>(level);
}

/// Calls `use` with `text` as UTF-8: what reads the log need not cope with the bytes of foreign
/// files.
template <typename Use>
void with_printable(std::string_view text, const Use& use) {
  if (detail::is_printable(text)) return use(spdlog::string_view_t(text.data(), text.size()));
  const std::string changed = detail::printable(text);
  use(spdlog::string_view_t(changed.data(), changed.size()));
}

std::string_view as_std(spdlog::string_view_t text) { return {text.data(), text.size()}; }

/// Lines for the terminal, given to a function that can be exchanged (the progress bar does).
class ConsoleSink : public spdlog::sinks::base_sink<std::mutex> {
 public:
  LogSink exchange(LogSink function) {
    const std::lock_guard lock(mutex_);
    return std::exchange(function_, std::move(function));
  }

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    if (!function_) return;
    if (message.level == spdlog::level::info) return function_(as_std(message.payload));
    function_(detail::concat(as_std(spdlog::level::to_string_view(message.level)), ": ",
                             as_std(message.payload)));
  }
  void flush_() override {}

 private:
  LogSink function_ = [](std::string_view line) {
    detail::write_to_stderr(detail::concat(line, "\n"));
  };
};

/// %k: the global rank.
class RankFlag : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg&, const std::tm&, spdlog::memory_buf_t& out) override {
    const std::string rank = std::to_string(log_rank);
    out.append(rank.data(), rank.data() + rank.size());
  }
  std::unique_ptr<custom_flag_formatter> clone() const override {
    return std::make_unique<RankFlag>();
  }
};

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

/// Lines of the rank's log file. As long as none is open, the last ones are kept for it.
class RankFileSink : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit RankFileSink(const std::string& pattern) {
    auto formatter = std::make_unique<spdlog::pattern_formatter>(spdlog::pattern_time_type::utc);
    formatter->add_flag<RankFlag>('k').set_pattern(pattern);
    formatter_ = std::move(formatter);
  }

  /// Null: none is open.
  void set_file(File file) {
    const std::lock_guard lock(mutex_);
    file_ = std::move(file);
    if (!file_) return;
    for (const auto& message : waiting_) write(message);
    waiting_.clear();
    std::fflush(file_.get());
  }

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    if (file_) {
      write(message);
      std::fflush(file_.get());
      return;
    }
    if (waiting_.size() == kLinesBeforeFile) waiting_.pop_front();
    waiting_.emplace_back(message);
  }
  void flush_() override {}

 private:
  void write(const spdlog::details::log_msg& message) {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    std::fwrite(line.data(), 1, line.size(), file_.get());
  }

  File file_;
  std::deque<spdlog::details::log_msg_buffer> waiting_;
};

/// The sinks that the program added. Each is called without a lock of ours: one that waits holds up
/// only the thread that logs.
class AddedSinks : public spdlog::sinks::sink {
 public:
  void add(spdlog::sink_ptr added) {
    const std::lock_guard lock(mutex_);
    sinks_.push_back(std::move(added));
  }
  void remove(const spdlog::sink_ptr& added) {
    const std::lock_guard lock(mutex_);
    sinks_.erase(std::remove(sinks_.begin(), sinks_.end(), added), sinks_.end());
  }

  void log(const spdlog::details::log_msg& message) override {
    std::vector<spdlog::sink_ptr> sinks;
    {
      const std::lock_guard lock(mutex_);
      sinks = sinks_;
    }
    for (const auto& added : sinks) {
      try {
        if (!added->should_log(message.level)) continue;
        added->log(message);
        added->flush();
      } catch (const std::exception& error) {
        warn(error.what());
      } catch (...) {
        warn("an exception not derived from std::exception");
      }
    }
  }
  void flush() override {}
  // Each sink has its own format.
  void set_pattern(const std::string& /*pattern*/) override {}
  void set_formatter(std::unique_ptr<spdlog::formatter> /*formatter*/) override {}

 private:
  // Comes back to log() once, where the second warning is dropped.
  static void warn(std::string_view text) {
    log_warning(format("log: an added sink failed: {}. Its messages are lost.", text),
                "log: an added sink failed");
  }

  std::mutex mutex_;
  std::vector<spdlog::sink_ptr> sinks_;
};

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : value;
}

struct LogState {
  std::shared_ptr<ConsoleSink> console = std::make_shared<ConsoleSink>();
  std::shared_ptr<RankFileSink> file;
  std::shared_ptr<AddedSinks> added = std::make_shared<AddedSinks>();
  /// What is printed, what is not, and what no level drops.
  std::unique_ptr<spdlog::logger> printed;
  std::unique_ptr<spdlog::logger> quiet;
  std::unique_ptr<spdlog::logger> unfiltered;
  std::mutex warned_mutex;
  std::unordered_set<std::string> warned;

  LogState() {
    const std::string pattern = variable("LIGHTNING_LOG_PATTERN");
    file = std::make_shared<RankFileSink>(pattern.empty() ? kFilePattern : pattern);
    printed = std::make_unique<spdlog::logger>("lightning",
                                               spdlog::sinks_init_list{console, file, added});
    quiet = std::make_unique<spdlog::logger>("lightning", spdlog::sinks_init_list{file, added});
    unfiltered = std::make_unique<spdlog::logger>("lightning",
                                                  spdlog::sinks_init_list{console, file, added});
    unfiltered->set_level(spdlog::level::trace);
    for (spdlog::logger* logger : {printed.get(), quiet.get(), unfiltered.get()}) {
      logger->set_error_handler([](const std::string& text) {
        detail::write_to_stderr(detail::concat("log: a message is lost: ", text, "\n"));
      });
    }
    rank_file = file.get();
    read_level();
  }

  void set_level(LogLevel level) const {
    printed->set_level(spdlog_level(level));
    quiet->set_level(spdlog_level(level));
  }

  void log(LogLevel level, std::string_view text, bool is_printed) const {
    with_printable(text, [&](spdlog::string_view_t line) {
      (is_printed ? printed : quiet)->log(spdlog_level(level), line);
    });
  }

 private:
  void read_level() const {
    constexpr std::array<std::string_view, 6> kNames = {"trace",   "debug", "info",
                                                        "warning", "error", "off"};
    set_level(LogLevel::kInfo);
    const std::string name = variable("LIGHTNING_LOG_LEVEL");
    if (name.empty()) return;
    const auto* found = std::find(kNames.begin(), kNames.end(), name);
    if (found != kNames.end()) return set_level(static_cast<LogLevel>(found - kNames.begin()));
    log(LogLevel::kWarning,
        format("log: LIGHTNING_LOG_LEVEL is \"{}\", expected trace, debug, info, warning, error or "
               "off; info is used.",
               name),
        true);
  }
};

LogState& state() {
  // Never destroyed: worker threads may still log while the program ends.
  static auto* instance = new LogState;
  return *instance;
}

/// Errors of stderr are sticky, and it may be another stream's turn: the error counts that this
/// write gives.
bool write_all(std::string_view text) {
  std::clearerr(stderr);
  const bool written = std::fwrite(text.data(), 1, text.size(), stderr) == text.size();
  return std::fflush(stderr) == 0 && written;
}

/// SIGPIPE of what `body` writes stays away from this thread.
template <typename Body>
void without_sigpipe(const Body& body) {
  sigset_t pipe;
  sigset_t pending;
  sigset_t before;
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  ::sigpending(&pending);
  ::pthread_sigmask(SIG_BLOCK, &pipe, &before);
  body();
  // One that came now; one that was waiting before isn't ours.
  if (::sigismember(&pending, SIGPIPE) == 0) {
    const timespec at_once = {};
    while (::sigtimedwait(&pipe, nullptr, &at_once) < 0 && errno == EINTR) {
    }
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

}  // namespace

void detail::write_to_stderr(std::string_view text) {
  int error = 0;
  without_sigpipe([&] {
    errno = 0;
    if (!write_all(text)) error = errno;
  });
  // A terminal that doesn't wait (O_NONBLOCK) is still there.
  if (error == 0 || error == EAGAIN || error == EINTR) return;
  static std::atomic<bool> told{false};
  RankFileSink* const file = rank_file;
  if (file == nullptr || told.exchange(true)) return;
  const std::string note = format(
      "log: standard error can't be written any more ({}); messages go to the log "
      "file alone.",
      std::generic_category().message(error));
  file->log(spdlog::details::log_msg("lightning", spdlog::level::warn,
                                     spdlog::string_view_t(note.data(), note.size())));
}

void set_log_level(LogLevel level) { state().set_level(level); }

bool is_logged(LogLevel level) { return state().printed->should_log(spdlog_level(level)); }

void log_trace(std::string_view text) { state().log(LogLevel::kTrace, text, log_rank == 0); }

void log_debug(std::string_view text) { state().log(LogLevel::kDebug, text, log_rank == 0); }

void log_info(std::string_view text) { state().log(LogLevel::kInfo, text, log_rank == 0); }

void log_warning(std::string_view text, std::string_view key) {
  LogState& log = state();
  if (!is_logged(LogLevel::kWarning)) return;
  {
    const std::lock_guard lock(log.warned_mutex);
    if (!log.warned.emplace(key.empty() ? text : key).second) return;
  }
  log.log(LogLevel::kWarning, text, log_rank == 0);
}

void log_error(std::string_view text) { state().log(LogLevel::kError, text, log_rank == 0); }

void log_on_every_rank(std::string_view text, LogLevel level) { state().log(level, text, true); }

void log_unfiltered(std::string_view text, LogLevel level) {
  with_printable(text, [level](spdlog::string_view_t line) {
    state().unfiltered->log(spdlog_level(level), line);
  });
}

void log_to_file(std::string_view text, LogLevel level) { state().log(level, text, false); }

namespace {

std::atomic<bool> program_has_file{false};

void open_log_file(const std::filesystem::path& path) {
  if (path.empty()) return state().file->set_file(nullptr);
  File file(std::fopen(path.c_str(), "ae"));
  const int error = errno;
  const bool is_open = file != nullptr;
  state().file->set_file(std::move(file));
  if (!is_open) log_warning(io_error_text("write", path, error));
}

}  // namespace

void set_log_file(const std::filesystem::path& path) {
  program_has_file = !path.empty();
  open_log_file(path);
}

void detail::set_run_log_file(const std::filesystem::path& path) {
  if (!program_has_file) open_log_file(path);
}

LogSink set_log_sink(LogSink sink) { return state().console->exchange(std::move(sink)); }

void set_log_rank(int rank) { log_rank = rank; }

void add_log_sink(std::shared_ptr<spdlog::sinks::sink> sink) {
  LIGHTNING_CHECK(
      sink != nullptr, ConfigError,
      "add_log_sink: the sink is null, expected a spdlog sink. HINT: make the sink before it is "
      "added.");
  state().added->add(std::move(sink));
}

void remove_log_sink(const std::shared_ptr<spdlog::sinks::sink>& sink) {
  state().added->remove(sink);
}

}  // namespace lightning
