// How connections become ranks.
#include <algorithm>
#include <utility>

#include <lightning/control/detail/failure_text.h>
#include <lightning/control/detail/hub.h>
#include <lightning/launch/launcher.h>
#include <lightning/util/error.h>
#include <lightning/util/log.h>

namespace lightning::detail {
namespace {

constexpr std::chrono::seconds kGreetingTimeout{10};

bool is_loopback(const std::string& address) {
  return address.empty() || address.rfind("127.", 0) == 0 || address == "::1";
}

}  // namespace

void Hub::greet(Peer& peer, const Message& message) {
  if (message.type == MessageType::kHello && !peer.hello) {
    peer.hello = Hello::decode(message.body);
    answer_hello(peer);
  } else if (message.type == MessageType::kConfirm && peer.hello) {
    admit(peer, RemoteStatus::decode(message.body));
  } else {
    throw DistributedError(
        "control plane: rejected a connection that is not from a rank of this run.");
  }
}

void Hub::answer_hello(Peer& peer) {
  const Hello& hello = *peer.hello;
  if (hello.run_id != options_.run_id) {
    refuse(peer, true, concat("the hub belongs to a different run, ", options_.run_id));
  } else if (hello.version != kProtocolVersion) {
    refuse(peer, false,
           format("this process uses a different version of the library (protocol {}) from rank 0 "
                  "(protocol {})",
                  hello.version, kProtocolVersion));
  } else if (hello.world_size != options_.world_size) {
    refuse(peer, false,
           format("rank {} expects {} ranks, rank 0 expects {}", hello.rank, hello.world_size,
                  options_.world_size));
  } else if (hello.rank < 0 || hello.rank >= options_.world_size) {
    refuse(peer, false, format("rank {} isn't one of {} ranks", hello.rank, options_.world_size));
  } else if (came_[static_cast<size_t>(hello.rank)]) {
    refuse(peer, false,
           format("rank {} is already connected, from host {}", hello.rank,
                  records_[static_cast<size_t>(hello.rank)].host));
  } else {
    send(peer, make_frame(MessageType::kAccept));
  }
}

void Hub::refuse(Peer& peer, bool other_run, const std::string& text) {
  // The caller closes the connection; one that doesn't is dropped as unidentified.
  peer.hello.reset();
  send(peer, make_frame(MessageType::kRefuse, Refusal{other_run, text}.encode()));
}

void Hub::admit(Peer& peer, const RemoteStatus& status) {
  const auto rank = static_cast<size_t>(peer.rank());
  if (came_[rank]) {  // two were accepted and this one was slower
    answer_hello(peer);
    return;
  }
  peer.is_rank = true;
  came_[rank] = true;
  by_rank_[rank] = &peer;
  records_[rank] = RankRecord{peer.hello->host, status};
  ++num_came_;
  log_debug(format("control plane: {} connected", rank_text(peer.rank(), peer.hello->host)));
  if (!failure_.text.empty()) {
    send(peer, make_frame(MessageType::kFailed, encode_failure(failure_)));
  } else if (num_came_ == options_.world_size) {
    welcome_all();
  }
}

void Hub::welcome_all() {
  Welcome welcome;
  welcome.hub_address = own_address();
  for (const RankRecord& record : records_) welcome.hosts.push_back(record.host);
  send_all(MessageType::kWelcome, welcome.encode());
}

std::string Hub::own_address() const {
  if (!options_.address.empty()) return options_.address;
  // Ranks on this machine may have come over loopback, which leads others nowhere.
  for (const Peer* peer : by_rank_) {
    if (peer == nullptr) continue;
    const std::string address = peer->connection.socket().local_address();
    if (!is_loopback(address)) return address;
  }
  return "127.0.0.1";
}

void Hub::check_admission(Deadline now) {
  std::vector<Peer*> unidentified;
  for (const auto& [descriptor, peer] : peers_) {
    if (!peer->is_rank && now - peer->last_heard > kGreetingTimeout)
      unidentified.push_back(peer.get());
  }
  for (Peer* peer : unidentified) drop(*peer);

  if (num_came_ == options_.world_size) return;
  std::vector<int64_t> missing;
  for (size_t rank = 0; rank < came_.size(); ++rank) {
    if (!came_[rank]) missing.push_back(static_cast<int64_t>(rank));
  }
  const auto timeout = options_.control.connect_timeout;
  const std::string who = concat(ranks_text(missing), " of ", options_.world_size);
  for (const int64_t rank : missing) {
    const std::string end = launched_rank_exit(rank);
    if (end.empty()) continue;
    declare({FailureKind::kExited, rank,
             concat(end, " before it connected. HINT: check the end of its output.")});
    return;
  }
  if (now >= admission_end_) {
    declare({FailureKind::kMissing, missing.front(),
             format("{} did not connect within {}. HINT: check the output of these ranks, and "
                    "whether they can reach this host; trainer.connect_timeout sets the limit.",
                    who, seconds_text(timeout))});
  } else if (now >= admission_end_ - timeout + options_.control.late_warning) {
    log_warning(concat("control plane: waiting for ", who, "."));
  }
}

}  // namespace lightning::detail
