#include <lightning/optim/lr_scheduler.h>

#include <algorithm>
#include <cmath>
#include <mutex>
#include <typeinfo>
#include <unordered_map>
#include <utility>

#include <c10/util/Type.h>
#include <torch/optim/optimizer.h>

#include <lightning/optim/detail/group_momentum.h>
#include <lightning/util/error.h>

namespace lightning::optim {
namespace {

/// Counts beyond this are not of a run: an int64_t can't overflow from here in any lifetime.
constexpr int64_t kMostSteps = int64_t{1} << 53;

bool are_rates(const std::vector<double>& rates) {
  return std::all_of(rates.begin(), rates.end(),
                     [](double rate) { return std::isfinite(rate) && rate >= 0.0; });
}

std::vector<double> rates_of(const torch::optim::Optimizer& optimizer) {
  std::vector<double> rates;
  for (const auto& group : optimizer.param_groups()) rates.push_back(group.options().get_lr());
  return rates;
}

}  // namespace

/// What the schedules of one optimizer have in common.
class LRScheduler::Shared {
 public:
  explicit Shared(std::shared_ptr<torch::optim::Optimizer> key)
      : optimizer(std::move(key)), base_lrs(rates_of(*optimizer)) {}
  ~Shared();
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;

  /// The one of this optimizer, as long as a schedule of it lives.
  static std::shared_ptr<Shared> of(std::shared_ptr<torch::optim::Optimizer> key);

  void include_new_groups();
  /// Takes other base rates, on which the factors of schedules with rates of their own depend.
  void rebase(std::vector<double> rates);
  void set_rates() const;

  const std::shared_ptr<torch::optim::Optimizer> optimizer;
  std::vector<double> base_lrs;
  std::vector<LRScheduler*> schedules;  // in the order in which they were made

