/// Datasets: where samples come from. An indexed Dataset gives sample by sample, or whole batches
/// at once; an IterableDataset is a stream of unknown length.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include <ATen/core/Generator.h>

#include <lightning/data/batch.h>
#include <lightning/util/export.h>
#include <lightning/util/state_dict.h>

namespace lightning {

/// Randomness for making one sample: streams depend on (seed, epoch, index) alone, so that the same
/// sample comes out whatever the number of workers and after a resume. Using torch's default
/// generator in a worker instead would be neither (it is one global object in C++).
class LIGHTNING_API SampleContext {
 public:
  SampleContext(uint64_t seed, int64_t epoch, int64_t index)
      : seed_(seed), epoch_(epoch), index_(index) {}

  int64_t epoch() const { return epoch_; }
  int64_t index() const { return index_; }
  /// A 64-bit seed made from (seed, epoch, index), for custom generators.
  uint64_t seed() const;
  /// A CPU generator seeded with seed(); made at the first call (it costs some microseconds).
  at::Generator& generator();

 private:
  uint64_t seed_;
  int64_t epoch_;
  int64_t index_;
  std::optional<at::Generator> generator_;
};

/// An indexed data set. get() and get_batch() are called from the loader's worker threads at the
/// same time, so they must not change the object without a lock.
class LIGHTNING_API Dataset {
 public:
  virtual ~Dataset();

  virtual int64_t size() const = 0;
  /// One sample, its tensors without a batch dimension. `index` is in [0, size()).
  /// The default throws: override get() or get_batch().
  virtual Batch get(int64_t index, SampleContext& context);
  /// The batch of these samples; must set batch_size. The default stacks the tensors of get()
  /// along a new first dimension (`collate`). Override it to gather whole batches at once or to
  /// pad. `contexts[i]` belongs to `indices[i]`.
  virtual Batch get_batch(std::span<const int64_t> indices, std::span<SampleContext> contexts);
};

/// Stacks samples of equal shapes along a new first dimension, name by name; payloads are collected
/// in a std::vector<std::any>. Throws DataError naming the tensor and the shapes that differ.
LIGHTNING_API Batch collate(const std::vector<Batch>& samples);

/// A stream of samples whose length need not be known. next() is called from one thread at a time.
class LIGHTNING_API IterableDataset {
 public:
  virtual ~IterableDataset();

  /// Starts the pass of an epoch; randomness must depend on (seed, epoch) alone.
  virtual void begin_epoch(int64_t epoch, uint64_t seed) = 0;
  /// The next sample, or nothing at the end of the pass.
  virtual std::optional<Batch> next() = 0;
  /// Asked before the first pass when there are several ranks. By default every rank reads the
  /// whole stream and the loader keeps the rank's part of each global batch. A stream for which
  /// that is too slow returns true here: next() then gives this rank's samples alone, the same
  /// number of them on every rank (when training: a rank that ends early leaves the others
  /// waiting), while size() and state_dict() still mean the whole stream. A state is loaded on
  /// every rank.
  virtual bool shard(int64_t /*rank*/, int64_t /*world_size*/) { return false; }
  /// Number of samples in a pass, when known.
  virtual std::optional<int64_t> size() const { return std::nullopt; }
  /// Joins samples to a batch; the default is lightning::collate.
  virtual Batch collate_batch(const std::vector<Batch>& samples) { return collate(samples); }
  /// What next() needs to continue after the last sample it gave; called after begin_epoch().
  virtual StateDict state_dict() const = 0;
  virtual void load_state_dict(const StateDict& state) = 0;
};

/// An in-memory data set over tensors that share their first dimension; batches are gathered at
/// once.
class LIGHTNING_API TensorDataset : public Dataset {
 public:
  /// TensorDataset({{"x", x}, {"y", y}}), each of shape [N, ...].
  explicit TensorDataset(Batch tensors);

  int64_t size() const override { return size_; }
  Batch get(int64_t index, SampleContext& context) override;
  Batch get_batch(std::span<const int64_t> indices, std::span<SampleContext> contexts) override;

 private:
  Batch tensors_;
  int64_t size_ = 0;
};

/// A part of a data set: the samples at `indices`.
class LIGHTNING_API Subset : public Dataset {
 public:
  Subset(std::shared_ptr<Dataset> dataset, std::vector<int64_t> indices);

  int64_t size() const override;
  Batch get(int64_t index, SampleContext& context) override;
  Batch get_batch(std::span<const int64_t> indices, std::span<SampleContext> contexts) override;

 private:
  std::shared_ptr<Dataset> dataset_;
  std::vector<int64_t> indices_;
};

/// Splits at random into parts of the given sizes, which must add up to the whole; the same seed
/// gives the same split on every machine.
LIGHTNING_API std::vector<std::shared_ptr<Dataset>> random_split(
    const std::shared_ptr<Dataset>& dataset, const std::vector<int64_t>& sizes, uint64_t seed);

}  // namespace lightning
