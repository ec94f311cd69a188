/// Seeds and the library's own small generator. std distributions differ between standard
/// libraries, so orders that must be the same everywhere are drawn with this.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include <lightning/util/export.h>

namespace lightning {

/// SplitMix64's output function (Steele, Lea, Flood 2014): a good 64-bit mixing of its argument.
LIGHTNING_API uint64_t mix_bits(uint64_t value);
/// A seed from several numbers; every one of them counts.
LIGHTNING_API uint64_t mix_seed(uint64_t seed, uint64_t a, uint64_t b = 0);

/// Xoshiro256** (Blackman, Vigna 2018), seeded through SplitMix64.
class LIGHTNING_API Random {
 public:
  explicit Random(uint64_t seed);
  uint64_t next();
  /// Uniform in [0, bound), without modulo bias; bound >= 1.
  uint64_t below(uint64_t bound);
  /// Uniform in [0, 1).
  double uniform();
  void shuffle(std::vector<int64_t>& values);

 private:
  uint64_t state_[4];
};

/// Seeds torch's generators (CPU and every GPU) and the default seed of samplers and data sets.
/// Returns the seed; without an argument takes the environment's LIGHTNING_SEED or 0.
LIGHTNING_API uint64_t seed_everything(std::optional<uint64_t> seed = std::nullopt);
/// The seed of the last seed_everything(); 0 before that.
LIGHTNING_API uint64_t global_seed();

/// What draws random numbers while it lives changes no number that is drawn afterwards: its
/// destructor restores torch's generators (of the CPU and of every GPU) and global_seed() to what
/// they were when it was made (Lightning's isolate_rng). No sync.
class LIGHTNING_API IsolateRng {
 public:
  IsolateRng();
  ~IsolateRng();
  IsolateRng(const IsolateRng&) = delete;
  IsolateRng& operator=(const IsolateRng&) = delete;

 private:
  struct State;
  const std::unique_ptr<const State> before_;
};

}  // namespace lightning
