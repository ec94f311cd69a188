#include <lightning/run/detail/stop_control.h>

#include <cstdlib>
#include <utility>

#include <lightning/control/control_plane.h>

namespace lightning {
namespace {

constexpr std::string_view kTimeLimit = "max_time";

}  // namespace

void StopControl::watch(const SignalHandler* signals) {
  signals_ = signals;
  if (control_ == nullptr) return;
  if (signals == nullptr) {
    control_->on_readable(-1, {});
    return;
  }
  control_->on_readable(signals->descriptor(), [control = control_, signals] {
    const int signal = signals->pending();
    if (signal == 0) return;
    control->request_stop({.signal = signal, .rank = control->rank(), .reason = {}});
  });
}

void StopControl::request(std::string reason) {
  if (requested_ || wanted_) return;
  if (control_ == nullptr) {
    accept(0, reason);
  } else {
    wanted_ = true;
    wanted_reason_ = std::move(reason);
  }
}

void StopControl::request_time_limit() {
  if (control_ == nullptr) {
    time_is_up_ = true;
  } else if (control_->rank() == 0) {
    wants_time_limit_ = true;
  }
}

void StopControl::at_boundary() {
  const int signal = own_signal();
  if (control_ == nullptr) {
    signal_ = signal;
    return;
  }
  const bool unmet_signal = signal != 0 && signal_ == 0;
  if (!asked_ && (unmet_signal || wanted_ || wants_time_limit_)) {
    asked_ = true;
    control_->request_stop(
        {.signal = unmet_signal ? signal : 0,
         .rank = control_->rank(),
         .reason = wants_time_limit_ && !unmet_signal ? std::string(kTimeLimit) : wanted_reason_});
  }
  if (!control_->stop_at(++boundary_)) return;
  const auto agreed = control_->stop();
  // Another request may come once this one was dropped, before min_steps are over.
  control_->clear_stop();
  boundary_ = 0;
  asked_ = false;
  if (agreed) accept(agreed->signal, agreed->reason);
}

void StopControl::agree() {
  if (control_ == nullptr) return;
  for (const std::string& reason : control_->all_gather("stop", wanted_ ? wanted_reason_ : "")) {
    if (!reason.empty()) accept(0, reason);
  }
}

void StopControl::finish() {
  if (control_ == nullptr) return;
  // A request that came later would outlive clear_stop() and stop the next fit.
  control_->on_readable(-1, {});
  for (const std::string& text : control_->all_gather("end of fit", std::to_string(own_signal()))) {
    const int signal = std::atoi(text.c_str());
    if (signal != 0 && signal_ == 0) accept(signal, {});
  }
  control_->clear_stop();
  boundary_ = 0;
  asked_ = false;
}

void StopControl::drop_request() {
  requested_ = false;
  reason_.clear();
}

void StopControl::accept(int signal, std::string_view reason) {
  if (signal != 0) {
    signal_ = signal;
  } else if (reason == kTimeLimit) {
    time_is_up_ = true;
    wants_time_limit_ = false;
  } else {
    if (!requested_) reason_ = reason;
    requested_ = true;
    wanted_ = false;
  }
}

int StopControl::own_signal() const {
  const int pending = signals_ == nullptr ? 0 : signals_->pending();
  if (pending != 0 || !deadline_ || std::chrono::steady_clock::now() < *deadline_) return pending;
  return deadline_signal_;
}

int StopControl::signal() const {
  const int pending = control_ != nullptr || signals_ == nullptr ? 0 : signals_->pending();
  return pending != 0 ? pending : signal_;
}

}  // namespace lightning
