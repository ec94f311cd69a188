/// DataLoader: batches from a data set, made by worker threads and delivered in order whatever the
/// number of workers. Its state is (seed, epoch, samples consumed), so that a run resumes at the
/// exact sample; prefetched but undelivered batches are not part of the state.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include <lightning/data/batch.h>
#include <lightning/data/batch_source.h>
#include <lightning/data/dataset.h>
#include <lightning/data/sampler.h>
#include <lightning/data/shard.h>
#include <lightning/util/export.h>
#include <lightning/util/state_dict.h>

namespace lightning {

struct DataLoaderOptions {
  /// Samples per batch of each rank; >= 1.
  int64_t batch_size = 1;
  /// Samples per batch of all ranks together, instead of batch_size: batches and schedules then
  /// stay as they are when the number of ranks changes, which must divide it (else a ConfigError).
  std::optional<int64_t> global_batch_size = std::nullopt;
  /// A new random order each epoch (when no sampler is given).
  bool shuffle = false;
  /// Leave out the last (global) batch when it isn't full.
  bool drop_last = false;
  /// Threads that make batches ahead; 0 makes each batch in the calling thread.
  int64_t num_workers = 0;
  /// Batches made ahead per worker.
  int64_t prefetch_factor = 2;
  /// Put batches in pinned memory (nothing happens on a machine without CUDA); none: when CUDA is
  /// used by the Trainer.
  std::optional<bool> pin_memory = std::nullopt;
  /// Seed of order and samples; none: the seed of seed_everything() when the first epoch begins.
  std::optional<uint64_t> seed = std::nullopt;
};

class LIGHTNING_API DataLoader : public BatchSource {
 public:
  /// Order by options.shuffle.
  DataLoader(std::shared_ptr<Dataset> dataset, DataLoaderOptions options);
  /// Order by `sampler`; options.shuffle must be false.
  DataLoader(std::shared_ptr<Dataset> dataset, std::shared_ptr<Sampler> sampler,
             DataLoaderOptions options);
  /// Batches by `sampler`; options.batch_size, global_batch_size, shuffle and drop_last must be
  /// left alone. Of W ranks, rank r takes the batches r, r + W, ...; DataShard::uneven then sets
  /// what becomes of the last ones when W doesn't divide their number (kPad takes the first ones
  /// again).
  DataLoader(std::shared_ptr<Dataset> dataset, std::shared_ptr<BatchSampler> sampler,
             DataLoaderOptions options);
  /// A stream. One worker thread at most reads it (num_workers above 1 is a ConfigError).
  DataLoader(std::shared_ptr<IterableDataset> dataset, DataLoaderOptions options);
  ~DataLoader() override;

  /// Called by the Trainer before the first epoch: this rank's part of each global batch (shard.h).
  /// A position inside an epoch is kept, with the errors of load_state_dict(). ConfigError when the
  /// ranks don't divide global_batch_size.
  void set_shard(const DataShard& shard) override;
  const DataShard& shard() const;

  /// Global batches in the next or current epoch, the same number on every rank; nothing for a
  /// stream of unknown length.
  std::optional<int64_t> num_batches() const override;
  /// Those of them that this rank gets: one less than num_batches() on a rank that has no samples
  /// in the last one under UnevenInputs::kExact; nothing when unknown.
  std::optional<int64_t> num_rank_batches() const;
  /// What `shard` would get of the next epoch's first global batches, at most `limit` of them;
  /// nothing for a stream. Throws ConfigError like set_shard().
  std::optional<ShardSize> shard_size(const DataShard& shard,
                                      std::optional<int64_t> limit = std::nullopt) const override;
  const DataLoaderOptions& options() const;
  /// Samples per batch of this rank: options().batch_size, or its part of global_batch_size.
  int64_t batch_size() const override;

  /// Starts `epoch` from its first batch and wakes the workers. What was in progress is dropped.
  void begin_epoch(int64_t epoch) override;
  /// The next batch, or nothing at the epoch's end. Without begin_epoch() the first call starts
  /// epoch 0. A worker's exception is thrown here, in the batch's place; the call after that gives
  /// the batch after it, but ends the epoch of a stream. The loader stays usable.
  std::optional<Batch> next() override;
  /// Whether no batch is left; may wait for a stream's next batch.
  bool exhausted() override;

  /// Global batches of the epoch up to the last delivered one: after load_state_dict() those that
  /// its samples fill with this loader's batch size.
  int64_t batches_delivered() const override;

  /// Position after the last delivered batch, counted in samples of all ranks, and the seed. The
  /// same on every rank.
  StateDict state_dict() const override;
  /// Continues exactly there, also with a different batch size or number of ranks when the position
  /// allows it (a CheckpointError when it lies inside a global batch, or when the data set's size
  /// has changed); no sample is lost or repeated. The saved seed and shuffle are used from then on,
  /// whatever the options set; a sampler that was given keeps its own. Workers start at the next
  /// next().
  void load_state_dict(const StateDict& state) override;

  /// Called by the Trainer before the first epoch: pins unless the options forbid it.
  void set_default_pin_memory(bool pin) override;
  /// Called by the Trainer for overfit_batches: each epoch has the data set's own order, whatever
  /// shuffle or sampler say, and with a batch sampler the batches of its epoch 0. A change drops
  /// what is in progress. Streams stay as they are. An epoch that load_state_dict() continues keeps
  /// the order it was saved with.
  void set_fixed_order(bool fixed) override;
  /// Whether the order differs from epoch to epoch as far as the loader knows: it shuffles, or has
  /// a sampler.
  bool has_own_order() const override;
  /// A loader of the same data, samplers, options and fixed order, with a position of its own.
  /// Nothing for a stream, which can't be read in two places.
  std::shared_ptr<BatchSource> copy() const override;
  std::string why_no_batches() const override;

 private:
  class Impl;
  explicit DataLoader(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace lightning
