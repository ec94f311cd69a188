/// Ranks as threads of one process, joined by a control plane that lives in memory: for tests of
/// what lies above the control plane.
#pragma once

#include <chrono>
#include <condition_variable>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <lightning/control/control_plane.h>
#include <lightning/util/error.h>

namespace lightning_tests {

/// What the ranks of one test share.
struct ThreadHub {
  explicit ThreadHub(int64_t ranks) : world_size(ranks), handlers(static_cast<size_t>(ranks)) {}

  const int64_t world_size;
  std::mutex mutex;
  std::condition_variable changed;
  // By the number of the exchange, then by rank.
  std::map<int64_t, std::map<int64_t, std::pair<std::string, std::string>>> exchanges;
  std::vector<std::function<void(const lightning::Failure&)>> handlers;
  lightning::Failure failure;
};

class ThreadControlPlane final : public lightning::ControlPlane {
 public:
  ThreadControlPlane(std::shared_ptr<ThreadHub> hub, int64_t rank)
      : hub_(std::move(hub)),
        rank_(rank),
        hosts_(static_cast<size_t>(hub_->world_size), "localhost") {}

  /// Makes what this rank hears of what rank 0 broadcasts (name, text).
  std::function<std::string(std::string_view, std::string)> change_heard;

  int64_t rank() const override { return rank_; }
  int64_t world_size() const override { return hub_->world_size; }
  const std::string& local_address() const override { return address_; }
  const std::vector<std::string>& hosts() const override { return hosts_; }

  std::vector<std::string> all_gather(std::string_view name, std::string_view payload) override {
    std::unique_lock lock(hub_->mutex);
    auto& exchange = hub_->exchanges[++exchanges_];
    exchange[rank_] = {std::string(name), std::string(payload)};
    hub_->changed.notify_all();
    const bool in_time = hub_->changed.wait_for(lock, std::chrono::minutes(1), [&] {
      return !hub_->failure.text.empty() || exchange.size() == hosts_.size();
    });
    if (!hub_->failure.text.empty()) throw lightning::DistributedError(hub_->failure);
    if (!in_time) throw lightning::DistributedError("no answer in exchange " + std::string(name));
    std::vector<std::string> payloads;
    for (const auto& [rank, entry] : exchange) {
      if (entry.first != name) throw lightning::DistributedError("exchanges differ");
      payloads.push_back(entry.second);
    }
    return payloads;
  }
  std::string broadcast(std::string_view name, std::string_view payload) override {
    std::string text = all_gather(name, payload)[0];
    return change_heard ? change_heard(name, std::move(text)) : text;
  }
  void barrier(std::string_view name) override { all_gather(name, ""); }

  void request_stop(lightning::StopRequest) override {}
  bool stop_at(int64_t) override { return false; }
  std::optional<lightning::StopRequest> stop() const override { return std::nullopt; }
  void clear_stop() override {}

  void fail(std::string_view text,
            lightning::FailureKind kind = lightning::FailureKind::kThrew) noexcept override {
    std::vector<std::function<void(const lightning::Failure&)>> handlers;
    const lightning::Failure failure = {kind, rank_, std::string(text)};
    {
      const std::lock_guard lock(hub_->mutex);
      if (!hub_->failure.text.empty()) return;
      hub_->failure = failure;
      handlers = hub_->handlers;
    }
    hub_->changed.notify_all();
    for (const auto& handler : handlers) {
      if (handler) handler(failure);
    }
  }
  void set_failure_handler(std::function<void(const lightning::Failure&)> handler) override {
    const std::lock_guard lock(hub_->mutex);
    hub_->handlers[static_cast<size_t>(rank_)] = std::move(handler);
  }
  void set_abort_handler(std::function<void()>) override {}
  bool failed() const override { return !failure().text.empty(); }
  lightning::Failure failure() const override {
    const std::lock_guard lock(hub_->mutex);
    return hub_->failure;
  }

  void set_status(const lightning::RankStatus& status) override {
    const std::lock_guard lock(status_mutex_);
    status_ = status;
  }
  void set_collective(const char* name, uint64_t sequence, bool waiting) override {
    const std::lock_guard lock(status_mutex_);
    status_.collective = name;
    status_.sequence = sequence;
    status_.waiting = waiting;
  }
  lightning::RankStatus status() const {
    const std::lock_guard lock(status_mutex_);
    return status_;
  }
  void leave() override {}

 private:
  std::shared_ptr<ThreadHub> hub_;
  int64_t rank_;
  int64_t exchanges_ = 0;
  std::string address_ = "127.0.0.1";
  std::vector<std::string> hosts_;
  mutable std::mutex status_mutex_;
  lightning::RankStatus status_;
};

/// Runs `body` once for each rank, at the same time, and throws what the lowest rank threw.
inline void run_ranks(int64_t world_size,
                      const std::function<void(std::shared_ptr<ThreadControlPlane>)>& body) {
  auto hub = std::make_shared<ThreadHub>(world_size);
  std::vector<std::exception_ptr> errors(static_cast<size_t>(world_size));
  std::vector<std::thread> threads;
  for (int64_t rank = 0; rank < world_size; ++rank) {
    threads.emplace_back([&, rank] {
      auto control = std::make_shared<ThreadControlPlane>(hub, rank);
      try {
        body(control);
      } catch (...) {
        errors[static_cast<size_t>(rank)] = std::current_exception();
        control->fail("rank " + std::to_string(rank) + " failed");
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
}

}  // namespace lightning_tests
