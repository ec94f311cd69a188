/// Everything, for programs. Library code includes what it needs instead.
#pragma once

#include <torch/torch.h>

#include <lightning/accelerators/accelerator.h>
#include <lightning/callbacks/callback.h>
#include <lightning/callbacks/early_stopping.h>
#include <lightning/callbacks/learning_rate_monitor.h>
#include <lightning/callbacks/model_checkpoint.h>
#include <lightning/callbacks/model_summary.h>
#include <lightning/callbacks/progress_bar.h>
#include <lightning/checkpoint/checkpoint.h>
#include <lightning/checkpoint/load_from_checkpoint.h>
#include <lightning/checkpoint/safetensors.h>
#include <lightning/cli/lightning_cli.h>
#include <lightning/cli/parse_options.h>
#include <lightning/cli/run_main.h>
#include <lightning/config/fields.h>
#include <lightning/core/lightning_data_module.h>
#include <lightning/core/lightning_module.h>
#include <lightning/data/data_loader.h>
#include <lightning/data/dataset.h>
#include <lightning/data/sampler.h>
#include <lightning/distributed/join_world.h>
#include <lightning/loggers/csv_logger.h>
#include <lightning/loggers/tensorboard_logger.h>
#include <lightning/optim/adadelta.h>
#include <lightning/optim/lr_scheduler.h>
#include <lightning/optim/optimizers.h>
#include <lightning/optim/parameter_groups.h>
#include <lightning/profilers/profiler.h>
#include <lightning/strategies/distributed_data_parallel.h>
#include <lightning/trainer/trainer.h>
#include <lightning/util/error.h>
#include <lightning/util/random.h>
