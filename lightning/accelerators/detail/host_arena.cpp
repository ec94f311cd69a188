#include <lightning/accelerators/detail/host_arena.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <new>

#include <sys/mman.h>

namespace lightning::detail {

namespace {

constexpr size_t kHugePage = size_t{2} << 20;
// Few calls into the kernel, and never more than this too much.
constexpr size_t kCommitStep = 16 * kHugePage;
// Free blocks of these many sizes between a power of two and the next one share a list.
constexpr size_t kClassBits = 3;
constexpr size_t kNumClasses = (64 - 16) << kClassBits;

size_t round_up(size_t value, size_t step) { return (value + step - 1) / step * step; }

/// Grows with the size; a class holds sizes within an eighth of one another.
size_t class_of(size_t size) {
  const auto power = static_cast<size_t>(std::bit_width(size)) - 1;
  const size_t eighth = (size >> (power - kClassBits)) & ((size_t{1} << kClassBits) - 1);
  return ((power - 16) << kClassBits) + eighth;
}

}  // namespace

/// Stands in front of the memory that is given out.
struct alignas(HostArena::kAlignment) HostArena::Block {
  size_t size = 0;  // with this header
  Block* before = nullptr;
  bool is_free = false;
  size_t requested = 0;  // while it is not free
  // While it is free.
  Block* previous = nullptr;
  Block* next = nullptr;

  char* end() { return reinterpret_cast<char*>(this) + size; }
};

HostArena::HostArena(size_t capacity) : free_(kNumClasses) {
  // One more, to start at a huge page.
  const size_t size = round_up(capacity, kCommitStep) + kHugePage;
  void* range = ::mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                       /*fd=*/-1, /*offset=*/0);
  if (range == MAP_FAILED) return;
  char* first = static_cast<char*>(range);
  const size_t skipped =
      round_up(reinterpret_cast<uintptr_t>(first), kHugePage) - reinterpret_cast<uintptr_t>(first);
  if (skipped > 0) ::munmap(first, skipped);
  if (skipped < kHugePage) ::munmap(first + size - (kHugePage - skipped), kHugePage - skipped);
  begin_ = first + skipped;
  end_ = begin_ + size - kHugePage;
  committed_ = begin_;
  top_ = begin_;
#ifdef MADV_HUGEPAGE
  ::madvise(begin_, static_cast<size_t>(end_ - begin_), MADV_HUGEPAGE);
#endif
}

HostArena::~HostArena() {
  if (begin_ != nullptr) ::munmap(begin_, static_cast<size_t>(end_ - begin_));
}

void* HostArena::allocate(size_t bytes) {
  if (bytes > static_cast<size_t>(end_ - begin_)) return nullptr;
  const size_t size = round_up(std::max(bytes, kMinBlock), kAlignment) + sizeof(Block);
  const std::lock_guard<std::mutex> lock(mutex_);
  Block* block = take_free(size);
  if (block == nullptr) block = take_new(size);
  if (block == nullptr) return nullptr;
  cut(block, size);
  block->requested = bytes;
  return block + 1;
}

size_t HostArena::free(void* memory) {
  Block* block = static_cast<Block*>(memory) - 1;
  const std::lock_guard<std::mutex> lock(mutex_);
  const size_t requested = block->requested;
  Block* neighbour = after(block);
  if (neighbour != nullptr && neighbour->is_free) {
    remove(neighbour);
    block->size += neighbour->size;
    if (last_ == neighbour) last_ = block;
  }
  neighbour = block->before;
  if (neighbour != nullptr && neighbour->is_free) {
    remove(neighbour);
    neighbour->size += block->size;
    if (last_ == block) last_ = neighbour;
    block = neighbour;
  }
  if (Block* next = after(block)) next->before = block;
  insert(block);
  return requested;
}

bool HostArena::contains(const void* address) const {
  const auto* byte = static_cast<const char*>(address);
  return byte >= begin_ && byte < end_;
}

size_t HostArena::committed() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return static_cast<size_t>(committed_ - begin_);
}

/// The smallest that fits from the size's own class, else any of the next class that has one.
HostArena::Block* HostArena::take_free(size_t size) {
  const size_t own = class_of(size);
  Block* best = nullptr;
  for (Block* block = free_[own]; block != nullptr; block = block->next) {
    if (block->size >= size && (best == nullptr || block->size < best->size)) best = block;
  }
  for (size_t other = own + 1; best == nullptr && other < kNumClasses; ++other) {
    best = free_[other];
  }
  if (best != nullptr) remove(best);
  return best;
}

/// A block at the top, grown out of a free one that lies there.
HostArena::Block* HostArena::take_new(size_t size) {
  Block* grown = last_ != nullptr && last_->is_free ? last_ : nullptr;
  char* start = grown != nullptr ? reinterpret_cast<char*>(grown) : top_;
  if (size > static_cast<size_t>(end_ - start) || !commit(start + size)) return nullptr;
  top_ = start + size;
  if (grown != nullptr) {
    remove(grown);
    grown->size = size;
    return grown;
  }
  auto* block = new (start) Block{.size = size, .before = last_};
  last_ = block;
  return block;
}

bool HostArena::commit(const char* end) {
  if (end <= committed_) return true;
  const size_t bytes = round_up(static_cast<size_t>(end - committed_), kCommitStep);
  if (::mprotect(committed_, bytes, PROT_READ | PROT_WRITE) != 0) return false;
  committed_ += bytes;
  return true;
}

/// Gives back what the block has beyond `size`, when that makes a block.
void HostArena::cut(Block* block, size_t size) {
  if (block->size - size < kMinBlock + sizeof(Block)) return;
  auto* rest = new (reinterpret_cast<char*>(block) + size)
      Block{.size = block->size - size, .before = block};
  block->size = size;
  if (last_ == block) last_ = rest;
  if (Block* next = after(rest)) next->before = rest;
  insert(rest);
}

void HostArena::insert(Block* block) {
  Block*& first = free_[class_of(block->size)];
  block->is_free = true;
  block->previous = nullptr;
  block->next = first;
  if (first != nullptr) first->previous = block;
  first = block;
}

void HostArena::remove(Block* block) {
  if (block->previous != nullptr) {
    block->previous->next = block->next;
  } else {
    free_[class_of(block->size)] = block->next;
  }
  if (block->next != nullptr) block->next->previous = block->previous;
  block->is_free = false;
}

HostArena::Block* HostArena::after(const Block* block) const {
  return block == last_ ? nullptr : reinterpret_cast<Block*>(const_cast<Block*>(block)->end());
}

}  // namespace lightning::detail
