#include <lightning/callbacks/detail/time_trigger.h>

#include <algorithm>
#include <charconv>
#include <string>

#include <lightning/util/error.h>

namespace lightning {
namespace {

// Steps become slower at times, and the first ones say little of the others: the clock is read
// again after at most so many, and after twice as many as the last time.
constexpr double kMostSteps = 1000.0;
constexpr double kGrowth = 2.0;

}  // namespace

void TimeTrigger::start(int64_t step, Clock::time_point now) {
  began_ = looked_ = now;
  looked_step_ = step;
  next_step_ = step + 1;
}

TimeTrigger::Look TimeTrigger::look(int64_t step, Clock::time_point now) {
  const bool is_due = now - began_ >= interval_;
  if (is_due) began_ = now;
  const double steps = static_cast<double>(std::max<int64_t>(step - looked_step_, 1));
  const double per_step =
      std::max(std::chrono::duration<double>(now - looked_).count(), 1e-9) / steps;
  const double rest = std::chrono::duration<double>(began_ + interval_ - now).count();
  looked_ = now;
  looked_step_ = step;
  const double most = std::min(kGrowth * steps, kMostSteps);
  const double wait = std::clamp(rest / per_step / 2.0, 1.0, most);
  return {is_due, step + static_cast<int64_t>(wait)};
}

bool TimeTrigger::is_due(TrainerContext& trainer, int64_t step) {
  if (trainer.world_size() == 1) return look(step, Clock::now()).is_due;
  if (step < next_step_) return false;
  std::string own;
  if (trainer.is_global_zero()) {
    const Look of_zero = look(step, Clock::now());
    own = detail::concat(of_zero.is_due ? "due " : "not ", of_zero.next);
  }
  const std::string answer = trainer.all_gather_bytes("time of a checkpoint", own)[0];
  const char* end = answer.data() + answer.size();
  const auto parsed = answer.size() > 4 ? std::from_chars(answer.data() + 4, end, next_step_)
                                        : std::from_chars_result{end, std::errc::invalid_argument};
  LIGHTNING_CHECK(parsed.ec == std::errc() && parsed.ptr == end && next_step_ > step,
                  DistributedError, "ModelCheckpoint: rank 0 answered \"", answer,
                  "\", expected whether a checkpoint is due and a step after ", step,
                  ". HINT: run the same program on all ranks.");
  return answer.starts_with("due");
}

}  // namespace lightning
