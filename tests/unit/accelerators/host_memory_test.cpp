#include <lightning/accelerators/detail/host_memory.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <thread>
#include <vector>

#include <ATen/Functions.h>
#include <c10/core/CPUAllocator.h>
#include <c10/util/Exception.h>
#include <sys/resource.h>
#include <catch2/catch.hpp>

#include <lightning/accelerators/accelerator.h>

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

int64_t bytes_in_tensors() { return lightning::memory_stats(at::kCPU).allocated; }
int64_t peak_in_tensors() { return lightning::memory_stats(at::kCPU).peak_allocated; }

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

TEST_CASE("the bytes of tensors are counted exactly, now and at their peak", "[accelerators]") {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  SKIP_TEST("the sanitizers bring an allocator of their own");
#endif
  lightning::keep_freed_host_memory();
  c10::Allocator& allocator = *c10::GetCPUAllocator();
  const int64_t before = bytes_in_tensors();
  lightning::reset_peak_memory(at::kCPU);
  CHECK(peak_in_tensors() == before);

  // On both sides of the limits between the arena and the system.
  constexpr size_t kSmallest = size_t{64} << 10;
  constexpr size_t kLargest = size_t{1} << 30;
  std::vector<c10::DataPtr> blocks;
  int64_t total = 0;
  for (const size_t bytes : {size_t{0}, size_t{1}, size_t{100}, kSmallest - 1, kSmallest,
                             kSmallest + 1, (size_t{3} << 20) + 5, kLargest + 1}) {
    CAPTURE(bytes);
    blocks.push_back(allocator.allocate(bytes));
    CHECK(reinterpret_cast<uintptr_t>(blocks.back().get()) % 64 == 0);
    total += static_cast<int64_t>(bytes);
    CHECK(bytes_in_tensors() == before + total);
  }
  blocks.erase(blocks.begin() + 3);
  CHECK(bytes_in_tensors() == before + total - static_cast<int64_t>(kSmallest - 1));
  blocks.clear();
  CHECK(bytes_in_tensors() == before);
  CHECK(peak_in_tensors() == before + total);
  lightning::reset_peak_memory(at::kCPU);
  CHECK(peak_in_tensors() == before);

  {
    const at::Tensor floats = at::empty({1000}, at::kFloat);
    const at::Tensor view = floats.narrow(0, 10, 5);
    const at::Tensor doubles = floats.to(at::kDouble);
    CHECK(bytes_in_tensors() == before + 4000 + 8000);
    const c10::DataPtr of_torch = c10::GetDefaultCPUAllocator()->allocate(100);
    CHECK(bytes_in_tensors() == before + 4000 + 8000);
  }
  void* raw = allocator.raw_allocate(77);
  CHECK(bytes_in_tensors() == before + 77);
  allocator.raw_deallocate(raw);
  // A size to which nothing can be added.
  CHECK_THROWS_AS(allocator.allocate(std::numeric_limits<size_t>::max() - 10), c10::Error);
  CHECK(bytes_in_tensors() == before);
  CHECK(peak_in_tensors() == before + 4000 + 8000);
}

TEST_CASE("threads lose no byte of what they count together", "[accelerators]") {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  SKIP_TEST("the sanitizers bring an allocator of their own");
#endif
  lightning::keep_freed_host_memory();
  c10::Allocator& allocator = *c10::GetCPUAllocator();
  const int64_t before = bytes_in_tensors();
  lightning::reset_peak_memory(at::kCPU);
  constexpr size_t kThreads = 4;
  std::vector<c10::DataPtr> kept(kThreads);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (size_t i = 0; i < 2000; ++i) kept[t] = allocator.allocate(1 + (i * 7919) % 100'000);
      kept[t] = allocator.allocate(1000);
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(bytes_in_tensors() == before + 4000);
  // One thread's block is replaced by another while it is still there.
  CHECK(peak_in_tensors() >= before + 100'000);
  CHECK(peak_in_tensors() <= before + 2 * 4 * 100'000);
  kept.clear();
  CHECK(bytes_in_tensors() == before);
}
