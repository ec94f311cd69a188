/// Connection: messages over a socket without ever blocking, for one thread that waits in poll.
#pragma once

#include <deque>
#include <optional>

#include <lightning/control/detail/message.h>
#include <lightning/util/detail/socket.h>

namespace lightning::detail {

class LIGHTNING_API Connection {
 public:
  explicit Connection(Socket socket) : socket_(std::move(socket)) {}

  /// Sends at once what the kernel takes; the rest waits for flush().
  void send(Frame frame);
  void send(MessageType type, std::string_view body = {}) { send(make_frame(type, body)); }
  void flush();
  bool wants_to_write() const { return !outgoing_.empty(); }
  /// Nothing is queued, and the other machine has everything.
  bool all_delivered() const;

  /// Takes in what has arrived. False once the other end is gone; what came before can still be
  /// taken by next().
  bool fill();
  /// Bytes taken in so far.
  uint64_t received() const { return received_; }
  std::optional<Message> next(size_t max_body = kMaxBody) { return reader_.next(max_body); }

  const Socket& socket() const { return socket_; }

 private:
  Socket socket_;
  std::deque<Frame> outgoing_;
  size_t sent_ = 0;  // of the first frame
  uint64_t received_ = 0;
  FrameReader reader_;
};

/// A descriptor that wakes a thread out of poll.
class LIGHTNING_API WakeEvent {
 public:
  WakeEvent();
  void signal();
  void clear();
  int descriptor() const { return socket_.descriptor(); }

 private:
  Socket socket_;  // owns the eventfd
};

}  // namespace lightning::detail
