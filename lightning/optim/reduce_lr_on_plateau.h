/// ReduceLROnPlateau: lowers the rate when a metric no longer improves.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <lightning/config/fields.h>
#include <lightning/optim/lr_scheduler.h>
#include <lightning/optim/per_group.h>
#include <lightning/util/export.h>

namespace lightning::optim {

/// Which values of the metric are better.
enum class PlateauMode { kMin, kMax };
LIGHTNING_ENUM(PlateauMode, LIGHTNING_ENUMERATOR(kMin, "min"), LIGHTNING_ENUMERATOR(kMax, "max"))

/// What the threshold is: a fraction of the best value, or in units of the metric.
enum class ThresholdMode { kRel, kAbs };
LIGHTNING_ENUM(ThresholdMode, LIGHTNING_ENUMERATOR(kRel, "rel"), LIGHTNING_ENUMERATOR(kAbs, "abs"))

struct ReduceLROnPlateauOptions {
  PlateauMode mode = PlateauMode::kMin;
  /// In [0, 1).
  double factor = 0.1;
  /// Values in a row without improvement that are let pass.
  int64_t patience = 10;
  double threshold = 1e-4;
  ThresholdMode threshold_mode = ThresholdMode::kRel;
  /// Values after a reduction in which none is counted.
  int64_t cooldown = 0;
  PerGroup min_lr = 0.0;
  /// A smaller reduction isn't made.
  double eps = 1e-8;
  /// The metric, where no LRSchedulerConfig names it: in a config.
  std::string monitor = "";
};
LIGHTNING_FIELDS(ReduceLROnPlateauOptions,
                 LIGHTNING_FIELD(mode, "min or max: which values are better"),
                 LIGHTNING_FIELD(factor, "of each reduction"),
                 LIGHTNING_FIELD(patience, "epochs without improvement that are let pass"),
                 LIGHTNING_FIELD(threshold, "smaller changes are no improvement"),
                 LIGHTNING_FIELD(threshold_mode, "rel or abs: what the threshold is"),
                 LIGHTNING_FIELD(cooldown, "epochs after a reduction that don't count"),
                 LIGHTNING_FIELD(min_lr, "lowest rate"),
                 LIGHTNING_FIELD(eps, "a smaller reduction isn't made"),
                 LIGHTNING_FIELD(monitor, "metric that is watched (required)"))

/// Times `factor`, down to `min_lr`, when the metric hasn't improved for more than `patience`
/// values (torch.optim.lr_scheduler.ReduceLROnPlateau). A NaN is no improvement. The Trainer gives
/// it the metric that LRSchedulerConfig::monitor names; elsewhere call step(metric).
class LIGHTNING_API ReduceLROnPlateau final : public LRScheduler {
 public:
  explicit ReduceLROnPlateau(std::shared_ptr<torch::optim::Optimizer> optimizer,
                             ReduceLROnPlateauOptions options = {});
  ReduceLROnPlateau(const LRSchedulerContext& context, const ReduceLROnPlateauOptions& options)
      : ReduceLROnPlateau(context.optimizer, options) {}
  bool watches_metric() const override { return true; }
  std::string monitor() const override { return options_.monitor; }
  std::string describe() const override;

  /// The best value so far; infinite before the first.
  double best() const { return best_; }
  int64_t num_bad_epochs() const { return num_bad_epochs_; }

 private:
  double factor(int64_t step, size_t group) const override;
  void judge(double metric) override;
  void save_state(StateDict& state) const override;
  void load_state(const StateDict& state) override;
  bool is_better(double value) const;
  void reduce();

  ReduceLROnPlateauOptions options_;
  double best_;
  int64_t num_bad_epochs_ = 0;
  int64_t cooldown_counter_ = 0;
  std::vector<double> reductions_;  // of each group so far, their product
};

}  // namespace lightning::optim
