#pragma once

#include <lightning/config/registry.h>
#include <lightning/util/export.h>

namespace lightning {

class Strategy;
struct StrategyContext;

/// The classes that trainer.strategy may name: ddp, ddp_find_unused_parameters_true, single_device,
/// and those that the program adds in main(). A class is constructible from a StrategyContext and,
/// if it has any, its options.
LIGHTNING_API config::Registry<Strategy, const StrategyContext&>& strategy_registry();

}  // namespace lightning
