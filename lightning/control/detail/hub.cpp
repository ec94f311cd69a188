#include <lightning/control/detail/hub.h>

#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include <lightning/control/detail/control_thread.h>
#include <lightning/control/detail/failure_text.h>
#include <lightning/util/error.h>
#include <lightning/util/log.h>

namespace lightning::detail {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// A rank that fails because another one exited may report it before that exit is noticed here.
constexpr milliseconds kHold{50};
constexpr seconds kShutdownTimeout{5};
constexpr seconds kLinger{2};
constexpr milliseconds kDeliveryPoll{1};
constexpr size_t kEventsAtATime = 256;

}  // namespace

Hub::Hub(Socket listener, Socket own, HubOptions options)
    : options_(std::move(options)),
      interval_(control_interval(options_.control)),
      listener_(std::move(listener)),
      epoll_(::epoll_create1(EPOLL_CLOEXEC)),
      by_rank_(static_cast<size_t>(options_.world_size), nullptr),
      records_(static_cast<size_t>(options_.world_size)),
      came_(static_cast<size_t>(options_.world_size), false),
      admission_end_(Deadline::clock::now() + options_.control.connect_timeout),
      last_step_(Deadline::clock::now()),
      next_tick_(last_step_ + interval_),
      exchange_(options_.world_size),
      stop_(options_.world_size),
      late_watch_(options_.world_size, options_.control.late_warning,
                  options_.control.collective_timeout) {
  LIGHTNING_CHECK(epoll_.valid(), DistributedError,
                  "control plane: epoll_create1 failed: ", std::strerror(errno), ".");
  watch(wake_.descriptor(), EPOLLIN, EPOLL_CTL_ADD);
  if (listener_.valid()) watch(listener_.descriptor(), EPOLLIN, EPOLL_CTL_ADD);
  add_peer(std::move(own));
  thread_ = start_control_thread("lightning-hub", [this] { run(); });
}

Hub::~Hub() {
  stopping_ = true;
  wake_.signal();
  thread_.join();
}

void Hub::run() {
  try {
    while (!stopping_) step();
  } catch (const std::exception& error) {
    declare({FailureKind::kOther, 0,
             concat(rank_text(0, records_[0].host),
                    " cannot continue: the control plane failed: ", error.what())});
  }
  linger();
}

void Hub::step() {
  std::array<epoll_event, kEventsAtATime> events;
  const int count = ::epoll_wait(epoll_.descriptor(), events.data(), events.size(),
                                 wait_milliseconds(Deadline::clock::now()));
  const Deadline now = Deadline::clock::now();
  notice_pause(now);
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = events[static_cast<size_t>(i)];
    if (event.data.fd == wake_.descriptor()) {
      wake_.clear();
    } else if (event.data.fd == listener_.descriptor()) {
      accept_all();
    } else if (const auto found = peers_.find(event.data.fd); found != peers_.end()) {
      handle(*found->second, event.events);
    }
  }
  if (held_ && now >= held_->due) declare(std::exchange(held_, std::nullopt)->failure);
  finish_shutdown(now);
  if (!failure_.text.empty() && !told_) told_ = now >= told_end_ || all_delivered();
  if (now >= next_tick_) {
    next_tick_ = now + interval_;
    tick(now);
  }
}

int Hub::wait_milliseconds(Deadline now) const {
  Deadline until = next_tick_;
  if (held_) until = std::min(until, held_->due);
  if (!failure_.text.empty() && !told_) until = std::min(until, now + kDeliveryPoll);
  const auto left = std::chrono::ceil<milliseconds>(until - now).count();
  return static_cast<int>(std::max<int64_t>(left, 0));
}

void Hub::notice_pause(Deadline now) {
  const Deadline::duration pause = now - last_step_;
  last_step_ = now;
  if (pause < options_.control.heartbeat_timeout / 2) return;
  // This process was suspended: the silence of the others meanwhile means nothing.
  for (const auto& [descriptor, peer] : peers_) peer->last_heard = now;
  late_watch_.add_pause(pause);
  admission_end_ += pause;
}

void Hub::tick(Deadline now) {
  const Frame pulse = make_frame(MessageType::kPulse, records_[0].status.encode());
  for (Peer* peer : by_rank_) {
    // One that takes nothing isn't given more and more.
    if (peer != nullptr && !peer->connection.wants_to_write()) send(*peer, pulse);
  }
  check_silence(now);
  if (settled()) return;
  check_admission(now);
  check_lateness(now);
}

