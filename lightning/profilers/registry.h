#pragma once

#include <lightning/config/registry.h>
#include <lightning/profilers/profiler.h>
#include <lightning/util/export.h>

namespace lightning {

/// The classes that trainer.profiler may name: those that the program adds in main().
LIGHTNING_API config::Registry<Profiler>& profiler_registry();

}  // namespace lightning
