#pragma once

#include <lightning/callbacks/callback.h>
#include <lightning/config/registry.h>

/// Makes SlurmIds and TrainingTime classes that trainer.callbacks may name:
///   cli_main<Module, DataModule>(argc, argv, {.callbacks = register_example_callbacks})
void register_example_callbacks(lightning::config::Registry<lightning::Callback>& registry);
