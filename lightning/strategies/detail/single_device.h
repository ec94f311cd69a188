/// One process, one device.
#pragma once

#include <lightning/strategies/strategy.h>

namespace lightning {

class LIGHTNING_API SingleDeviceStrategy final : public Strategy {
 public:
  explicit SingleDeviceStrategy(at::Device device) : Strategy(device) {}
  std::string_view name() const override { return "single_device"; }
};

}  // namespace lightning
