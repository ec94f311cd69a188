/// Host memory: how the process's allocator treats what tensors on the CPU free, and how much they
/// hold.
#pragma once

#include <cstdint>

#include <lightning/util/export.h>

namespace lightning {

/// Lets freed blocks stay with the process, so that the next training step finds them again. By
/// default glibc maps each block above some megabytes anew and returns it to the kernel when it is
/// freed: a step that frees all its activations then pays a page fault for each page of the next
/// one's. Tensors of 64 KiB to 1 GiB come from dedicated huge pages, unless the program has set
/// a custom allocator for torch: a process then has as many addresses reserved (not memory) as
/// the machine has memory. Memory stays at its high-water mark; blocks above 1 GiB are returned.
/// Applies to the whole process, from then on. Nothing happens where MALLOC_MMAP_THRESHOLD_ or
/// MALLOC_TRIM_THRESHOLD_ is set (the user has decided), or with a C library that isn't glibc.
LIGHTNING_API void keep_freed_host_memory();

/// Bytes that were asked for, without what the allocator adds.
struct HostMemoryUse {
  int64_t allocated = 0;  // now
  int64_t peak = 0;       // most since the last reset
};
/// Of the blocks taken since keep_freed_host_memory(); all 0 where that changed no allocator. Any
/// thread; costs two loads.
HostMemoryUse host_memory_use();
/// From here on `peak` begins with what is allocated now. Any thread.
void reset_host_memory_peak();

}  // namespace lightning
