#include "simulated_ranks.h"

#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <exception>
#include <memory>
#include <utility>
#include <vector>

#include <lightning/control/detail/connection.h>
#include <lightning/control/detail/message.h>

namespace benchmark_control_plane {

using namespace lightning;
using namespace lightning::detail;

namespace {

constexpr int64_t kHeartbeat = 1'000'000'000;
constexpr int64_t kMaxTime = 300'000'000'000;

class SimulatedRanks {
 public:
  SimulatedRanks(const Topology& topology, int64_t rounds, Shared& shared)
      : topology_(topology), exchanges_(2 * rounds), shared_(shared), epoll_(::epoll_create1(0)) {
    for (int64_t rank = 1; rank < topology.world_size; ++rank) add(rank);
  }

  void run() {
    int64_t next_heartbeat = nanoseconds() + kHeartbeat;
    const int64_t end = nanoseconds() + kMaxTime;
    const int64_t survivors = topology_.world_size - 2;
    while ((ranks_[0] || num_told_ < survivors) && nanoseconds() < end) {
      std::array<epoll_event, 256> events;
      const int count =
          ::epoll_wait(epoll_.descriptor(), events.data(), static_cast<int>(events.size()), 1);
      for (int i = 0; i < count; ++i) handle(events[static_cast<size_t>(i)].data.u64);
      if (nanoseconds() >= next_heartbeat) {
        next_heartbeat += kHeartbeat;
        for (auto& rank : ranks_) {
          if (rank) rank->connection.send(MessageType::kHeartbeat, RemoteStatus().encode());
        }
      }
      if (shared_.die && ranks_[0]) {
        ranks_[0].reset();
        shared_.died_at = nanoseconds();
      }
    }
    shared_.all_know_at = nanoseconds();
  }

 private:
  struct Rank {
    explicit Rank(Socket socket) : connection(std::move(socket)) {}
    Connection connection;
    int64_t next_exchange = 0;
    bool told = false;  // of a failure
  };

  void add(int64_t number) {
    const Deadline deadline = Deadline::clock::now() + std::chrono::seconds(60);
    auto rank =
        std::make_unique<Rank>(Socket::connect("127.0.0.1", topology_.main_ports[0], deadline));
    Hello hello;
    hello.run_id = topology_.run_id;
    hello.rank = number;
    hello.world_size = topology_.world_size;
    hello.host = "simulated";
    rank->connection.send(MessageType::kHello, hello.encode());
    epoll_event event = {};
    event.events = EPOLLIN;
    event.data.u64 = ranks_.size();
    ::epoll_ctl(epoll_.descriptor(), EPOLL_CTL_ADD, rank->connection.socket().descriptor(), &event);
    ranks_.push_back(std::move(rank));
  }

  void handle(size_t index) {
    if (!ranks_[index]) return;
    Rank& rank = *ranks_[index];
    const bool open = rank.connection.fill();
    while (const auto message = rank.connection.next()) take(rank, *message);
    if (!open) {
      tell(rank);
      ranks_[index].reset();
    }
  }

  void take(Rank& rank, const Message& message) {
    switch (message.type) {
      case MessageType::kAccept:
        rank.connection.send(MessageType::kConfirm, RemoteStatus().encode());
        break;
      case MessageType::kWelcome:
      case MessageType::kResult:
        send_exchange(rank);
        break;
      case MessageType::kPrepare: {
        Publication answer = Publication::decode(message.body);
        answer.boundary = 0;
        rank.connection.send(MessageType::kPublish, answer.encode());
        break;
      }
      case MessageType::kFailed:
        tell(rank);
        break;
      default:
        break;
    }
  }

  void tell(Rank& rank) {
    if (!std::exchange(rank.told, true)) ++num_told_;
  }

  void send_exchange(Rank& rank) {
    if (rank.next_exchange == exchanges_) return;
    const bool gather = rank.next_exchange % 2 == 0;
    ExchangePart part;
    part.kind = gather ? ExchangeKind::kGather : ExchangeKind::kClearStop;
    part.sequence = static_cast<uint64_t>(rank.next_exchange++);
    part.name = gather ? "round" : "";
    part.payload = gather ? "sixteen bytes!!!" : "";
    rank.connection.send(MessageType::kExchange, part.encode());
  }

  Topology topology_;
  int64_t exchanges_;
  Shared& shared_;
  Socket epoll_;
  std::vector<std::unique_ptr<Rank>> ranks_;  // from rank 1 on
  int64_t num_told_ = 0;
};

}  // namespace

int64_t nanoseconds() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

pid_t start_simulated_ranks(const Topology& topology, int64_t rounds, Shared& shared) {
  const pid_t process = ::fork();
  if (process != 0) return process;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  rlimit limit = {};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  try {
    SimulatedRanks(topology, rounds, shared).run();
  } catch (const std::exception&) {
    ::_exit(1);
  }
  ::_exit(0);
}

}  // namespace benchmark_control_plane
