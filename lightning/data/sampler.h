/// Samplers: the order of a data set's samples in an epoch. A sampler is a pure function of
/// (options, epoch); it has no position. The DataLoader's state is therefore only
/// (epoch, samples consumed), and any part of an epoch can be made again.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <lightning/util/export.h>

namespace lightning {

class LIGHTNING_API Sampler {
 public:
  virtual ~Sampler();
  /// Number of samples in an epoch.
  virtual int64_t size() const = 0;
  /// All indices of the epoch, in order. The same arguments give the same order on every machine.
  virtual std::vector<int64_t> order(int64_t epoch) const = 0;
};

/// 0, 1, 2, ...
class LIGHTNING_API SequentialSampler : public Sampler {
 public:
  explicit SequentialSampler(int64_t size);
  int64_t size() const override { return size_; }
  std::vector<int64_t> order(int64_t epoch) const override;

 private:
  int64_t size_;
};

/// A fresh permutation each epoch (Fisher-Yates with a dedicated generator made from seed and
/// epoch: the standard library's distributions differ between implementations).
class LIGHTNING_API RandomSampler : public Sampler {
 public:
  RandomSampler(int64_t size, uint64_t seed);
  int64_t size() const override { return size_; }
  std::vector<int64_t> order(int64_t epoch) const override;

 private:
  int64_t size_;
  uint64_t seed_;
};

struct LengthGroupedSamplerOptions {
  uint64_t seed = 0;
  /// Samples that are shuffled, then sorted by length together; more of them mean less padding and
  /// less randomness. In samples, so that the order doesn't depend on the batch size; rounded up to
  /// whole runs of chunk_size.
  int64_t group_size = 800;
  /// Runs of this many neighbours by length stay together; the runs of the epoch are shuffled.
  /// Best a multiple of the global batch size.
  int64_t chunk_size = 16;
};

/// Puts samples of like length next to one another, so that batches need little padding.
class LIGHTNING_API LengthGroupedSampler : public Sampler {
 public:
  LengthGroupedSampler(std::vector<int64_t> lengths, LengthGroupedSamplerOptions options = {});
  int64_t size() const override;
  std::vector<int64_t> order(int64_t epoch) const override;

 private:
  std::vector<int64_t> lengths_;
  LengthGroupedSamplerOptions options_;
};

/// Cuts a sampler's order into batches. Subclass it for batches of other makings.
class LIGHTNING_API BatchSampler {
 public:
  /// With drop_last the last batch is left out when it isn't full.
  BatchSampler(std::shared_ptr<Sampler> sampler, int64_t batch_size, bool drop_last = false);
  virtual ~BatchSampler();

  virtual int64_t num_batches(int64_t epoch) const;
  virtual std::vector<std::vector<int64_t>> batches(int64_t epoch) const;

 private:
  std::shared_ptr<Sampler> sampler_;
  int64_t batch_size_;
  bool drop_last_;
};

}  // namespace lightning