// ---- connections

void Hub::watch(int descriptor, uint32_t events, int operation) const {
  epoll_event event = {};
  event.events = events;
  event.data.fd = descriptor;
  LIGHTNING_CHECK(::epoll_ctl(epoll_.descriptor(), operation, descriptor, &event) == 0,
                  DistributedError,
                  "control plane: epoll_ctl failed for a connection: ", std::strerror(errno), ".");
}

void Hub::add_peer(Socket socket) {
  const int descriptor = socket.descriptor();
  auto peer = std::make_unique<Peer>(std::move(socket));
  peer->last_heard = Deadline::clock::now();
  watch(descriptor, EPOLLIN, EPOLL_CTL_ADD);
  peers_.emplace(descriptor, std::move(peer));
}

void Hub::accept_all() {
  while (std::optional<Socket> socket = listener_.accept(Deadline{})) {
    add_peer(std::move(*socket));
  }
}

void Hub::handle(Peer& peer, uint32_t events) {
  if ((events & EPOLLOUT) != 0) send(peer, nullptr);
  if ((events & ~static_cast<uint32_t>(EPOLLOUT)) == 0) return;
  const bool open = peer.connection.fill();
  peer.last_heard = last_step_;
  try {
    while (std::optional<Message> message =
               peer.connection.next(peer.is_rank ? kMaxBody : kMaxGreeting)) {
      if (peer.is_rank) {
        take(peer, *message);
      } else {
        greet(peer, *message);
      }
    }
  } catch (const DistributedError& error) {
    if (peer.is_rank) {
      declare({FailureKind::kOther, peer.rank(),
               format("rank {} sent a malformed message: {}", peer.rank(), error.what())});
    }
    drop(peer);
    return;
  }
  if (!open) drop(peer);
}

void Hub::send(Peer& peer, Frame frame) {
  if (frame) {
    peer.connection.send(std::move(frame));
  } else {
    peer.connection.flush();
  }
  const bool wants = peer.connection.wants_to_write();
  if (wants == peer.write_watched) return;
  peer.write_watched = wants;
  watch(peer.connection.socket().descriptor(), wants ? EPOLLIN | EPOLLOUT : EPOLLIN, EPOLL_CTL_MOD);
}

void Hub::send_all(MessageType type, std::string_view body) {
  const Frame frame = make_frame(type, body);
  // Rank 0 last: when its process ends because of this message, the others have it.
  for (size_t i = by_rank_.size(); i-- > 0;) {
    if (by_rank_[i] != nullptr) send(*by_rank_[i], frame);
  }
}

void Hub::drop(Peer& peer) {
  if (peer.is_rank) {
    by_rank_[static_cast<size_t>(peer.rank())] = nullptr;
    if (!peer.quit) lose(peer);
  }
  peers_.erase(peer.connection.socket().descriptor());  // closes it
}

// ---- ranks

void Hub::take(Peer& peer, const Message& message) {
  RankRecord& record = records_[static_cast<size_t>(peer.rank())];
  switch (message.type) {
    case MessageType::kHeartbeat:
      record.status = RemoteStatus::decode(message.body);
      break;
    case MessageType::kExchange:
      take_exchange(peer, ExchangePart::decode(message.body));
      break;
    case MessageType::kRequestStop: {
      StopRequest request = decode_request(message.body);
      request.rank = peer.rank();
      if (settled() || !stop_.begin(request)) break;
      send_all(MessageType::kPrepare, Publication{stop_.generation(), std::nullopt}.encode());
      break;
    }
    case MessageType::kPublish:
      if (const auto order = stop_.publish(peer.rank(), Publication::decode(message.body))) {
        send_all(MessageType::kStop, order->encode());
      }
      break;
    case MessageType::kFail:
      take_report(peer, FailureReport::decode(message.body));
      break;
    case MessageType::kQuit:
      peer.quit = true;
      break;
    default:
      throw DistributedError("control plane: a message of an unknown kind arrived.");
  }
}

