/// sync_batchnorm: batch normalisation over the global batch.
#pragma once

#include <memory>

#include <lightning/util/export.h>

namespace torch::nn {
class Module;
}

namespace lightning {

class ProcessGroup;

/// Makes the lightning::nn::BatchNorm layers of a module share their statistics over the group's
/// ranks (null: each rank its own again). Every rank must call it, before Strategy::setup(). Throws
/// ConfigError naming a torch::nn::BatchNorm1d, 2d or 3d in it: those cannot share statistics.
LIGHTNING_API void synchronize_batch_norm(torch::nn::Module& module,
                                          const std::shared_ptr<ProcessGroup>& group);

}  // namespace lightning
