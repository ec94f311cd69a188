/// StopControl: whether a run ends before its limits, and why. With several ranks all of them act
/// on the same request at the same boundary between batches.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <lightning/run/detail/signals.h>
#include <lightning/util/export.h>

namespace lightning {

class ControlPlane;

class LIGHTNING_API StopControl {
 public:
  /// `control` is null with one rank.
  void set_control(ControlPlane* control) { control_ = control; }
  /// After set_control(). With several ranks a signal that comes in the middle of a long step asks
  /// them at once to stop after it. Null: stop reacting to signals.
  void watch(const SignalHandler* signals);
  /// From `time` on the run stops as if `signal` had come. With several ranks one of them is
  /// enough.
  void set_deadline(std::chrono::steady_clock::time_point time, int signal) {
    deadline_ = time;
    deadline_signal_ = signal;
  }

  /// A request of a callback or of the module. With several ranks it holds from the next boundary
  /// or agree() on; the first one counts.
  void request(std::string reason);
  /// The time limit has come. One rank decides: clocks differ.
  void request_time_limit();

  /// A point at which all ranks may stop; every rank must pass the same ones. Waits only while a
  /// request is being agreed on. Throws DistributedError when a rank has failed.
  void at_boundary();
  /// Makes requests of any rank those of all, for hooks that all ranks run together (ends of
  /// validations and epochs): what callbacks decide there holds at once. Every rank must call it.
  void agree();
  /// At the end of a fit: what came after the last boundary holds on all ranks too, and boundaries
  /// begin anew. Every rank must call it.
  void finish();

  /// Forgets the request that holds, once all ranks have it. Every rank must call it.
  void drop_request();

  /// The signal to act on, or 0.
  int signal() const;
  bool requested() const { return requested_; }
  bool time_is_up() const { return time_is_up_; }
  const std::string& reason() const { return reason_; }

 private:
  void accept(int signal, std::string_view reason);
  /// The signal that this rank has got or, its deadline over, counts as having got.
  int own_signal() const;

  ControlPlane* control_ = nullptr;
  const SignalHandler* signals_ = nullptr;
  std::optional<std::chrono::steady_clock::time_point> deadline_;
  int deadline_signal_ = 0;
  // Asked for on this rank, not yet agreed on by all.
  bool wanted_ = false;
  bool wants_time_limit_ = false;
  std::string wanted_reason_;
  bool asked_ = false;
  int64_t boundary_ = 0;
  // What holds.
  int signal_ = 0;
  bool requested_ = false;
  bool time_is_up_ = false;
  std::string reason_;
};

}  // namespace lightning
