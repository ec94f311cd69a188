#include <lightning/collectives/detail/collective_log.h>

#include <utility>

#include <lightning/util/error.h>

namespace lightning::detail {
namespace {

constexpr size_t kRemembered = 32;

}  // namespace

CollectiveLog::CollectiveLog(std::shared_ptr<ControlPlane> control)
    : control_(std::move(control)) {}

uint64_t CollectiveLog::begin(const char* name, std::vector<int64_t> shape, at::ScalarType dtype,
                              int64_t bytes, Abandon abandon) {
  const std::lock_guard lock(mutex_);
  if (failed()) throw DistributedError(failure_);
  const uint64_t sequence = ++sequence_;
  CollectiveCounters& counters = counters_[name];
  ++counters.messages;
  counters.bytes += bytes;
  if (last_.size() == kRemembered) last_.pop_front();
  last_.push_back({{sequence, name, std::move(shape), dtype, false}, name});
  under_way_.emplace(sequence, std::move(abandon));
  // Under the lock, so that the control plane hears of begins and ends in their order.
  if (control_ != nullptr) control_->set_collective(name, sequence, true);
  return sequence;
}

void CollectiveLog::end(uint64_t sequence, bool completed) {
  const std::lock_guard lock(mutex_);
  under_way_.erase(sequence);
  // Numbers are consecutive and `last_` ends with the newest.
  const uint64_t age = sequence_ - sequence;
  if (age >= last_.size()) return;
  Entry& entry = last_[last_.size() - 1 - age];
  entry.record.completed = completed;
  if (control_ != nullptr && completed && under_way_.empty()) {
    control_->set_collective(last_.back().name, sequence_, false);
  }
}

void CollectiveLog::fail(const Failure& failure) noexcept {
  std::map<uint64_t, Abandon> abandoned;
  {
    const std::lock_guard lock(mutex_);
    if (failed()) return;
    failure_ = failure;
    failed_.store(true, std::memory_order_release);
    abandoned.swap(under_way_);
  }
  changed_.notify_all();
  const std::exception_ptr error = std::make_exception_ptr(DistributedError(failure));
  for (const auto& [sequence, abandon] : abandoned) abandon(error);
}

void CollectiveLog::throw_if_failed() const {
  if (!failed()) return;
  const std::lock_guard lock(mutex_);
  throw DistributedError(failure_);
}

bool CollectiveLog::wait_for_failure(std::chrono::milliseconds patience) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, patience, [this] { return failed(); });
}

bool CollectiveLog::idle() const {
  const std::lock_guard lock(mutex_);
  return !failed() && under_way_.empty();
}

CollectiveCounters CollectiveLog::counters() const {
  const std::lock_guard lock(mutex_);
  CollectiveCounters all;
  for (const auto& [name, counters] : counters_) {
    all.messages += counters.messages;
    all.bytes += counters.bytes;
  }
  return all;
}

std::map<std::string, CollectiveCounters> CollectiveLog::counters_by_name() const {
  const std::lock_guard lock(mutex_);
  return {counters_.begin(), counters_.end()};
}

std::vector<CollectiveRecord> CollectiveLog::last_collectives() const {
  const std::lock_guard lock(mutex_);
  std::vector<CollectiveRecord> records;
  records.reserve(last_.size());
  for (const Entry& entry : last_) records.push_back(entry.record);
  return records;
}

}  // namespace lightning::detail
