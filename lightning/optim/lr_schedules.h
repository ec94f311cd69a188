/// All LR schedules.
#pragma once

#include <lightning/optim/composite_schedules.h>   // IWYU pragma: export
#include <lightning/optim/cosine_schedules.h>      // IWYU pragma: export
#include <lightning/optim/cyclic_schedules.h>      // IWYU pragma: export
#include <lightning/optim/decay_schedules.h>       // IWYU pragma: export
#include <lightning/optim/lr_scheduler.h>          // IWYU pragma: export
#include <lightning/optim/reduce_lr_on_plateau.h>  // IWYU pragma: export
#include <lightning/optim/warmup_schedules.h>      // IWYU pragma: export
