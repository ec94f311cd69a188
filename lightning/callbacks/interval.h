/// Intervals in the options of callbacks: step or epoch.
#pragma once

#include <lightning/config/fields.h>
#include <lightning/core/optimizer_config.h>

namespace lightning {

LIGHTNING_ENUM(Interval, LIGHTNING_ENUMERATOR(kEpoch, "epoch"), LIGHTNING_ENUMERATOR(kStep, "step"))

}  // namespace lightning
