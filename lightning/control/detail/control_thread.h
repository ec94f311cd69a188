/// What the threads of the control plane have in common.
#pragma once

#include <chrono>
#include <functional>
#include <thread>

#include <lightning/control/control_plane.h>

namespace lightning::detail {

/// A thread that gets no signals: these are the main thread's.
LIGHTNING_API std::thread start_control_thread(const char* name, std::function<void()> run);

/// How often heartbeats go and timers are looked at.
LIGHTNING_API std::chrono::milliseconds control_interval(const ControlPlaneOptions& options);

}  // namespace lightning::detail
