/// Watchdog: ends the process when its main thread doesn't return after a failure.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include <lightning/util/export.h>

namespace lightning::detail {

class LIGHTNING_API Watchdog {
 public:
  explicit Watchdog(std::chrono::milliseconds grace);
  ~Watchdog();

  /// Called before the process ends, on a separate thread.
  void set_abort_handler(std::function<void()> flush);
  /// From now on the main thread has the grace period. Once.
  void arm(std::string failure);
  /// The main thread has noticed the failure: it gets the grace period once more. Once.
  void notice();
  /// The main thread got away.
  void disarm();

 private:
  void run();
  [[noreturn]] void end_process();

  const std::chrono::milliseconds grace_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::function<void()> abort_handler_;
  std::string failure_;
  std::chrono::milliseconds left_;
  bool noticed_ = false;
  bool disarmed_ = false;
  std::thread thread_;  // while armed
};

}  // namespace lightning::detail
