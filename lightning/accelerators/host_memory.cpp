#include <lightning/accelerators/host_memory.h>

#include <cstdlib>

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace lightning {

void keep_freed_host_memory() {
#ifdef __GLIBC__
  if (std::getenv("MALLOC_MMAP_THRESHOLD_") != nullptr ||
      std::getenv("MALLOC_TRIM_THRESHOLD_") != nullptr) {
    return;
  }
  constexpr int kMapAbove = 1 << 30;
  constexpr int kTrimAbove = 2147483647;  // mallopt takes an int
  ::mallopt(M_MMAP_THRESHOLD, kMapAbove);
  ::mallopt(M_TRIM_THRESHOLD, kTrimAbove);
#endif
}

}  // namespace lightning