 private:
  struct Directory {
    std::mutex mutex;
    std::unordered_map<const torch::optim::Optimizer*, std::weak_ptr<Shared>> entries;
  };
  static Directory& directory() {
    // Never destroyed: a schedule may live until the end of the program.
    static Directory& all = *new Directory;
    return all;
  }
};

LRScheduler::Shared::~Shared() {
  Directory& all = directory();
  const std::lock_guard lock(all.mutex);
  const auto entry = all.entries.find(optimizer.get());
  if (entry != all.entries.end() && entry->second.expired()) all.entries.erase(entry);
}

std::shared_ptr<LRScheduler::Shared> LRScheduler::Shared::of(
    std::shared_ptr<torch::optim::Optimizer> key) {
  LIGHTNING_CHECK(key != nullptr, ConfigError,
                  "LRScheduler: the optimizer is null, expected an optimizer. HINT: make the "
                  "optimizer first and hand it to the scheduler.");
  Directory& all = directory();
  const std::lock_guard lock(all.mutex);
  std::weak_ptr<Shared>& entry = all.entries[key.get()];
  std::shared_ptr<Shared> shared = entry.lock();
  if (shared == nullptr) {
    shared = std::make_shared<Shared>(std::move(key));
    entry = shared;
  }
  return shared;
}

void LRScheduler::Shared::include_new_groups() {
  if (std::as_const(*optimizer).param_groups().size() == base_lrs.size()) return;
  const std::vector<double> rates = rates_of(*optimizer);
  for (size_t group = base_lrs.size(); group < rates.size(); ++group) {
    base_lrs.push_back(rates[group]);
    double product = 1.0;
    for (const LRScheduler* schedule : schedules) {
      product *= schedule->factor(schedule->step_count_, group);
    }
    // A rate that isn't 0 where the schedules are at 0 is no multiple of theirs: it is the base.
    if (product != 0.0) base_lrs[group] = rates[group] / product;
    for (LRScheduler* schedule : schedules) {
      schedule->factors_.push_back(schedule->factor(schedule->step_count_, group));
    }
  }
}

void LRScheduler::Shared::rebase(std::vector<double> rates) {
  base_lrs = std::move(rates);
  for (LRScheduler* schedule : schedules) {
    schedule->factors_ = schedule->factors_at(schedule->step_count_);
  }
}

void LRScheduler::Shared::set_rates() const {
  auto& groups = optimizer->param_groups();
  for (size_t i = 0; i < std::min(groups.size(), base_lrs.size()); ++i) {
    double product = 1.0;
    for (const LRScheduler* schedule : schedules) product *= schedule->factors_[i];
    groups[i].options().set_lr(base_lrs[i] * product);
  }
}

LRScheduler::LRScheduler(std::shared_ptr<torch::optim::Optimizer> optimizer)
    : shared_(Shared::of(std::move(optimizer))) {
  shared_->include_new_groups();
  factors_.assign(shared_->base_lrs.size(), 1.0);
  shared_->schedules.push_back(this);
}

LRScheduler::~LRScheduler() { std::erase(shared_->schedules, this); }

const std::vector<double>& LRScheduler::base_lrs() const { return shared_->base_lrs; }

torch::optim::Optimizer& LRScheduler::optimizer() const { return *shared_->optimizer; }

std::vector<double> LRScheduler::get_last_lr() const { return rates_of(*shared_->optimizer); }

void LRScheduler::require_independence() const {
  LIGHTNING_CHECK(
      !is_part_, ConfigError, describe(),
      ": step() was called on a schedule that is part of another one, expected the "
      "whole to be stepped. HINT: call step() of the SequentialLR or ChainedScheduler.");
}

void LRScheduler::step() {
  require_independence();
  LIGHTNING_CHECK(!watches_metric(), ConfigError, describe(),
                  ": step() was called without a metric, expected its value. HINT: call "
                  "step(value), or name the metric by LRSchedulerConfig::monitor.");
  advance();
}

void LRScheduler::step(double metric) {
  require_independence();
  LIGHTNING_CHECK(watches_metric(), ConfigError, describe(), ": step() was called with the metric ",
                  metric, ", expected none: this schedule watches no metric. HINT: call step().");
  include_new_groups();
  judge(metric);
  advance();
}

void LRScheduler::advance() {
  include_new_groups();
  std::vector<double> factors = factors_at(step_count_ + 1);
  ++step_count_;
  factors_ = std::move(factors);
  set_momenta();
  shared_->set_rates();
}

void LRScheduler::include_new_groups() { shared_->include_new_groups(); }

std::vector<double> LRScheduler::factors_at(int64_t step) const {
  std::vector<double> factors(shared_->base_lrs.size());
  for (size_t group = 0; group < factors.size(); ++group) factors[group] = factor(step, group);
  return factors;
}

void LRScheduler::set_momenta() const {
  auto& groups = shared_->optimizer->param_groups();
  for (size_t i = 0; i < std::min(groups.size(), factors_.size()); ++i) {
    if (const auto value = momentum(step_count_, i)) set_momentum(groups[i].options(), *value);
  }
}

void LRScheduler::apply() {
  factors_ = factors_at(step_count_);
  set_momenta();
  shared_->set_rates();
}

double LRScheduler::factor_of_rate(double rate, size_t group) const {
  const double base = shared_->base_lrs[group];
  return base == 0.0 ? 1.0 : rate / base;
}

void LRScheduler::require_base_rates(std::string_view option) const {
  for (size_t group = 0; group < shared_->base_lrs.size(); ++group) {
    LIGHTNING_CHECK(shared_->base_lrs[group] > 0.0, ConfigError,
                    c10::demangle(typeid(*this).name()), ": the learning rate of parameter group ",
                    group, " is ", shared_->base_lrs[group], " and ", option,
                    " is given, expected a rate above 0. HINT: set lr of the optimizer.");
  }
}

void LRScheduler::take_over(const std::shared_ptr<LRScheduler>& part, const LRScheduler& owner,
                            std::string_view name) {
  LIGHTNING_CHECK(part != nullptr, ConfigError, name,
                  ": one of its schedules is null, expected schedules.");
  LIGHTNING_CHECK(!part->watches_metric(), ConfigError, name, ": ", part->describe(),
                  " is one of its schedules, expected such as watch no metric. HINT: give the "
                  "optimizer both as schedules of its own; their factors are multiplied.");
  LIGHTNING_CHECK(!part->is_part_, ConfigError, name, ": ", part->describe(),
                  " is part of two schedules, or twice of one, expected once. HINT: make another.");
  LIGHTNING_CHECK(part->shared_ == owner.shared_, ConfigError, name, ": ", part->describe(),
                  " is of another optimizer, expected schedules of one. HINT: make all of them "
                  "with the same optimizer.");
  part->is_part_ = true;
  std::erase(part->shared_->schedules, part.get());
}

const std::shared_ptr<torch::optim::Optimizer>& LRScheduler::optimizer_of(const LRScheduler& part) {
  return part.shared_->optimizer;
}

StateDict LRScheduler::state_dict() const {
  StateDict state;
  state.set("step_count", step_count_);
  state.set("base_lrs", shared_->base_lrs);
  state.set("last_lrs", get_last_lr());
  save_state(state);
  return state;
}

void LRScheduler::load_state_dict(const StateDict& state) {
  const auto step_count = state.get<int64_t>("step_count");
  const auto& base_lrs = state.get<std::vector<double>>("base_lrs");
  const auto& last_lrs = state.get<std::vector<double>>("last_lrs");
  auto& groups = shared_->optimizer->param_groups();
  LIGHTNING_CHECK(base_lrs.size() == shared_->base_lrs.size() && last_lrs.size() == groups.size(),
                  CheckpointError, "LRScheduler: the checkpoint has learning rates for ",
                  last_lrs.size(), " parameter groups, but the optimizer has ", groups.size(),
                  ". HINT: build the optimizer with the groups that it was saved with.");
  LIGHTNING_CHECK(step_count >= 0 && step_count <= kMostSteps, CheckpointError,
                  "LRScheduler: the checkpoint has a step_count of ", step_count,
                  ", expected a count. HINT: resume from a different checkpoint.");
  LIGHTNING_CHECK(are_rates(base_lrs) && are_rates(last_lrs), CheckpointError,
                  "LRScheduler: the checkpoint has a learning rate that is negative or not finite, "
                  "expected finite rates. HINT: resume from a different checkpoint.");
  LIGHTNING_CHECK(step_count <= max_steps().value_or(step_count), CheckpointError, describe(),
                  ": the checkpoint has a step_count of ", step_count, ", expected at most ",
                  max_steps().value_or(step_count), ". HINT: resume from a different checkpoint.");
  load_state(state);
  step_count_ = step_count;
  shared_->rebase(base_lrs);
  // Not computed from the count: a callback may have set a different rate since the last step().
  for (size_t i = 0; i < groups.size(); ++i) groups[i].options().set_lr(last_lrs[i]);
}

void LRScheduler::resume_at(int64_t step_count, std::vector<double> base_lrs) {
  LIGHTNING_CHECK(base_lrs.size() == shared_->base_lrs.size(), CheckpointError,
                  "LRScheduler: there are ", base_lrs.size(),
                  " base rates, expected one for each of the ", shared_->base_lrs.size(),
                  " parameter groups. HINT: build the optimizer with the groups that it was saved "
                  "with.");
  LIGHTNING_CHECK(step_count >= 0 && step_count <= kMostSteps, CheckpointError,
                  "LRScheduler: the step to continue at is ", step_count,
                  ", expected a count. HINT: resume from a different checkpoint.");
  step_count_ = step_count;
  shared_->rebase(std::move(base_lrs));
  for (const LRScheduler* schedule : shared_->schedules) schedule->set_momenta();
  shared_->set_rates();
}

std::string LRScheduler::describe() const { return c10::demangle(typeid(*this).name()); }

std::string LRScheduler::mismatch(int64_t /*intervals*/) const { return {}; }

}  // namespace lightning::optim
