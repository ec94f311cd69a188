#include <lightning/accelerators/detail/host_memory.h>

#include <cstdlib>
#include <memory>

#include <c10/core/CPUAllocator.h>
#include <unistd.h>

#include <lightning/accelerators/detail/host_arena.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace lightning {

namespace {

// Larger blocks are returned to the system when they are freed.
constexpr size_t kLargestKept = size_t{1} << 30;

/// Takes large blocks from the arena and all others from torch's own allocator.
class ArenaAllocator final : public c10::Allocator {
 public:
  explicit ArenaAllocator(size_t capacity)
      : arena_(capacity), others_(c10::GetDefaultCPUAllocator()) {}

  bool has_room() const { return arena_.has_room(); }

  c10::DataPtr allocate(size_t bytes) override {
    void* memory = nullptr;
    if (bytes >= detail::HostArena::kMinBlock && bytes <= kLargestKept) {
      memory = arena_.allocate(bytes);
      if (memory != nullptr) c10::profiledCPUMemoryReporter().New(memory, bytes);
    }
    if (memory == nullptr) memory = others_->raw_allocate(bytes);
    return {memory, memory, release, c10::Device(c10::DeviceType::CPU)};
  }

  c10::DeleterFnPtr raw_deleter() const override { return release; }

  void copy_data(void* target, const void* source, size_t bytes) const override {
    default_copy_data(target, source, bytes);
  }

  /// The one in use; lives as long as the process, since tensors do.
  static inline ArenaAllocator* installed = nullptr;

 private:
  static void release(void* memory) {
    if (!installed->arena_.contains(memory)) {
      installed->others_->raw_deallocate(memory);
      return;
    }
    c10::profiledCPUMemoryReporter().Delete(memory);
    installed->arena_.free(memory);
  }

  detail::HostArena arena_;
  c10::Allocator* others_;
};

/// Bytes of the machine's memory; 0 when unknown.
[[maybe_unused]] size_t physical_memory() {
  const long pages = ::sysconf(_SC_PHYS_PAGES);
  const long page_size = ::sysconf(_SC_PAGESIZE);
  return pages > 0 && page_size > 0 ? static_cast<size_t>(pages) * static_cast<size_t>(page_size)
                                    : 0;
}

bool install_allocator() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return false;  // They watch the allocator that they know.
#else
  // An allocator of the user's own stays.
  if (c10::GetCPUAllocator() != c10::GetDefaultCPUAllocator()) return false;
  auto allocator = std::make_unique<ArenaAllocator>(physical_memory());
  if (!allocator->has_room()) return false;
  ArenaAllocator::installed = allocator.get();
  c10::SetCPUAllocator(allocator.release());
  return true;
#endif
}

}  // namespace

void keep_freed_host_memory() {
#ifdef __GLIBC__
  if (std::getenv("MALLOC_MMAP_THRESHOLD_") != nullptr ||
      std::getenv("MALLOC_TRIM_THRESHOLD_") != nullptr) {
    return;
  }
  constexpr int kTrimAbove = 2147483647;  // mallopt takes an int
  ::mallopt(M_MMAP_THRESHOLD, static_cast<int>(kLargestKept));
  ::mallopt(M_TRIM_THRESHOLD, kTrimAbove);
  [[maybe_unused]] static const bool installed = install_allocator();
#endif
}

}  // namespace lightning
