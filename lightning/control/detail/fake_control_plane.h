/// FakeControlPlane: rank 0 of a simulated world whose other ranks send what rank 0 sends. For dry
/// runs.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <lightning/control/control_plane.h>

namespace lightning::detail {

/// Never waits and never fails: fail() does nothing.
class LIGHTNING_API FakeControlPlane : public ControlPlane {
 public:
  explicit FakeControlPlane(int64_t world_size);

  int64_t rank() const override { return 0; }
  int64_t world_size() const override { return static_cast<int64_t>(hosts_.size()); }
  const std::string& local_address() const override { return address_; }
  const std::vector<std::string>& hosts() const override { return hosts_; }

  std::vector<std::string> all_gather(std::string_view name, std::string_view payload) override;
  std::string broadcast(std::string_view name, std::string_view payload) override;
  void barrier(std::string_view name) override;
  ExchangeCounters exchange_counters() const override { return counters_; }

  /// Stops at the boundary that comes next.
  void request_stop(StopRequest request) override;
  bool stop_at(int64_t boundary) override;
  std::optional<StopRequest> stop() const override;
  void clear_stop() override;

  void fail(std::string_view /*text*/,
            FailureKind /*kind*/ = FailureKind::kThrew) noexcept override {}
  void set_failure_handler(std::function<void(const Failure&)> /*handler*/) override {}
  void set_abort_handler(std::function<void()> /*flush*/) override {}
  bool failed() const override { return false; }
  Failure failure() const override { return {}; }

  void set_status(const RankStatus& /*status*/) override {}
  void leave() override { count(""); }

 private:
  void count(std::string_view payload);

  std::string address_ = "127.0.0.1";
  std::vector<std::string> hosts_;
  ExchangeCounters counters_;
  std::optional<StopRequest> request_;
  bool stopped_ = false;
};

}  // namespace lightning::detail
