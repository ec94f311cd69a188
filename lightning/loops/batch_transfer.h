/// A loaded batch on its way to a step of the module.
#pragma once

#include <ATen/core/Tensor.h>

#include <lightning/core/lightning_module.h>
#include <lightning/data/batch.h>
#include <lightning/precision/precision.h>
#include <lightning/util/export.h>

namespace lightning {

/// `loaded` in the run's number format, then through the module's three transfer hooks to `device`.
LIGHTNING_API Batch transfer_batch(LightningModule& module, const Precision& precision,
                                   at::Device device, const Batch& loaded);

}  // namespace lightning
