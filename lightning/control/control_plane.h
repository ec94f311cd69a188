/// ControlPlane: out-of-band communication between ranks. A small TCP hub runs in rank 0; each rank
/// has one connection and one dedicated thread. The training thread pays one atomic store and one
/// load per boundary.
///
/// It agrees on where to stop, carries one rank's error to all others, notices ranks that exited or
/// hang, and exchanges short texts (names, hashes, states) with a time limit. It needs no process
/// group and works while one is blocked.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <lightning/util/error.h>
#include <lightning/util/export.h>

namespace lightning {

struct ControlPlaneOptions {
  /// How long ranks wait for one another at the start.
  std::chrono::milliseconds connect_timeout{300'000};
  /// A rank that is silent for this long is considered hung.
  std::chrono::milliseconds heartbeat_timeout{30'000};
  /// How long others wait for a late rank: a warning after the first, the end after the second.
  std::chrono::milliseconds late_warning{60'000};
  std::chrono::milliseconds collective_timeout{1'800'000};
  /// After a failure: time for the main thread to return, then the process is ended.
  std::chrono::milliseconds grace{10'000};
  /// Network interface to use; empty: the one that leads to rank 0, loopback on one node.
  std::string interface;
};

/// Why and where all ranks stop.
struct StopRequest {
  /// Signal number, or 0 for a request of a callback or a time limit.
  int signal = 0;
  int64_t rank = 0;  // which asked first
  std::string reason;
};

/// Where a rank is, for messages about it. Strings must outlive the process (literals).
struct RankStatus {
  int64_t global_step = 0;
  const char* phase = "start";  // hook or part of the loop
  const char* collective = "";  // last one begun
  uint64_t sequence = 0;        // its number
  bool waiting = false;         // inside that collective
  bool long_phase = false;      // may be silent for long: prepare_data, setup, checkpoint
};

/// What this rank has given to exchanges since the start.
struct ExchangeCounters {
  int64_t exchanges = 0;
  int64_t bytes = 0;  // payloads
};

class LIGHTNING_API ControlPlane {
 public:
  virtual ~ControlPlane();

  virtual int64_t rank() const = 0;
  virtual int64_t world_size() const = 0;
  /// Numeric address at which other ranks reach this process: this end of its connection to rank 0.
  virtual const std::string& local_address() const = 0;
  /// Host names by rank.
  virtual const std::vector<std::string>& hosts() const = 0;

  // ---- exchange (training thread; every rank must call with the same name, in the same order)
  /// The payloads of all ranks, by rank. Throws DistributedError when a rank is at an exchange of
  /// a different name, failed, or is late by collective_timeout.
  virtual std::vector<std::string> all_gather(std::string_view name, std::string_view payload) = 0;
  /// Rank 0's payload. Throws like all_gather().
  virtual std::string broadcast(std::string_view name, std::string_view payload) = 0;
  /// Returns when every rank has called it. Throws like all_gather().
  virtual void barrier(std::string_view name) = 0;
  /// Training thread.
  virtual ExchangeCounters exchange_counters() const { return {}; }

  // ---- stopping together
  /// Asks all ranks to stop at one and the same boundary. Any thread (not a
  /// signal handler); the first request counts.
  virtual void request_stop(StopRequest request) = 0;
  /// From here on `handler` is called on the control thread whenever `descriptor` (an eventfd, read
  /// before) becomes readable; it may request a stop. -1: no more, and none runs once this has
  /// returned. Training thread.
  virtual void on_readable(int /*descriptor*/, std::function<void()> /*handler*/) {}
  /// Called by the training thread at each boundary (numbers rise by one; all ranks count alike).
  /// Returns true at the boundary where all ranks stop: the largest that any of them may have
  /// passed when the request came, plus one; and at later ones. Waits only while a request is being
  /// agreed on. Throws DistributedError when a rank has failed.
  virtual bool stop_at(int64_t boundary) = 0;
  /// What was agreed on, once stop_at() has returned true.
  virtual std::optional<StopRequest> stop() const = 0;
  /// Forgets the stop (agreed on or only requested) and the boundaries, at the end of a fit; the
  /// next one may count anew. An exchange: every rank must call it.
  virtual void clear_stop() = 0;

  // ---- failures
  /// Notifies all ranks that this one cannot continue. They throw DistributedError of this kind,
  /// with this rank and a text that ends with this one. Returns when it is on its way (bounded).
  virtual void fail(std::string_view text, FailureKind kind = FailureKind::kThrew) noexcept = 0;
  /// Called once, on the control thread, when this or another rank failed (at once when it has): it
  /// frees the threads that wait.
  virtual void set_failure_handler(std::function<void(const Failure& failure)> handler) = 0;
  /// Called on a side thread (and given a few seconds) before the process is ended with
  /// kHungExitCode because its main thread didn't come to leave() or the destructor within `grace`
  /// after a failure; throw_if_failed() and the like give it the grace period once more.
  virtual void set_abort_handler(std::function<void()> flush) = 0;
  /// One load.
  virtual bool failed() const = 0;
  /// "rank 2 (node1) failed at step 17 in training_step, last collective all_reduce #123: TEXT", or
  /// an empty text.
  virtual Failure failure() const = 0;
  /// Throws DistributedError when a rank has failed. One load.
  void throw_if_failed() const;

  // ---- status of this rank, for messages
  /// Cheap (a few stores); called at boundaries. Without the name of a collective what is known of
  /// the last one stays.
  virtual void set_status(const RankStatus& status) = 0;
  /// The newest collective of this rank (name: a literal), its number, and whether it is still
  /// in flight. The process group calls it at the begin and the end of each, from any thread.
  virtual void set_collective(const char* /*name*/, uint64_t /*sequence*/, bool /*waiting*/) {}

  /// Leaves the run cleanly: after this, process exit is not treated as a failure. Every rank must
  /// call it; an exchange, which throws DistributedError when a rank fails before all have come.
  /// After a failure that this rank knows of it returns at once.
  virtual void leave() = 0;
};

}  // namespace lightning
