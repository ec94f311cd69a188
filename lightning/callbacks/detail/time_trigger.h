/// TimeTrigger: when something is due every so many minutes of training, on all ranks at once.
#pragma once

#include <chrono>
#include <cstdint>

#include <lightning/core/trainer_context.h>
#include <lightning/util/export.h>

namespace lightning {

/// Rank 0's clock decides, since those of ranks differ. Ranks don't ask it after each step: with
/// its answer comes the step of the next question, at half of the steps that the rest of the
/// interval takes at the present speed, so that an interval costs a few small exchanges.
class LIGHTNING_API TimeTrigger {
 public:
  using Clock = std::chrono::steady_clock;

  explicit TimeTrigger(std::chrono::milliseconds interval) : interval_(interval) {}

  /// The interval begins at `step`.
  void start(int64_t step, Clock::time_point now = Clock::now());
  /// Whether the interval is over after `step`; then the next one begins. Every rank must call it
  /// after the same steps. Now and then it waits for rank 0 (never with one rank).
  bool is_due(TrainerContext& trainer, int64_t step);

  /// The decision of one rank and the step of the next look, at least step + 1.
  struct Look {
    bool is_due = false;
    int64_t next = 0;
  };
  Look look(int64_t step, Clock::time_point now);

 private:
  std::chrono::milliseconds interval_;
  Clock::time_point began_;
  Clock::time_point looked_;
  int64_t looked_step_ = 0;
  int64_t next_step_ = 0;
};

}  // namespace lightning
