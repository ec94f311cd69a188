#include "unit/control/simulated_rank.h"

#include <poll.h>
#include <sys/resource.h>

#include <lightning/util/error.h>

namespace lightning_tests {

using lightning::detail::Message;
using lightning::detail::MessageType;

lightning::detail::Hello hello_of(const TestRun& run, int64_t rank) {
  lightning::detail::Hello hello;
  hello.run_id = run.run_id;
  hello.rank = rank;
  hello.world_size = run.world_size;
  hello.host = "simulated";
  return hello;
}

void raise_descriptor_limit() {
  rlimit limit = {};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

std::optional<Message> SimulatedRank::poll() {
  connection_.flush();
  if (!closed_ && !connection_.fill()) closed_ = true;
  while (std::optional<Message> message = connection_.next()) {
    if (message->type != MessageType::kPulse) return message;
  }
  return std::nullopt;
}

std::optional<Message> SimulatedRank::next() {
  const lightning::Deadline end = guard();
  while (true) {
    if (std::optional<Message> message = poll()) return message;
    if (closed_) return std::nullopt;
    if (lightning::Deadline::clock::now() >= end) {
      throw lightning::DistributedError("the hub said nothing");
    }
    pollfd entry = {descriptor(), POLLIN, 0};
    ::poll(&entry, 1, 100);
  }
}

}  // namespace lightning_tests
