#include <lightning/launch/peer_failure.h>

#include <cstdio>
#include <mutex>
#include <utility>

#include <lightning/launch/launcher.h>
#include <lightning/util/log.h>

namespace lightning::detail {

void report_peer_failure(const std::string& text) {
  static std::mutex mutex;
  static std::string reported;
  const std::lock_guard lock(mutex);
  if (std::exchange(reported, text) == text) return;
  std::fflush(stdout);
  if (!is_launched_rank()) return log_unfiltered(text, LogLevel::kError);
  log_to_file(text, LogLevel::kError);
  write_final_message("error: " + text);
}

}  // namespace lightning::detail
