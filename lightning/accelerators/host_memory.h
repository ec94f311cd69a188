/// Host memory: how the process's allocator treats what tensors on the CPU free.
#pragma once

#include <lightning/util/export.h>

namespace lightning {

/// Lets freed blocks stay with the process, so that the next training step finds them again. By
/// default glibc maps each block above some megabytes anew and returns it to the kernel when it is
/// freed: a step that frees all its activations then pays a page fault for each page of the next
/// one's. The process's memory stays at its high-water mark; blocks above 1 GiB are still returned.
/// Applies to the whole process. Nothing happens where MALLOC_MMAP_THRESHOLD_ or
/// MALLOC_TRIM_THRESHOLD_ is set (the user has decided), or with a C library that isn't glibc.
LIGHTNING_API void keep_freed_host_memory();

}  // namespace lightning
