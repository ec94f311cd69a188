/// Hub: the middle of the control plane, one thread in rank 0's process. It admits the ranks,
/// passes their messages on, and notices which of them exited, hang or are late.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include <lightning/control/control_plane.h>
#include <lightning/control/detail/connection.h>
#include <lightning/control/detail/exchange_table.h>
#include <lightning/control/detail/stop_agreement.h>
#include <lightning/control/detail/straggler_monitor.h>

namespace lightning::detail {

struct HubOptions {
  int64_t world_size = 1;
  std::string run_id;
  std::string address;  // at which others reach this machine; empty: seen from their connections
  ControlPlaneOptions control;
};

class LIGHTNING_API Hub {
 public:
  /// `own` is the other end of rank 0's connection; `listener` may be empty with one rank.
  Hub(Socket listener, Socket own, HubOptions options);
  /// Waits (bounded) until what was sent has arrived.
  ~Hub();

  /// Returns when the news of a failure has reached all machines (bounded), so that the process may
  /// end.
  void wait_until_told() const;

 private:
  // A connection: unidentified first, then one of the ranks.
  struct Peer {
    explicit Peer(Socket socket) : connection(std::move(socket)) {}
    Connection connection;
    std::optional<Hello> hello;
    bool is_rank = false;
    bool quit = false;  // its end is no failure
    bool write_watched = false;
    Deadline last_heard;
    int64_t rank() const { return hello->rank; }
  };
  // A failure that waits a moment for a better explanation.
  struct HeldFailure {
    Failure failure;
    Deadline due;
  };

  void run();
  void step();
  int wait_milliseconds(Deadline now) const;
  void notice_pause(Deadline now);
  void tick(Deadline now);

  void watch(int descriptor, uint32_t events, int operation) const;
  void add_peer(Socket socket);
  void accept_all();
  void handle(Peer& peer, uint32_t events);
  void send(Peer& peer, Frame frame);
  void send_all(MessageType type, std::string_view body = {});
  void drop(Peer& peer);

  // Admission.
  void greet(Peer& peer, const Message& message);
  void answer_hello(Peer& peer);
  void refuse(Peer& peer, bool other_run, const std::string& text);
  void admit(Peer& peer, const RemoteStatus& status);
  void welcome_all();
  std::string own_address() const;
  void check_admission(Deadline now);

  // Ranks.
  void take(Peer& peer, const Message& message);
  void take_exchange(Peer& peer, ExchangePart part);
  void begin_shutdown(const Frame& result);
  void finish_shutdown(Deadline now);
  void check_silence(Deadline now);
  void check_lateness(Deadline now);

  // Failures.
  bool settled() const { return shutting_down_ || !failure_.text.empty(); }
  void take_report(const Peer& peer, const FailureReport& report);
  void lose(const Peer& peer);
  void declare(Failure failure);
  bool all_delivered();
  void linger();

  HubOptions options_;
  std::chrono::milliseconds interval_;
  Socket listener_;
  Socket epoll_;
  WakeEvent wake_;
  std::atomic<bool> stopping_ = false;
  std::atomic<bool> told_ = false;  // all have the news of the failure

  std::unordered_map<int, std::unique_ptr<Peer>> peers_;  // by descriptor
  std::vector<Peer*> by_rank_;                            // null before and after
  std::vector<RankRecord> records_;
  std::vector<bool> came_;
  int64_t num_came_ = 0;
  Deadline admission_end_;
  Deadline last_step_;
  Deadline next_tick_;

  ExchangeTable exchange_;
  StopAgreement stop_;
  StragglerMonitor late_watch_;
  std::optional<HeldFailure> held_;
  Failure failure_;  // without a text: none
  Deadline told_end_;
  bool shutting_down_ = false;  // all have left
  Frame own_leave_;             // rank 0's, sent once the others have gone
  Deadline shutdown_end_;

  std::thread thread_;  // last: it uses all the rest
};

}  // namespace lightning::detail
