/// SharedMemory: memory that all ranks of a node have mapped, with a place where they meet. Each
/// rank writes into its own blocks and reads those of all.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include <lightning/control/control_plane.h>

namespace lightning::detail {

/// What a rank brings to a meeting: the ranks of one meeting must bring the same.
struct Announcement {
  char collective[24] = {};  // a name, for messages
  int32_t dtype = 0;         // at::ScalarType
  int32_t variant = 0;       // root, or kind of reduction
  int64_t bytes = 0;

  bool operator==(const Announcement& other) const = default;
};

class SharedMemory {
 public:
  /// A rank writes at most this much for one meeting. Two of them for each rank stay in a
  /// processor's caches.
  static constexpr int64_t kBlockBytes = 512 << 10;

  /// Every rank must call it; null on all of them when one can't map the memory (it runs in a
  /// separate container, say). `throw_if_failed` is called now and then by a rank that waits.
  static std::unique_ptr<SharedMemory> create(ControlPlane& control,
                                              std::function<void()> throw_if_failed);
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }

  // One step of a collective:
  //   next_block();  write to block(rank());  meet(what);  read all blocks;
  // and, as often as needed before the next next_block():  write to block(rank());  meet_again();

  /// The block that this rank wrote two steps ago may be overwritten now: the ranks that read it
  /// have come to the step after it.
  void next_block() { parity_ ^= 1; }
  std::byte* block(int rank) const;
  /// Returns when all ranks have come. Throws DistributedError when they brought something else.
  void meet(const Announcement& announcement);
  void meet_again();

 private:
  struct RankState;
  struct Mapping;

  SharedMemory(std::unique_ptr<Mapping> mapping, int rank, int size,
               std::function<void()> throw_if_failed);

  RankState& state(int rank) const;
  void wait_for(int rank);
  [[noreturn]] void throw_differing(int rank) const;

  std::unique_ptr<Mapping> mapping_;
  int rank_;
  int size_;
  std::function<void()> throw_if_failed_;
  bool spin_;
  uint32_t arrivals_ = 0;  // of this rank
  int parity_ = 0;
};

}  // namespace lightning::detail
