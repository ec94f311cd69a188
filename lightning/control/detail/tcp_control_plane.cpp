#include <lightning/control/detail/tcp_control_plane.h>

#include <utility>

#include <lightning/control/detail/control_thread.h>
#include <lightning/control/detail/failure_text.h>
#include <lightning/util/error.h>

namespace lightning::detail {
namespace {

// How long fail() waits for the confirmation that the others were notified.
constexpr std::chrono::seconds kFailWait{2};

bool is_loopback(const std::string& address) {
  return address.empty() || address.rfind("127.", 0) == 0 || address == "::1";
}

}  // namespace

TcpControlPlane::TcpControlPlane(Socket socket, std::unique_ptr<Hub> hub, const Hello& hello,
                                 const ControlPlaneOptions& options)
    : hub_(std::move(hub)),
      rank_(hello.rank),
      world_size_(hello.world_size),
      host_(hello.host),
      options_(options),
      connection_(std::in_place, std::move(socket)),
      last_heard_(Deadline::clock::now()),
      watchdog_(std::make_unique<Watchdog>(options.grace)) {
  post(MessageType::kConfirm, status().encode());
  thread_ = start_control_thread("lightning-ctl", [this] { run(); });
}

TcpControlPlane::~TcpControlPlane() {
  watchdog_->disarm();
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  wake_.signal();
  thread_.join();
}

void TcpControlPlane::wait_for_all(const std::string& own_address, bool single_node) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return welcome_ || !failure_.text.empty(); });
  if (!failure_.text.empty()) throw_failure(failure_);
  hosts_ = welcome_->hosts;
  // A rank that came over loopback is on the hub's machine.
  local_address_ = !single_node && is_loopback(own_address) ? welcome_->hub_address : own_address;
}

// ---- exchange

std::string TcpControlPlane::exchange(ExchangeKind kind, std::string_view name,
                                      std::string_view payload) {
  const std::lock_guard exchange_lock(exchange_mutex_);
  ExchangePart part;
  part.kind = kind;
  part.sequence = num_exchanges_++;
  exchanged_bytes_ += static_cast<int64_t>(payload.size());
  part.name = name;
  part.payload = payload;

  {
    const std::lock_guard lock(mutex_);
    LIGHTNING_CHECK(!left_, DistributedError, "control plane: rank ", rank_, " is at exchange '",
                    name, "' after leave().");
    if (!failure_.text.empty()) throw_failure(failure_);
    pending_kind_ = kind;
    result_.reset();
  }
  // Ahead of it, so that others know where this rank was at its last exchange at least.
  post(MessageType::kHeartbeat, status().encode());
  post(MessageType::kExchange, part.encode());
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return result_ || !failure_.text.empty(); });
  if (!result_) throw_failure(failure_);
  return std::move(*std::exchange(result_, std::nullopt));
}

std::vector<std::string> TcpControlPlane::all_gather(std::string_view name,
                                                     std::string_view payload) {
  return decode_texts(exchange(ExchangeKind::kGather, name, payload));
}

std::string TcpControlPlane::broadcast(std::string_view name, std::string_view payload) {
  const std::string_view part = rank_ == 0 ? payload : std::string_view();
  return decode_texts(exchange(ExchangeKind::kBroadcast, name, part)).at(0);
}

void TcpControlPlane::barrier(std::string_view name) { exchange(ExchangeKind::kBarrier, name, {}); }

ExchangeCounters TcpControlPlane::exchange_counters() const {
  const std::lock_guard lock(exchange_mutex_);
  return {static_cast<int64_t>(num_exchanges_), exchanged_bytes_};
}

void TcpControlPlane::leave() {
  {
    const std::lock_guard lock(mutex_);
    if (left_) return;
  }
  // Whatever comes of it, this thread got away.
  struct Goodbye {
    TcpControlPlane& plane;
    ~Goodbye() {
      plane.post(MessageType::kQuit);
      {
        const std::lock_guard lock(plane.mutex_);
        plane.left_ = true;
      }
      plane.watchdog_->disarm();
      plane.wake_.signal();
    }
  } leaving{*this};
  if (!failed()) {
    exchange(ExchangeKind::kLeave, "", {});
  } else if (hub_) {
    hub_->wait_until_told();
  }
}

// ---- stopping together

void TcpControlPlane::request_stop(StopRequest request) {
  request.rank = rank_;
  post(MessageType::kRequestStop, encode_request(request));
}

void TcpControlPlane::on_readable(int descriptor, std::function<void()> handler) {
  {
    const std::lock_guard lock(readable_mutex_);
    readable_ = descriptor;
    readable_handler_ = std::move(handler);
  }
  wake_.signal();
}

