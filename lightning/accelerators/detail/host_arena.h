/// HostArena: large blocks of memory that are cut from one range of addresses and used again.
#pragma once

#include <cstddef>
#include <mutex>
#include <vector>

namespace lightning::detail {

/// Blocks of at least kMinBlock bytes for tensors. Freed neighbours become one block again, and
/// nothing is returned to the system: a training step finds what the step before it freed, with its
/// pages in place. The range asks for huge pages, since a step touches hundreds of megabytes.
/// All functions may be called by several threads at once.
class HostArena {
 public:
  static constexpr size_t kAlignment = 64;
  static constexpr size_t kMinBlock = size_t{64} << 10;

  /// Takes `capacity` bytes of addresses, but memory only when blocks need it. Where the system
  /// refuses, the arena has no room.
  explicit HostArena(size_t capacity);
  ~HostArena();
  HostArena(const HostArena&) = delete;
  HostArena& operator=(const HostArena&) = delete;

  bool has_room() const { return begin_ != nullptr; }

  /// `bytes` (at least kMinBlock) at a multiple of kAlignment; null when the arena is full.
  void* allocate(size_t bytes);
  /// A block of allocate(). Returns the bytes that were asked for.
  size_t free(void* memory);
  /// Whether the address is one of the arena's.
  bool contains(const void* address) const;
  /// Memory taken from the system so far, in bytes.
  size_t committed() const;

 private:
  struct Block;

  Block* take_free(size_t size);
  Block* take_new(size_t size);
  bool commit(const char* end);
  void cut(Block* block, size_t size);
  void insert(Block* block);
  void remove(Block* block);
  Block* after(const Block* block) const;

  mutable std::mutex mutex_;
  char* begin_ = nullptr;
  char* end_ = nullptr;
  /// Where memory ends; [begin_, top_) is blocks without gaps.
  char* committed_ = nullptr;
  char* top_ = nullptr;
  Block* last_ = nullptr;
  /// Lists of free blocks by size class.
  std::vector<Block*> free_;
};

}  // namespace lightning::detail
