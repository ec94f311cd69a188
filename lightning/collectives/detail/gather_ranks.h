/// gather_ranks(): tensors of all ranks, also as an operation that gradients flow through.
#pragma once

#include <memory>

#include <ATen/core/Tensor.h>

#include <lightning/collectives/process_group.h>
#include <lightning/util/export.h>

namespace lightning {

/// [world_size, ...] from a tensor [...] of each rank, by rank. With `sync_grads` the gradient of
/// this rank's tensor is the sum of those that all ranks have for its row; the backward is a
/// collective then. Without, the result needs no gradient. Every rank must call it, with equal
/// shapes and types. `group` may be null: one rank.
LIGHTNING_API at::Tensor gather_ranks(const std::shared_ptr<ProcessGroup>& group,
                                      const at::Tensor& tensor, bool sync_grads);

}  // namespace lightning
