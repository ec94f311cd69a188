#include <lightning/accelerators/detail/host_memory.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>

#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>
#include <c10/util/Exception.h>
#include <unistd.h>

#include <lightning/accelerators/detail/host_arena.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace lightning {

namespace {

// Larger blocks are returned to the system when they are freed.
constexpr size_t kLargestKept = size_t{1} << 30;

/// Thread-safe. Relaxed, since the numbers order no other memory.
class alignas(64) ByteCounter {
 public:
  void add(size_t bytes) {
    const auto more = static_cast<int64_t>(bytes);
    raise_peak(now_.fetch_add(more, std::memory_order_relaxed) + more);
  }

  void subtract(size_t bytes) {
    now_.fetch_sub(static_cast<int64_t>(bytes), std::memory_order_relaxed);
  }

  void reset_peak() {
    peak_.store(0, std::memory_order_relaxed);
    // A thread that adds in between raises it by itself.
    raise_peak(now_.load(std::memory_order_relaxed));
  }

  HostMemoryUse use() const {
    const int64_t now = now_.load(std::memory_order_relaxed);
    // A thread may have added and not yet raised the peak.
    return {now, std::max(now, peak_.load(std::memory_order_relaxed))};
  }

 private:
  void raise_peak(int64_t now) {
    int64_t peak = peak_.load(std::memory_order_relaxed);
    while (now > peak && !peak_.compare_exchange_weak(peak, now, std::memory_order_relaxed)) {
    }
  }

  std::atomic<int64_t> now_ = 0;
  std::atomic<int64_t> peak_ = 0;
};

constinit ByteCounter counter;

/// Takes large blocks from the arena and all others from the system, as torch does; counts both.
class ArenaAllocator final : public c10::Allocator {
 public:
  explicit ArenaAllocator(size_t capacity) : arena_(capacity) {}

  bool has_room() const { return arena_.has_room(); }

  // A block is its own context, which raw_allocate() demands (torch's float32 GELU calls it).
  c10::DataPtr allocate(size_t bytes) override {
    void* memory = bytes > 0 ? take(bytes) : nullptr;
    return {memory, memory, release, c10::Device(c10::DeviceType::CPU)};
  }

  c10::DeleterFnPtr raw_deleter() const override { return release; }

  void copy_data(void* target, const void* source, size_t bytes) const override {
    default_copy_data(target, source, bytes);
  }

  /// The one in use; lives as long as the process, since tensors do.
  static inline ArenaAllocator* installed = nullptr;

 private:
  /// Stands in front of blocks of the system, and keeps them at multiples of 64 bytes.
  struct alignas(64) Header {
    size_t bytes;
  };

  void* take(size_t bytes) {
    void* memory = nullptr;
    if (bytes >= detail::HostArena::kMinBlock && bytes <= kLargestKept) {
      memory = arena_.allocate(bytes);
    }
    if (memory == nullptr) memory = take_from_system(bytes);
    counter.add(bytes);
    c10::profiledCPUMemoryReporter().New(memory, bytes);
    return memory;
  }

  /// Throws torch's error when there is no memory.
  static void* take_from_system(size_t bytes) {
    const size_t with_header = bytes + sizeof(Header);
    try {
      // What overflows is passed on as it is: torch refuses more than half the addresses.
      void* block = c10::alloc_cpu(with_header < bytes ? bytes : with_header);
      auto* header = new (block) Header{bytes};
      return header + 1;
    } catch (const c10::Error&) {
      c10::profiledCPUMemoryReporter().OutOfMemory(bytes);
      throw;
    }
  }

  static void release(void* memory) {
    if (memory == nullptr) return;
    c10::profiledCPUMemoryReporter().Delete(memory);
    if (installed->arena_.contains(memory)) {
      counter.subtract(installed->arena_.free(memory));
      return;
    }
    Header* block = static_cast<Header*>(memory) - 1;
    counter.subtract(block->bytes);
    c10::free_cpu(block);
  }

  detail::HostArena arena_;
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

HostMemoryUse host_memory_use() { return counter.use(); }

void reset_host_memory_peak() { counter.reset_peak(); }

}  // namespace lightning
