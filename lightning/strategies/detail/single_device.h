/// One process, one device.
#pragma once

#include <utility>

#include <lightning/strategies/strategy.h>
#include <lightning/util/error.h>

namespace lightning {

class LIGHTNING_API SingleDeviceStrategy final : public Strategy {
 public:
  /// Throws ConfigError with several ranks.
  explicit SingleDeviceStrategy(StrategyContext context) : Strategy(std::move(context)) {
    LIGHTNING_CHECK(world_size() == 1, ConfigError,
                    "Trainer: strategy is single_device and there are ", world_size(),
                    " ranks, expected one. HINT: use ddp, or devices: 1.");
  }
  std::string_view name() const override { return "single_device"; }
};

}  // namespace lightning
