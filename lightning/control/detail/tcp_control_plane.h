/// TcpControlPlane: a rank's side of the control plane, with a thread that talks to the hub.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <lightning/control/control_plane.h>
#include <lightning/control/detail/connection.h>
#include <lightning/control/detail/hub.h>
#include <lightning/control/detail/watchdog.h>

namespace lightning::detail {

class TcpControlPlane final : public ControlPlane {
 public:
  /// `socket` leads to the hub, which has accepted this rank; rank 0 owns the hub.
  TcpControlPlane(Socket socket, std::unique_ptr<Hub> hub, const Hello& hello,
                  const ControlPlaneOptions& options);
  ~TcpControlPlane() override;
  /// Until all ranks have come. `own_address` is what others receive, unless it is loopback.
  void wait_for_all(const std::string& own_address, bool single_node);

  int64_t rank() const override { return rank_; }
  int64_t world_size() const override { return world_size_; }
  const std::string& local_address() const override { return local_address_; }
  const std::vector<std::string>& hosts() const override { return hosts_; }

  std::vector<std::string> all_gather(std::string_view name, std::string_view payload) override;
  std::string broadcast(std::string_view name, std::string_view payload) override;
  void barrier(std::string_view name) override;
  ExchangeCounters exchange_counters() const override;

  void request_stop(StopRequest request) override;
  void on_readable(int descriptor, std::function<void()> handler) override;
  bool stop_at(int64_t boundary) override;
  std::optional<StopRequest> stop() const override;
  void clear_stop() override;

  void fail(std::string_view text, FailureKind kind = FailureKind::kThrew) noexcept override;
  void set_failure_handler(std::function<void(const Failure&)> handler) override;
  void set_abort_handler(std::function<void()> flush) override;
  bool failed() const override { return failed_.load(); }
  Failure failure() const override;

  void set_status(const RankStatus& status) override;
  void set_collective(const char* name, uint64_t sequence, bool waiting) override;
  void leave() override;

 private:
  static constexpr int64_t kNoBoundary = std::numeric_limits<int64_t>::min();

  // Any thread.
  std::string exchange(ExchangeKind kind, std::string_view name, std::string_view payload);
  bool stop_slowly(int64_t boundary);
  [[noreturn]] void throw_failure(const Failure& failure) const;
  void report_failure(std::string_view text, FailureKind kind);
  void set_failure(const Failure& failure);
  void post(MessageType type, std::string_view body = {});
  RemoteStatus status() const;

  // The control thread.
  void run();
  bool send_posted();
  void wait(Deadline until);
  void receive(Deadline now);
  void take(const Message& message);
  void take_result(const std::string& body);
  void publish_boundary(const Publication& question);
  void check_hub(Deadline now);
  void call_failure_handler();
  void call_readable_handler();

  const std::unique_ptr<Hub> hub_;  // first: it outlives the connection to it
  const int64_t rank_;
  const int64_t world_size_;
  const std::string host_;
  const ControlPlaneOptions options_;
  std::string local_address_;
  std::vector<std::string> hosts_;

  // The training thread's own.
  std::atomic<int64_t> boundary_ = kNoBoundary;
  // A stop is being agreed on, or a rank has failed: stop_at() must look closer.
  std::atomic<bool> attention_ = false;
  std::atomic<bool> failed_ = false;
  std::atomic<int64_t> global_step_ = 0;
  std::atomic<const char*> phase_ = "start";
  std::atomic<const char*> collective_ = "";
  std::atomic<uint64_t> sequence_ = 0;
  std::atomic<bool> waiting_ = false;
  std::atomic<bool> long_phase_ = false;
  mutable std::mutex exchange_mutex_;  // held during an exchange
  uint64_t num_exchanges_ = 0;
  int64_t exchanged_bytes_ = 0;

  std::mutex readable_mutex_;  // held while the handler runs
  std::atomic<int> readable_ = -1;
  std::function<void()> readable_handler_;

  mutable std::mutex mutex_;  // for what follows
  std::condition_variable changed_;
  std::vector<Frame> posted_;
  std::optional<Welcome> welcome_;
  ExchangeKind pending_kind_ = ExchangeKind::kGather;
  std::optional<std::string> result_;
  std::optional<StopOrder> order_;
  bool stopped_ = false;  // at the boundary of the order
  Failure failure_;       // without a text: none
  std::function<void(const Failure&)> failure_handler_;
  bool handler_called_ = false;
  bool left_ = false;
  bool closing_ = false;

  // The control thread's own.
  std::optional<Connection> connection_;
  WakeEvent wake_;
  RankRecord hub_record_;  // rank 0
  Deadline last_heard_;

  std::unique_ptr<Watchdog> watchdog_;
  std::thread thread_;  // last: it uses all the rest
};

}  // namespace lightning::detail
