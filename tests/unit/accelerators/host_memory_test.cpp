#include <lightning/accelerators/detail/host_memory.h>

#include <cstdlib>
#include <cstring>
#include <memory>

#include <c10/core/CPUAllocator.h>
#include <sys/resource.h>
#include <catch2/catch.hpp>

#include "support/skip.h"

namespace {

long page_faults() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_minflt;
}

/// Page faults of taking, writing and freeing three blocks, as the steps of a training do.
long page_faults_of_steps(int steps) {
  constexpr size_t kBytes = size_t{48} << 20;
  const long before = page_faults();
  for (int step = 0; step < steps; ++step) {
    std::unique_ptr<char[]> blocks[3];
    for (auto& block : blocks) {
      block.reset(new char[kBytes]);
      std::memset(block.get(), step, kBytes);
    }
  }
  return page_faults() - before;
}

}  // namespace

TEST_CASE("blocks that a step frees are found again by the next one", "[accelerators]") {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  SKIP_TEST("the sanitizers bring an allocator of their own");
#endif
  // Above glibc's own largest threshold, so that what it learns by itself plays no part.
  const long before = page_faults_of_steps(4);
  lightning::keep_freed_host_memory();
  page_faults_of_steps(1);
  const long after = page_faults_of_steps(4);
  CAPTURE(before, after);
  CHECK(before > 1000);
  CHECK(after < before / 20);
}

TEST_CASE("large tensors keep their memory, small ones and the values are torch's",
          "[accelerators]") {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  SKIP_TEST("the sanitizers bring an allocator of their own");
#endif
  lightning::keep_freed_host_memory();
  const c10::Allocator* allocator = c10::GetCPUAllocator();
  lightning::keep_freed_host_memory();
  CHECK(c10::GetCPUAllocator() == allocator);
  CHECK(allocator != c10::GetDefaultCPUAllocator());
  void* first = nullptr;
  for (int step = 0; step < 3; ++step) {
    const c10::DataPtr large = c10::GetCPUAllocator()->allocate(size_t{3} << 20);
    if (step == 0) first = large.get();
    CHECK(large.get() == first);
    std::memset(large.get(), 1, size_t{3} << 20);
  }
  // Small, empty, huge, and by the raw interface.
  for (const size_t bytes : {size_t{100}, size_t{0}, (size_t{1} << 30) + 1, size_t{1} << 20}) {
    CAPTURE(bytes);
    const c10::DataPtr block = c10::GetCPUAllocator()->allocate(bytes);
    CHECK((block.get() == nullptr) == (bytes == 0));
    void* raw = c10::GetCPUAllocator()->raw_allocate(bytes);
    c10::GetCPUAllocator()->raw_deallocate(raw);
  }
  const c10::DataPtr source = c10::GetCPUAllocator()->allocate(size_t{1} << 20);
  std::memset(source.get(), 7, size_t{1} << 20);
  const c10::DataPtr copy = c10::GetCPUAllocator()->clone(source.get(), size_t{1} << 20);
  CHECK(std::memcmp(source.get(), copy.get(), size_t{1} << 20) == 0);
}
