/// Schedules with a warmup, which count optimizer steps and know the length of the fit
/// (transformers' get_linear_schedule_with_warmup and get_cosine_schedule_with_warmup).
#pragma once

#include <memory>
#include <optional>
#include <string>

#include <lightning/config/fields.h>
#include <lightning/optim/lr_scheduler.h>
#include <lightning/util/export.h>

namespace lightning::optim {

struct LinearWarmupLROptions {
  int64_t warmup_steps = 0;
  /// None: those of the whole fit.
  std::optional<int64_t> total_steps = std::nullopt;
};
LIGHTNING_FIELDS(LinearWarmupLROptions, LIGHTNING_FIELD(warmup_steps, "steps up to the base rate"),
                 LIGHTNING_FIELD(total_steps, "steps until the rate is 0; null: the whole fit"))

/// From 0 up to the base rates over `warmup_steps`, then linearly down to 0 at `total_steps`.
class LIGHTNING_API LinearWarmupLR final : public LRScheduler {
 public:
  LinearWarmupLR(std::shared_ptr<torch::optim::Optimizer> optimizer, int64_t warmup_steps,
                 int64_t total_steps);
  /// Throws ConfigError when neither gives the total.
  LinearWarmupLR(const LRSchedulerContext& context, const LinearWarmupLROptions& options);
  bool counts_steps() const override { return true; }
  std::string describe() const override;
  std::string mismatch(int64_t intervals) const override;

 private:
  double factor(int64_t step, size_t group) const override;
  int64_t warmup_steps_;
  int64_t total_steps_;
};

struct CosineWarmupLROptions {
  /// None: those of the whole fit.
  std::optional<int64_t> total_steps = std::nullopt;
  int64_t warmup_steps = 0;
  double min_factor = 0.0;
};
LIGHTNING_FIELDS(CosineWarmupLROptions,
                 LIGHTNING_FIELD(total_steps, "steps until the lowest rate; null: the whole fit"),
                 LIGHTNING_FIELD(warmup_steps, "steps up to the base rate"),
                 LIGHTNING_FIELD(min_factor, "lowest rate as a fraction of the base rate"))

/// Linear warmup, then half a cosine from the base rates down to `min_factor` times them at
/// `total_steps`, where it stays.
class LIGHTNING_API CosineWarmupLR final : public LRScheduler {
 public:
  CosineWarmupLR(std::shared_ptr<torch::optim::Optimizer> optimizer, int64_t total_steps,
                 int64_t warmup_steps = 0, double min_factor = 0.0);
  /// Throws ConfigError when neither gives the total.
  CosineWarmupLR(const LRSchedulerContext& context, const CosineWarmupLROptions& options);
  bool counts_steps() const override { return true; }
  std::string describe() const override;
  std::string mismatch(int64_t intervals) const override;

 private:
  double factor(int64_t step, size_t group) const override;
  int64_t total_steps_;
  int64_t warmup_steps_;
  double min_factor_;
};

}  // namespace lightning::optim