// Why no rank passes S. A rank's training thread stores its boundary (W1) and then loads the flag
// (R1); its control thread stores the flag (W2) and then loads the boundary (R2), which it
// publishes. All four are sequentially consistent, so that they stand in one order that both
// threads see. When R1 finds the flag unset it stands before W2, hence W1 < R1 < W2 < R2, and R2
// reads this boundary or (since boundaries only rise) a larger one. A boundary that is passed
// without waiting is therefore never larger than what its rank publishes, and S is larger than what
// any rank publishes. A rank that finds the flag set waits until it knows S, and continues only to
// boundaries up to S: there is none behind it that it would have had to stop at.
bool TcpControlPlane::stop_at(int64_t boundary) {
  boundary_.store(boundary);
  if (!attention_.load()) return false;
  return stop_slowly(boundary);
}

bool TcpControlPlane::stop_slowly(int64_t boundary) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return order_ || !failure_.text.empty(); });
  if (!failure_.text.empty()) throw_failure(failure_);
  // No rank had a boundary when it was asked: they stop at their first one.
  if (!order_->boundary) order_->boundary = boundary;
  if (stopped_ || boundary == *order_->boundary) {
    stopped_ = true;
    return true;
  }
  if (boundary < *order_->boundary) return false;
  const std::string text = concat("control plane: rank ", rank_, " is at boundary ", boundary,
                                  ", past ", *order_->boundary, " where all ranks stop.");
  lock.unlock();
  fail(text, FailureKind::kDisagreement);
  throw DistributedError({FailureKind::kDisagreement, rank_, text});
}

std::optional<StopRequest> TcpControlPlane::stop() const {
  const std::lock_guard lock(mutex_);
  return stopped_ ? std::optional(order_->request) : std::nullopt;
}

void TcpControlPlane::clear_stop() { exchange(ExchangeKind::kClearStop, "", {}); }

// ---- failures

void TcpControlPlane::throw_failure(const Failure& failure) const {
  watchdog_->notice();
  throw DistributedError(failure);
}

Failure TcpControlPlane::failure() const {
  const std::lock_guard lock(mutex_);
  if (!failure_.text.empty()) watchdog_->notice();
  return failure_;
}

void TcpControlPlane::fail(std::string_view text, FailureKind kind) noexcept {
  try {
    report_failure(text, kind);
  } catch (const std::exception&) {
    // Out of memory: the others will notice that this process exits.
  }
}

void TcpControlPlane::report_failure(std::string_view text, FailureKind kind) {
  const FailureReport report{false, {kind, rank_, std::string(text)}, status()};
  post(MessageType::kFail, report.encode());
  // The control thread must not wait for itself.
  if (std::this_thread::get_id() == thread_.get_id()) return;
  {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, kFailWait, [this] { return !failure_.text.empty() || left_; });
  }
  set_failure(
      {kind, rank_, failed_text(rank_, RankRecord{host_, report.status}, report.failure.text)});
}

void TcpControlPlane::set_failure(const Failure& failure) {
  const std::lock_guard lock(mutex_);
  if (!failure_.text.empty() || left_) return;
  failure_ = failure;
  failed_.store(true);
  attention_.store(true);
  changed_.notify_all();
  wake_.signal();
  watchdog_->arm(failure.text);
}

void TcpControlPlane::set_failure_handler(std::function<void(const Failure&)> handler) {
  const std::lock_guard lock(mutex_);
  failure_handler_ = std::move(handler);
  wake_.signal();
}

void TcpControlPlane::set_abort_handler(std::function<void()> flush) {
  watchdog_->set_abort_handler(std::move(flush));
}

// ---- status

void TcpControlPlane::set_status(const RankStatus& status) {
  constexpr auto kRelaxed = std::memory_order_relaxed;
  global_step_.store(status.global_step, kRelaxed);
  phase_.store(status.phase, kRelaxed);
  long_phase_.store(status.long_phase, kRelaxed);
  if (*status.collective != '\0') {
    set_collective(status.collective, status.sequence, status.waiting);
  }
}

void TcpControlPlane::set_collective(const char* name, uint64_t sequence, bool waiting) {
  constexpr auto kRelaxed = std::memory_order_relaxed;
  collective_.store(name, kRelaxed);
  sequence_.store(sequence, kRelaxed);
  waiting_.store(waiting, kRelaxed);
}

RemoteStatus TcpControlPlane::status() const {
  RemoteStatus status;
  status.global_step = global_step_;
  status.phase = phase_;
  status.collective = collective_;
  status.sequence = sequence_;
  status.waiting = waiting_;
  status.long_phase = long_phase_;
  return status;
}

void TcpControlPlane::post(MessageType type, std::string_view body) {
  Frame frame = make_frame(type, body);
  {
    const std::lock_guard lock(mutex_);
    posted_.push_back(std::move(frame));
  }
  wake_.signal();
}

}  // namespace lightning::detail
