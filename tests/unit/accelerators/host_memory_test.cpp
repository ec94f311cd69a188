#include <lightning/accelerators/host_memory.h>

#include <cstdlib>
#include <cstring>
#include <memory>

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
