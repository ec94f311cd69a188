#include <lightning/control/detail/connection.h>

#include <linux/sockios.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include <lightning/util/error.h>

namespace lightning::detail {
namespace {

constexpr size_t kChunk = 64UL << 10;
// One busy sender doesn't keep the others waiting for longer than this.
constexpr int kChunksAtATime = 16;

}  // namespace

void Connection::send(Frame frame) {
  outgoing_.push_back(std::move(frame));
  flush();
}

void Connection::flush() {
  while (!outgoing_.empty()) {
    const std::string& frame = *outgoing_.front();
    const ssize_t sent = ::send(socket_.descriptor(), frame.data() + sent_, frame.size() - sent_,
                                MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) {
      if (errno == EINTR) continue;
      // A broken connection is found by fill(), after what the other end sent last.
      if (errno != EAGAIN) outgoing_.clear();
      return;
    }
    sent_ += static_cast<size_t>(sent);
    if (sent_ < frame.size()) continue;
    outgoing_.pop_front();
    sent_ = 0;
  }
}

bool Connection::all_delivered() const {
  int unacknowledged = 0;
  const bool known = ::ioctl(socket_.descriptor(), SIOCOUTQ, &unacknowledged) == 0;
  return outgoing_.empty() && (!known || unacknowledged == 0);
}

bool Connection::fill() {
  std::array<char, kChunk> chunk;
  for (int i = 0; i < kChunksAtATime; ++i) {
    const ssize_t got = ::recv(socket_.descriptor(), chunk.data(), chunk.size(), MSG_DONTWAIT);
    if (got > 0) {
      received_ += static_cast<uint64_t>(got);
      reader_.append({chunk.data(), static_cast<size_t>(got)});
      if (static_cast<size_t>(got) < chunk.size()) return true;
    } else if (got == 0) {
      return false;
    } else if (errno != EINTR) {
      return errno == EAGAIN;
    }
  }
  return true;
}

WakeEvent::WakeEvent() : socket_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  LIGHTNING_CHECK(socket_.valid(), DistributedError,
                  "control plane: eventfd failed: ", std::strerror(errno),
                  ". HINT: raise the limit of open files (ulimit -n).");
}

void WakeEvent::signal() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(socket_.descriptor(), &one, sizeof(one));
}

void WakeEvent::clear() {
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = ::read(socket_.descriptor(), &count, sizeof(count));
}

}  // namespace lightning::detail
