#include <lightning/optim/composite_schedules.h>

#include <algorithm>
#include <utility>

#include <lightning/optim/detail/schedule_text.h>
#include <lightning/util/error.h>

namespace lightning::optim {
namespace {

using Schedules = std::vector<std::shared_ptr<LRScheduler>>;

std::string described(const Schedules& schedules) {
  std::string text;
  for (const auto& schedule : schedules) {
    text += (text.empty() ? "" : ", ") + schedule->describe();
  }
  return "[" + text + "]";
}

bool any_counts_steps(const Schedules& schedules) {
  return std::any_of(schedules.begin(), schedules.end(),
                     [](const auto& schedule) { return schedule->counts_steps(); });
}

std::string key_of(size_t index) {
  return detail::concat("schedules/", static_cast<int64_t>(index));
}

std::shared_ptr<LRScheduler> first_of(const Schedules& schedules, const char* name) {
  LIGHTNING_CHECK(!schedules.empty() && schedules.front() != nullptr, ConfigError, name,
                  ": there is no schedule, expected at least one. HINT: make schedules of the "
                  "optimizer first.");
  return schedules.front();
}

}  // namespace

SequentialLR::SequentialLR(std::shared_ptr<torch::optim::Optimizer> optimizer, Schedules schedulers,
                           std::vector<int64_t> milestones)
    : LRScheduler(std::move(optimizer)),
      schedulers_(std::move(schedulers)),
      milestones_(std::move(milestones)) {
  first_of(schedulers_, "SequentialLR");
  LIGHTNING_CHECK(milestones_.size() + 1 == schedulers_.size(), ConfigError,
                  "SequentialLR: ", milestones_.size(), " milestones and ", schedulers_.size(),
                  " schedules were given, expected one milestone less than schedules. HINT: a "
                  "milestone is where the next schedule begins.");
  for (size_t i = 0; i < milestones_.size(); ++i) {
    LIGHTNING_CHECK(milestones_[i] > start_of(i), ConfigError, "SequentialLR: milestones is ",
                    list_text(milestones_), ", expected rising numbers above 0. HINT: sort them.");
  }
  for (const auto& part : schedulers_) take_over(part, *this, "SequentialLR");
  apply();
}

bool SequentialLR::counts_steps() const { return any_counts_steps(schedulers_); }

std::optional<int64_t> SequentialLR::max_steps() const {
  for (size_t i = 0; i < schedulers_.size(); ++i) {
    const std::optional<int64_t> most = schedulers_[i]->max_steps();
    const bool is_last = i == milestones_.size();
    // Its last step is the one before the milestone.
    if (most && (is_last || *most < milestones_[i] - start_of(i) - 1)) return start_of(i) + *most;
  }
  return std::nullopt;
}

std::string SequentialLR::describe() const {
  return detail::concat("SequentialLR(schedulers=", described(schedulers_),
                        ", milestones=", list_text(milestones_), ")");
}

std::string SequentialLR::mismatch(int64_t intervals) const {
  if (!milestones_.empty() && milestones_.back() >= intervals) {
    return detail::concat(describe(), ": its last schedule begins after ", milestones_.back(),
                          " steps and the fit has ", intervals,
                          ", so it is not reached. HINT: set milestones to less than ", intervals,
                          ".");
  }
  const size_t last = schedulers_.size() - 1;
  return schedulers_[last]->mismatch(intervals - start_of(last));
}

SequentialLR::Place SequentialLR::place(int64_t step) const {
  const auto next = std::upper_bound(milestones_.begin(), milestones_.end(), step);
  const auto index = static_cast<size_t>(next - milestones_.begin());
  return {index, step - start_of(index)};
}

double SequentialLR::factor(int64_t step, size_t group) const {
  const auto [index, own_step] = place(step);
  return factor_of(*schedulers_[index], own_step, group);
}

std::optional<double> SequentialLR::momentum(int64_t step, size_t group) const {
  const auto [index, own_step] = place(step);
  return momentum_of(*schedulers_[index], own_step, group);
}

void SequentialLR::save_state(StateDict& state) const {
  for (size_t i = 0; i < schedulers_.size(); ++i) {
    StateDict own;
    save_part(*schedulers_[i], own);
    state.set(key_of(i), own);
  }
}

void SequentialLR::load_state(const StateDict& state) {
  for (size_t i = 0; i < schedulers_.size(); ++i)
    load_part(*schedulers_[i], state.nested(key_of(i)));
}

ChainedScheduler::ChainedScheduler(Schedules schedulers,
                                   std::shared_ptr<torch::optim::Optimizer> optimizer)
    : LRScheduler(optimizer != nullptr ? std::move(optimizer)
                                       : optimizer_of(*first_of(schedulers, "ChainedScheduler"))),
      schedulers_(std::move(schedulers)) {
  first_of(schedulers_, "ChainedScheduler");
  for (const auto& part : schedulers_) take_over(part, *this, "ChainedScheduler");
  apply();
}

bool ChainedScheduler::counts_steps() const { return any_counts_steps(schedulers_); }

std::optional<int64_t> ChainedScheduler::max_steps() const {
  std::optional<int64_t> most;
  for (const auto& part : schedulers_) {
    if (const auto own = part->max_steps()) most = std::min(*own, most.value_or(*own));
  }
  return most;
}

std::string ChainedScheduler::describe() const {
  return detail::concat("ChainedScheduler(schedulers=", described(schedulers_), ")");
}

std::string ChainedScheduler::mismatch(int64_t intervals) const {
  for (const auto& part : schedulers_) {
    if (std::string text = part->mismatch(intervals); !text.empty()) return text;
  }
  return {};
}

double ChainedScheduler::factor(int64_t step, size_t group) const {
  double product = 1.0;
  for (const auto& part : schedulers_) product *= factor_of(*part, step, group);
  return product;
}

std::optional<double> ChainedScheduler::momentum(int64_t step, size_t group) const {
  std::optional<double> last;
  for (const auto& part : schedulers_) {
    if (const auto own = momentum_of(*part, step, group)) last = own;
  }
  return last;
}

void ChainedScheduler::save_state(StateDict& state) const {
  for (size_t i = 0; i < schedulers_.size(); ++i) {
    StateDict own;
    save_part(*schedulers_[i], own);
    state.set(key_of(i), own);
  }
}

void ChainedScheduler::load_state(const StateDict& state) {
  for (size_t i = 0; i < schedulers_.size(); ++i)
    load_part(*schedulers_[i], state.nested(key_of(i)));
}

}  // namespace lightning::optim
