#include <lightning/strategies/registry.h>

#include <lightning/strategies/ddp.h>
#include <lightning/strategies/detail/single_device.h>

namespace lightning {
namespace {

class FindUnusedParameters final : public DDPStrategy {
 public:
  FindUnusedParameters(const StrategyContext& context, const DDPOptions& options)
      : DDPStrategy(context, with_unused(options)) {}

  std::string_view name() const override { return "ddp_find_unused_parameters_true"; }

 private:
  static DDPOptions with_unused(DDPOptions options) {
    options.find_unused_parameters = true;
    return options;
  }
};

config::Registry<Strategy, const StrategyContext&> builtin_strategies() {
  config::Registry<Strategy, const StrategyContext&> registry("strategy");
  registry.add<DDPStrategy, DDPOptions>("ddp", "averages the gradients of all ranks");
  registry.add<FindUnusedParameters, DDPOptions>("ddp_find_unused_parameters_true",
                                                 "ddp with find_unused_parameters: true");
  registry.add<SingleDeviceStrategy>("single_device", "one process, one device");
  return registry;
}

}  // namespace

config::Registry<Strategy, const StrategyContext&>& strategy_registry() {
  static config::Registry<Strategy, const StrategyContext&> registry = builtin_strategies();
  return registry;
}

}  // namespace lightning
