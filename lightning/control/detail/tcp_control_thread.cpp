// The thread of a TcpControlPlane.
#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <utility>

#include <lightning/control/detail/control_thread.h>
#include <lightning/control/detail/failure_text.h>
#include <lightning/control/detail/tcp_control_plane.h>
#include <lightning/util/error.h>

namespace lightning::detail {

void TcpControlPlane::run() {
  const std::chrono::milliseconds interval = control_interval(options_);
  Deadline last = Deadline::clock::now();
  Deadline next_heartbeat = last;
  while (send_posted()) {
    wait(next_heartbeat);
    const Deadline now = Deadline::clock::now();
    // This process was suspended: the hub's silence meanwhile means nothing.
    if (now - last >= options_.heartbeat_timeout / 2) last_heard_ = now;
    last = now;
    receive(now);
    check_hub(now);
    call_failure_handler();
    if (now < next_heartbeat) continue;
    next_heartbeat = now + interval;
    // A hub that takes nothing isn't given more and more.
    if (connection_ && !connection_->wants_to_write()) {
      connection_->send(MessageType::kHeartbeat, status().encode());
    }
  }
  connection_.reset();
}

/// False when all is said and this rank has left, or is being destroyed.
bool TcpControlPlane::send_posted() {
  std::vector<Frame> frames;
  bool last = false;
  {
    const std::lock_guard lock(mutex_);
    frames.swap(posted_);
    last = left_ || closing_;
  }
  if (connection_) {
    for (Frame& frame : frames) connection_->send(std::move(frame));
    connection_->flush();
  }
  return !last;
}

void TcpControlPlane::wait(Deadline until) {
  std::array<pollfd, 3> entries = {pollfd{wake_.descriptor(), POLLIN, 0}, pollfd{-1, POLLIN, 0},
                                   pollfd{readable_, POLLIN, 0}};
  if (connection_) {
    entries[1].fd = connection_->socket().descriptor();
    if (connection_->wants_to_write()) entries[1].events |= POLLOUT;
  }
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(until - Deadline::clock::now()).count();
  ::poll(entries.data(), entries.size(), static_cast<int>(std::max<int64_t>(left, 0)));
  wake_.clear();
  if ((entries[2].revents & POLLIN) != 0) call_readable_handler();
}

void TcpControlPlane::call_readable_handler() {
  const std::lock_guard lock(readable_mutex_);
  eventfd_t count = 0;
  if (readable_ >= 0 && ::eventfd_read(readable_, &count) == 0) readable_handler_();
}

void TcpControlPlane::receive(Deadline now) {
  if (!connection_) return;
  const uint64_t received = connection_->received();
  const bool open = connection_->fill();
  if (connection_->received() != received) last_heard_ = now;
  try {
    while (std::optional<Message> message = connection_->next()) take(*message);
  } catch (const DistributedError& error) {
    set_failure({FailureKind::kOther, 0,
                 concat("the hub on ", rank_text(0, hub_record_.host),
                        " sent a malformed message: ", error.what())});
    connection_.reset();
    return;
  }
  if (open) return;
  connection_.reset();
  set_failure({FailureKind::kExited, 0, exited_text(0, hub_record_)});
}

void TcpControlPlane::take(const Message& message) {
  switch (message.type) {
    case MessageType::kWelcome: {
      Welcome welcome = Welcome::decode(message.body);
      const std::lock_guard lock(mutex_);
      hub_record_.host = welcome.hosts.at(0);
      welcome_ = std::move(welcome);
      changed_.notify_all();
      break;
    }
    case MessageType::kPulse:
      hub_record_.status = RemoteStatus::decode(message.body);
      break;
    case MessageType::kResult:
      take_result(message.body);
      break;
    case MessageType::kPrepare:
      publish_boundary(Publication::decode(message.body));
      break;
    case MessageType::kStop: {
      StopOrder order = StopOrder::decode(message.body);
      const std::lock_guard lock(mutex_);
      order_ = std::move(order);
      changed_.notify_all();
      break;
    }
    case MessageType::kFailed:
      set_failure(decode_failure(message.body));
      break;
    default:
      throw DistributedError("control plane: a message of an unknown kind arrived.");
  }
}

void TcpControlPlane::take_result(const std::string& body) {
  const std::lock_guard lock(mutex_);
  if (pending_kind_ == ExchangeKind::kClearStop) {
    // Here and not in clear_stop(), so that what the hub sends next isn't dropped with the rest.
    order_.reset();
    stopped_ = false;
    boundary_.store(kNoBoundary);
    attention_.store(failed_.load());
  }
  // From here on the end of the connection is no failure.
  if (pending_kind_ == ExchangeKind::kLeave) left_ = true;
  result_ = body;
  changed_.notify_all();
}

// The other half of stop_at(), where the reasons stand: first the flag, then the boundary.
void TcpControlPlane::publish_boundary(const Publication& question) {
  attention_.store(true);
  const int64_t boundary = boundary_.load();
  Publication answer{question.generation, std::nullopt};
  if (boundary != kNoBoundary) answer.boundary = boundary;
  connection_->send(MessageType::kPublish, answer.encode());
}

void TcpControlPlane::check_hub(Deadline now) {
  if (!connection_ || failed() || now - last_heard_ < options_.heartbeat_timeout) return;
  const Failure failure = {FailureKind::kUnresponsive, 0,
                           unresponsive_text(0, hub_record_, options_.heartbeat_timeout)};
  set_failure(failure);
  // Should the hub wake up it learns what became of it.
  connection_->send(MessageType::kFail, FailureReport{true, failure, status()}.encode());
}

void TcpControlPlane::call_failure_handler() {
  std::function<void(const Failure&)> handler;
  Failure failure;
  {
    const std::lock_guard lock(mutex_);
    if (failure_.text.empty() || !failure_handler_ || handler_called_) return;
    handler_called_ = true;
    handler = failure_handler_;
    failure = failure_;
  }
  handler(failure);
}

}  // namespace lightning::detail
