#include <lightning/control/detail/watchdog.h>

#include <unistd.h>

#include <algorithm>
#include <future>
#include <memory>
#include <utility>

#include <lightning/control/control_plane.h>
#include <lightning/control/detail/control_thread.h>
#include <lightning/control/detail/failure_text.h>
#include <lightning/launch/launcher.h>
#include <lightning/util/error.h>
#include <lightning/util/exit_codes.h>

namespace lightning::detail {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kSlice{50};
constexpr std::chrono::seconds kLastWordsTime{5};

}  // namespace

Watchdog::Watchdog(milliseconds grace) : grace_(grace), left_(grace) {}

Watchdog::~Watchdog() {
  disarm();
  if (thread_.joinable()) thread_.join();
}

void Watchdog::set_abort_handler(std::function<void()> flush) {
  const std::lock_guard lock(mutex_);
  abort_handler_ = std::move(flush);
}

void Watchdog::arm(std::string failure) {
  const std::lock_guard lock(mutex_);
  if (disarmed_ || thread_.joinable()) return;
  failure_ = std::move(failure);
  try {
    thread_ = start_control_thread("lightning-watch", [this] { run(); });
  } catch (const DistributedError&) {
    // No more threads: the failure itself still reaches all ranks.
  }
}

void Watchdog::notice() {
  const std::lock_guard lock(mutex_);
  if (!std::exchange(noticed_, true)) left_ = grace_;
}

void Watchdog::disarm() {
  const std::lock_guard lock(mutex_);
  disarmed_ = true;
  changed_.notify_all();
}

void Watchdog::run() {
  std::unique_lock lock(mutex_);
  // In slices, so that time in which the whole process was suspended doesn't count.
  while (left_ > milliseconds::zero()) {
    const milliseconds slice = std::min(left_, kSlice);
    if (changed_.wait_for(lock, slice, [this] { return disarmed_; })) return;
    left_ -= slice;
  }
  lock.unlock();
  end_process();
}

void Watchdog::end_process() {
  std::function<void()> abort_handler;
  {
    const std::lock_guard lock(mutex_);
    abort_handler = abort_handler_;
  }
  if (abort_handler) {
    std::packaged_task<void()> task(std::move(abort_handler));
    std::future<void> done = task.get_future();
    std::thread(std::move(task)).detach();
    done.wait_for(kLastWordsTime);
  }
  write_final_message(format(
      "control plane: {}\ncontrol plane: the main thread did not return within {} after that, so "
      "this process ({}) exits with status {}.\n",
      failure_, seconds_text(grace_), ::getpid(), kHungExitCode));
  kill_stopped_launcher();
  ::_exit(kHungExitCode);
}

}  // namespace lightning::detail
