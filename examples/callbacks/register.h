#pragma once

/// Lets trainer.callbacks name SlurmIds and TrainingTime. For main(), before cli_main().
void register_example_callbacks();