void Hub::take_exchange(Peer& peer, ExchangePart part) {
  if (settled()) return;
  const std::string mismatch = exchange_.add(peer.rank(), std::move(part));
  if (!mismatch.empty()) {
    declare({FailureKind::kDisagreement, peer.rank(), mismatch});
    return;
  }
  if (!exchange_.complete()) return;
  const ExchangeKind kind = exchange_.kind();
  const std::string result = exchange_.take_result();
  if (kind == ExchangeKind::kLeave) {
    begin_shutdown(make_frame(MessageType::kResult, result));
    return;
  }
  if (kind == ExchangeKind::kClearStop) stop_.clear();
  send_all(MessageType::kPulse, records_[0].status.encode());
  send_all(MessageType::kResult, result);
}

void Hub::begin_shutdown(const Frame& result) {
  shutting_down_ = true;
  own_leave_ = result;
  shutdown_end_ = last_step_ + kShutdownTimeout;
  for (size_t i = 1; i < by_rank_.size(); ++i) {
    if (by_rank_[i] != nullptr) send(*by_rank_[i], result);
  }
}

void Hub::finish_shutdown(Deadline now) {
  if (!own_leave_) return;
  const bool alone = std::all_of(by_rank_.begin() + 1, by_rank_.end(),
                                 [](const Peer* peer) { return peer == nullptr; });
  if (!alone && now < shutdown_end_) return;
  if (by_rank_[0] != nullptr) send(*by_rank_[0], own_leave_);
  own_leave_ = nullptr;
}

void Hub::check_silence(Deadline now) {
  if (settled()) return;
  for (const Peer* peer : by_rank_) {
    if (peer == nullptr || now - peer->last_heard < options_.control.heartbeat_timeout) continue;
    declare({FailureKind::kUnresponsive, peer->rank(),
             unresponsive_text(peer->rank(), records_[static_cast<size_t>(peer->rank())],
                               options_.control.heartbeat_timeout)});
    return;
  }
}

void Hub::check_lateness(Deadline now) {
  std::optional<LateFinding> finding = late_watch_.check(records_, exchange_, now);
  if (!finding) return;
  Failure& failure = finding->failure;
  if (!finding->end) {
    log_warning("control plane: " + failure.text + ".");
    return;
  }
  if (failure.kind == FailureKind::kLate) {
    failure.text += ". HINT: increase trainer.collective_timeout if this wait is expected.";
  }
  declare(std::move(failure));
}

// ---- failures

void Hub::take_report(const Peer& peer, const FailureReport& report) {
  if (settled()) return;
  RankRecord& record = records_[static_cast<size_t>(peer.rank())];
  record.status = report.status;
  if (report.complete) {
    declare(report.failure);
  } else if (!held_) {
    held_ = HeldFailure{
        {report.failure.kind, peer.rank(), failed_text(peer.rank(), record, report.failure.text)},
        last_step_ + kHold};
  }
}

void Hub::lose(const Peer& peer) {
  if (settled()) return;
  const bool explained = held_ && held_->failure.rank == peer.rank();
  const RankRecord& record = records_[static_cast<size_t>(peer.rank())];
  declare(explained ? held_->failure
                    : Failure{FailureKind::kExited, peer.rank(), exited_text(peer.rank(), record)});
}

void Hub::declare(Failure failure) {
  if (settled()) return;
  held_.reset();
  failure_ = std::move(failure);
  told_end_ = last_step_ + kLinger;
  send_all(MessageType::kFailed, encode_failure(failure_));
}

// A socket that is closed with data on both sides loses what is in flight.
bool Hub::all_delivered() {
  // Rank 0's own end is in this process.
  return std::all_of(by_rank_.begin() + 1, by_rank_.end(), [](const Peer* peer) {
    return peer == nullptr || peer->connection.all_delivered();
  });
}

void Hub::wait_until_told() const {
  const Deadline end = Deadline::clock::now() + kLinger;
  while (!told_ && Deadline::clock::now() < end) std::this_thread::sleep_for(kDeliveryPoll);
}

void Hub::linger() {
  const Deadline end = Deadline::clock::now() + kLinger;
  while (!all_delivered() && Deadline::clock::now() < end) {
    for (size_t i = 1; i < by_rank_.size(); ++i) {
      if (by_rank_[i] != nullptr) by_rank_[i]->connection.flush();
    }
    std::this_thread::sleep_for(kDeliveryPoll);
  }
  told_ = true;
}

}  // namespace lightning::detail
