/// Schedules made of schedules. Names, arguments and values are those of torch.optim.lr_scheduler.
/// What they are made of belongs to them: step the whole, not its parts.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <lightning/optim/lr_scheduler.h>
#include <lightning/util/export.h>

namespace lightning::optim {

/// One schedule after the other: the next begins at each milestone, with its own first step. (Its
/// values don't depend on where the one before ended.)
class LIGHTNING_API SequentialLR final : public LRScheduler {
 public:
  /// `milestones`: rising, one less than schedules. Throws ConfigError for no schedules, null ones,
  /// those that watch a metric, are of another optimizer, or are part of a schedule already.
  SequentialLR(std::shared_ptr<torch::optim::Optimizer> optimizer,
               std::vector<std::shared_ptr<LRScheduler>> schedulers,
               std::vector<int64_t> milestones);
  /// Whether one of its schedules does.
  bool counts_steps() const override;
  std::optional<int64_t> max_steps() const override;
  std::string describe() const override;
  std::string mismatch(int64_t intervals) const override;

 private:
  struct Place {
    size_t index;  // of the schedule
    int64_t step;  // of its own
  };
  Place place(int64_t step) const;
  int64_t start_of(size_t index) const { return index == 0 ? 0 : milestones_[index - 1]; }
  double factor(int64_t step, size_t group) const override;
  std::optional<double> momentum(int64_t step, size_t group) const override;
  void save_state(StateDict& state) const override;
  void load_state(const StateDict& state) override;

  std::vector<std::shared_ptr<LRScheduler>> schedulers_;
  std::vector<int64_t> milestones_;
};

/// Several schedules at once, stepped together: the product of their factors. (Several schedules of
/// one optimizer are multiplied without it, too; then each has its own interval.)
class LIGHTNING_API ChainedScheduler final : public LRScheduler {
 public:
  /// `optimizer`: none: that of the schedules. Throws ConfigError as SequentialLR does.
  explicit ChainedScheduler(std::vector<std::shared_ptr<LRScheduler>> schedulers,
                            std::shared_ptr<torch::optim::Optimizer> optimizer = nullptr);
  /// Whether one of its schedules does.
  bool counts_steps() const override;
  std::optional<int64_t> max_steps() const override;
  std::string describe() const override;
  std::string mismatch(int64_t intervals) const override;

 private:
  double factor(int64_t step, size_t group) const override;
  /// That of the last schedule which moves it.
  std::optional<double> momentum(int64_t step, size_t group) const override;
  void save_state(StateDict& state) const override;
  void load_state(const StateDict& state) override;

  std::vector<std::shared_ptr<LRScheduler>> schedulers_;
};

}  // namespace lightning::optim
