/// How the loops ask data module and module for loaders, once or with
/// reload_dataloaders_every_n_epochs again.
#pragma once

#include <cstdint>

#include <lightning/loops/hooks.h>
#include <lightning/loops/run_state.h>

namespace lightning {

/// The epoch for which the loaders of the present one are asked: the last multiple of
/// reload_dataloaders_every_n_epochs; 0 without.
int64_t loaders_epoch(const RunState& run);

/// Those of the data module; when it has none, those of the module. With
/// reload_dataloaders_every_n_epochs the hooks see loaders_epoch() as the current epoch and draw
/// random numbers that depend on it and the seed alone: a run that resumes asks at another time and
/// gets the same loaders.
DataLoaders ask_for_loaders(RunState& run, const OwnHook<LightningDataModule, DataLoaders>& of_data,
                            const OwnHook<LightningModule, DataLoaders>& of_module);

}  // namespace lightning
