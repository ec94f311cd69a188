#include <lightning/loops/ask_loaders.h>

#include <utility>

#include <c10/util/ScopeExit.h>

#include <lightning/util/detail/generator_state.h>

namespace lightning {

int64_t loaders_epoch(const RunState& run) {
  const int64_t every = run.context.options.user.reload_dataloaders_every_n_epochs;
  return every == 0 ? 0 : run.progress.epoch - run.progress.epoch % every;
}

DataLoaders ask_for_loaders(RunState& run, const OwnHook<LightningDataModule, DataLoaders>& of_data,
                            const OwnHook<LightningModule, DataLoaders>& of_module) {
  const auto ask = [&] {
    DataLoaders loaders = call_data_module(run, of_data);
    return loaders.empty() ? call_module(run, of_module) : loaders;
  };
  if (run.context.options.user.reload_dataloaders_every_n_epochs == 0) return ask();
  const int64_t epoch = std::exchange(run.progress.epoch, loaders_epoch(run));
  const GeneratorState generators = GeneratorState::capture();
  const auto restore = c10::make_scope_exit([&] {
    run.progress.epoch = epoch;
    generators.restore();
  });
  static constexpr int64_t kAllRanks = -1;
  seed_rank_generators(run.progress.epoch, kAllRanks);
  return ask();
}

}  // namespace lightning
