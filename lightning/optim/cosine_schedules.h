/// Cosine annealing, with and without restarts. Names, arguments, defaults and values are those of
/// torch.optim.lr_scheduler. (With a warmup: CosineWarmupLR in warmup_schedules.h.)
#pragma once

#include <memory>
#include <optional>
#include <string>

#include <lightning/config/fields.h>
#include <lightning/optim/lr_scheduler.h>
#include <lightning/util/export.h>

namespace lightning::optim {

struct CosineAnnealingLROptions {
  /// Steps down to the lowest rate. Required.
  std::optional<int64_t> T_max = std::nullopt;
  /// The lowest rate, not a factor.
  double eta_min = 0.0;
};
LIGHTNING_FIELDS(CosineAnnealingLROptions,
                 LIGHTNING_FIELD(T_max, "epochs until the lowest rate (required)"),
                 LIGHTNING_FIELD(eta_min, "lowest rate"))

/// Half a cosine from the base rates down to `eta_min` over `T_max` steps; then it rises again, and
/// so on (Loshchilov and Hutter, SGDR, 2017, without restarts).
class LIGHTNING_API CosineAnnealingLR final : public LRScheduler {
 public:
  CosineAnnealingLR(std::shared_ptr<torch::optim::Optimizer> optimizer, int64_t T_max,
                    double eta_min = 0.0);
  /// Throws ConfigError without a T_max.
  CosineAnnealingLR(const LRSchedulerContext& context, const CosineAnnealingLROptions& options);
  std::string describe() const override;
  std::string mismatch(int64_t intervals) const override;

 private:
  double factor(int64_t step, size_t group) const override;
  int64_t T_max_;
  double eta_min_;
};

struct CosineAnnealingWarmRestartsOptions {
  /// Steps until the first restart. Required.
  std::optional<int64_t> T_0 = std::nullopt;
  int64_t T_mult = 1;
  double eta_min = 0.0;
};
LIGHTNING_FIELDS(CosineAnnealingWarmRestartsOptions,
                 LIGHTNING_FIELD(T_0, "epochs until the first restart (required)"),
                 LIGHTNING_FIELD(T_mult, "each period is so many times the one before"),
                 LIGHTNING_FIELD(eta_min, "lowest rate"))

/// Half a cosine from the base rates down to `eta_min` over `T_0` steps, then again over `T_mult`
/// times as many, and so on (SGDR).
class LIGHTNING_API CosineAnnealingWarmRestarts final : public LRScheduler {
 public:
  CosineAnnealingWarmRestarts(std::shared_ptr<torch::optim::Optimizer> optimizer, int64_t T_0,
                              int64_t T_mult = 1, double eta_min = 0.0);
  /// Throws ConfigError without a T_0.
  CosineAnnealingWarmRestarts(const LRSchedulerContext& context,
                              const CosineAnnealingWarmRestartsOptions& options);
  std::string describe() const override;
  std::string mismatch(int64_t intervals) const override;

 private:
  double factor(int64_t step, size_t group) const override;
  int64_t T_0_;
  int64_t T_mult_;
  double eta_min_;
};

}  // namespace lightning::optim
