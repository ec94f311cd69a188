#include <lightning/distributed/detail/lost_rank.h>

#include <cstdio>
#include <mutex>
#include <utility>

#include <lightning/distributed/launcher.h>
#include <lightning/util/log.h>

namespace lightning::detail {

void tell_lost_rank(const std::string& text) {
  static std::mutex mutex;
  static std::string told;
  const std::lock_guard lock(mutex);
  if (std::exchange(told, text) == text) return;
  const std::string line = "error: " + text;
  std::fflush(stdout);
  if (!is_launched_rank()) return log_on_every_rank(line);
  log_to_file(line);
  write_last_words(line);
}

}  // namespace lightning::detail
