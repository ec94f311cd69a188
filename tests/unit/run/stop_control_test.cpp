#include <lightning/run/detail/stop_control.h>

#include <sys/eventfd.h>

#include <chrono>
#include <csignal>

#include <catch2/catch.hpp>

#include <lightning/run/detail/signals.h>

using lightning::SignalHandler;
using lightning::StopControl;

namespace {

volatile std::sig_atomic_t calls_before = 0;

/// A handler that was there before, for one signal.
class HandlerBefore {
 public:
  explicit HandlerBefore(int signal) : signal_(signal) {
    calls_before = 0;
    struct sigaction action = {};
    action.sa_handler = [](int) { calls_before = calls_before + 1; };
    sigaction(signal, &action, &previous_);
  }
  ~HandlerBefore() { sigaction(signal_, &previous_, nullptr); }

 private:
  int signal_;
  struct sigaction previous_ = {};
};

}  // namespace

TEST_CASE("SignalHandler notes signals, calls the handler before, and puts it back") {
  const HandlerBefore before(SIGUSR1);
  {
    const SignalHandler watch(SIGUSR1);
    CHECK(watch.pending() == 0);
    ::raise(SIGUSR1);
    CHECK(watch.pending() == SIGUSR1);
    CHECK(calls_before == 1);
    eventfd_t count = 0;
    CHECK(::eventfd_read(watch.descriptor(), &count) == 0);
    CHECK(::eventfd_read(watch.descriptor(), &count) != 0);  // nothing since
  }
  ::raise(SIGUSR1);
  CHECK(calls_before == 2);
}

TEST_CASE("SignalHandler lets SIGTERM replace a requeue signal, never the other way round") {
  const HandlerBefore of_the_test_program(SIGTERM);  // instead of Catch's, which ends it
  SignalHandler watch(SIGUSR1);
  ::raise(SIGUSR1);
  ::raise(SIGTERM);
  CHECK(watch.pending() == SIGTERM);
  ::raise(SIGUSR1);
  CHECK(watch.pending() == SIGTERM);
  watch.forget();
  CHECK(watch.pending() == 0);
}

TEST_CASE("SignalHandler leaves a signal alone that wasn't named") {
  const HandlerBefore before(SIGUSR2);
  const SignalHandler watch(SIGUSR1);
  ::raise(SIGUSR2);
  CHECK(watch.pending() == 0);
  CHECK(calls_before == 1);
}

TEST_CASE("StopControl acts on a signal, and on a deadline as on its signal") {
  const HandlerBefore of_the_test_program(SIGTERM);
  const SignalHandler watch(SIGUSR1);
  StopControl stop;
  stop.watch(&watch);
  const auto now = std::chrono::steady_clock::now();
  stop.set_deadline(now + std::chrono::hours(1), SIGUSR1);
  stop.at_boundary();
  CHECK(stop.signal() == 0);
  stop.set_deadline(now, SIGUSR1);
  stop.at_boundary();
  CHECK(stop.signal() == SIGUSR1);
  // What really came counts more.
  ::raise(SIGTERM);
  CHECK(stop.signal() == SIGTERM);
}
