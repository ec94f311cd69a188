#include <lightning/launch/peer_failure.h>

#include <cstdio>
#include <mutex>
#include <utility>

#include <lightning/launch/launcher.h>
#include <lightning/util/log.h>

namespace lightning::detail {

void report_peer_failure(const std::string& text) {
  static std::mutex mutex;
  static std::string told;
  const std::lock_guard lock(mutex);
  if (std::exchange(told, text) == text) return;
  const std::string line = "error: " + text;
  std::fflush(stdout);
  if (!is_launched_rank()) return log_on_every_rank(line);
  log_to_file(line);
  write_final_message(line);
}

}  // namespace lightning::detail
