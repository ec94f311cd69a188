#include "examples/callbacks/register.h"

#include <lightning/callbacks/registry.h>

#include "examples/callbacks/slurm_ids.h"
#include "examples/callbacks/training_time.h"

void register_example_callbacks() {
  auto& registry = lightning::callback_registry();
  registry.add<SlurmIds>("SlurmIds", "prints each rank's SLURM job, task and device");
  registry.add<TrainingTime>("TrainingTime",
                             "prints when training starts, ends, and how long it took");
}
