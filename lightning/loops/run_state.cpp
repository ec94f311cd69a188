#include <lightning/loops/run_state.h>

#include <algorithm>
#include <limits>

#include <lightning/callbacks/gradient_accumulation_scheduler.h>
#include <lightning/util/format.h>
#include <lightning/util/log.h>

namespace lightning {

void RunState::warn(const std::string& text) const {
  log_warning(text, detail::concat(text, " #", clock.started.time_since_epoch().count()));
}

bool RunState::trains() const {
  const int64_t max_epochs = context.options.max_epochs;
  return !renews_statistics || max_epochs == -1 || progress.epoch < max_epochs;
}

std::optional<int64_t> RunState::steps_per_epoch() const {
  const std::optional<int64_t> per_epoch = num_training_batches();
  if (!per_epoch) return std::nullopt;
  const int64_t accumulate = accumulate_grad_batches();
  return *per_epoch / accumulate + (*per_epoch % accumulate == 0 ? 0 : 1);
}

std::optional<int64_t> RunState::planned_steps() const {
  const int64_t max_epochs = context.options.max_epochs;
  const int64_t max_steps = context.options.max_steps;
  std::optional<int64_t> planned;
  if (max_steps != -1) planned = max_steps;
  const std::optional<int64_t> per_epoch = max_epochs == -1 ? std::nullopt : steps_per_epoch();
  if (!per_epoch) return planned;
  int64_t steps = 0;
  const auto* schedule = GradientAccumulationScheduler::find(context.callbacks);
  if (schedule != nullptr) {
    steps = schedule->steps_in(max_epochs, *num_training_batches());
  } else if (__builtin_mul_overflow(*per_epoch, max_epochs, &steps)) {
    steps = std::numeric_limits<int64_t>::max();
  }
  return std::min(steps, planned.value_or(steps));
}

}  // namespace lightning
