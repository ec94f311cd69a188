#pragma once

#include <lightning/config/registry.h>
#include <lightning/util/export.h>

namespace c10 {
struct Device;
}

namespace lightning {

class Precision;

/// The classes that trainer.precision may name: 32-true, 64-true, bf16-true, 16-true, bf16-mixed,
/// 16-mixed (also: 32, 64, bf16, 16, of which the last two mean the mixed ones), and those that the
/// program adds in main(). A class is constructible from the run's device and, if it has any, its
/// options.
LIGHTNING_API config::Registry<Precision, c10::Device>& precision_registry();

}  // namespace lightning
