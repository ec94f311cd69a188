#include <lightning/accelerators/detail/host_arena.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include <catch2/catch.hpp>

using lightning::detail::HostArena;

namespace {

constexpr size_t kMiB = size_t{1} << 20;
constexpr size_t kKiB = size_t{1} << 10;

struct Held {
  unsigned char* memory;
  size_t size;
  unsigned char mark;
};

bool is_untouched(const Held& held) {
  return std::all_of(held.memory, held.memory + held.size,
                     [&](unsigned char byte) { return byte == held.mark; });
}

/// Takes and frees blocks in a random order and counts those whose content was changed from
/// outside.
int damaged_blocks(HostArena& arena, uint32_t seed, int rounds) {
  std::mt19937 random(seed);
  std::vector<Held> held;
  int damaged = 0;
  const auto release = [&](size_t index) {
    if (!is_untouched(held[index])) ++damaged;
    arena.free(held[index].memory);
    held[index] = held.back();
    held.pop_back();
  };
  for (int round = 0; round < rounds; ++round) {
    const size_t size = HostArena::kMinBlock + random() % (300 * kKiB);
    if (auto* memory = static_cast<unsigned char*>(arena.allocate(size))) {
      const auto mark = static_cast<unsigned char>(random());
      std::memset(memory, mark, size);
      held.push_back({memory, size, mark});
    }
    if (held.size() > 40 || (!held.empty() && random() % 3 == 0)) release(random() % held.size());
  }
  while (!held.empty()) release(0);
  return damaged;
}

}  // namespace

TEST_CASE("blocks of the arena are aligned, its own and apart", "[accelerators]") {
  HostArena arena(256 * kMiB);
  REQUIRE(arena.has_room());
  CHECK(arena.committed() == 0);
  CHECK(damaged_blocks(arena, 1, 4000) == 0);
  std::vector<void*> blocks;
  for (const size_t size : {64 * kKiB, 100 * kKiB + 1, 3 * kMiB}) {
    blocks.push_back(arena.allocate(size));
    CHECK(reinterpret_cast<uintptr_t>(blocks.back()) % HostArena::kAlignment == 0);
    CHECK(arena.contains(blocks.back()));
  }
  const int elsewhere = 0;
  CHECK_FALSE(arena.contains(&elsewhere));
  for (void* block : blocks) arena.free(block);
}

TEST_CASE("a freed block of the arena is found again", "[accelerators]") {
  HostArena arena(256 * kMiB);
  void* first = arena.allocate(3 * kMiB);
  void* behind = arena.allocate(kMiB);
  arena.free(first);
  CHECK(arena.allocate(3 * kMiB) == first);
  // The same sizes again and again need no more memory.
  const size_t committed = arena.committed();
  for (int step = 0; step < 100; ++step) {
    std::vector<void*> blocks;
    for (const size_t size : {5 * kMiB, kMiB, 700 * kKiB}) blocks.push_back(arena.allocate(size));
    for (void* block : blocks) arena.free(block);
  }
  CHECK(arena.committed() <= committed + 32 * kMiB);
  arena.free(behind);
}

TEST_CASE("freed neighbours in the arena become one block", "[accelerators]") {
  HostArena arena(256 * kMiB);
  std::vector<char*> blocks;
  for (int i = 0; i < 6; ++i) blocks.push_back(static_cast<char*>(arena.allocate(kMiB)));
  // Block 4 between two free ones joins them; 0 stays, and 5 keeps the end of the arena taken.
  for (const size_t i : {1, 2, 3}) arena.free(blocks[i]);
  CHECK(arena.allocate(3 * kMiB) == blocks[1]);
  arena.free(blocks[1]);
  // Parts of it, cut off.
  char* part = static_cast<char*>(arena.allocate(kMiB));
  CHECK(part == blocks[1]);
  CHECK(arena.allocate(2 * kMiB) == blocks[2]);
}

TEST_CASE("a full arena gives nothing and recovers", "[accelerators]") {
  HostArena arena(32 * kMiB);
  CHECK(arena.allocate(100 * kMiB) == nullptr);
  std::vector<void*> blocks;
  while (void* block = arena.allocate(5 * kMiB)) blocks.push_back(block);
  CHECK(blocks.size() == 6);
  for (void* block : blocks) arena.free(block);
  void* all = arena.allocate(31 * kMiB);
  CHECK(all != nullptr);
  arena.free(all);
  // More addresses than there are.
  HostArena impossible(size_t{1} << 60);
  CHECK_FALSE(impossible.has_room());
  CHECK(impossible.allocate(kMiB) == nullptr);
  CHECK_FALSE(impossible.contains(&impossible));
}

TEST_CASE("threads use the arena at once", "[accelerators]") {
  HostArena arena(256 * kMiB);
  std::vector<int> damaged(3);
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < 3; ++i) {
    threads.emplace_back([&, i] { damaged[i] = damaged_blocks(arena, i, 1000); });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(damaged == std::vector<int>{0, 0, 0});
  void* all = arena.allocate(255 * kMiB);
  CHECK(all != nullptr);
  arena.free(all);
}
