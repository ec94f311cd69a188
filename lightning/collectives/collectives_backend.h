/// ProcessGroupBackend: what carries collectives between CPUs.
#pragma once

#include <lightning/config/fields.h>

namespace lightning {

/// What carries tensors between CPUs (between GPUs it is NCCL). In shared memory sums are made in
/// the order of the ranks: the bits of an element don't depend on what is sent along with it.
enum class ProcessGroupBackend { kAuto, kGloo, kSharedMemory };
LIGHTNING_ENUM(ProcessGroupBackend, LIGHTNING_ENUMERATOR(kAuto, "auto"),
               LIGHTNING_ENUMERATOR(kGloo, "gloo"),
               LIGHTNING_ENUMERATOR(kSharedMemory, "shared_memory"))

}  // namespace lightning
