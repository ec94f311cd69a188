/// CollectiveLog: what one process group has sent and what is still in flight. The group's backends
/// share it; the control plane fails what is in flight through it.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include <lightning/collectives/process_group.h>
#include <lightning/control/control_plane.h>

namespace lightning::detail {

/// Thread-safe.
class CollectiveLog {
 public:
  /// Frees those who wait for one collective.
  using Abandon = std::function<void(const std::exception_ptr& error)>;

  /// `control` is notified of each begin and end; null in a group that needs none.
  explicit CollectiveLog(std::shared_ptr<ControlPlane> control);

  /// Counts a collective and notes it as in flight; `name` is a literal. Returns its number, the
  /// first is 1. Throws DistributedError after fail().
  uint64_t begin(const char* name, std::vector<int64_t> shape, at::ScalarType dtype, int64_t bytes,
                 Abandon abandon);
  void end(uint64_t sequence, bool completed);

  /// Abandons all that is in flight with a DistributedError; only the first call counts.
  void fail(const Failure& failure) noexcept;
  bool failed() const { return failed_.load(std::memory_order_acquire); }
  /// Throws DistributedError after fail().
  void throw_if_failed() const;
  /// Waits for fail(), which as a rule comes a moment after a broken connection and knows the
  /// cause; false after `patience`.
  bool wait_for_failure(std::chrono::milliseconds patience) const;

  /// Nothing in flight and never failed: what carried the collectives can be destroyed.
  bool idle() const;

  CollectiveCounters counters() const;
  std::map<std::string, CollectiveCounters> counters_by_name() const;
  std::vector<CollectiveRecord> last_collectives() const;

 private:
  struct Entry {
    CollectiveRecord record;
    const char* name;
  };

  std::shared_ptr<ControlPlane> control_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::map<std::string_view, CollectiveCounters> counters_;  // names are literals
  uint64_t sequence_ = 0;
  std::deque<Entry> last_;
  std::map<uint64_t, Abandon> under_way_;
  Failure failure_;
  std::atomic<bool> failed_ = false;
};

}  // namespace lightning::detail
