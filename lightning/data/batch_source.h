/// BatchSource: what the loops ask of the data. A DataLoader is one, a CombinedLoader joins
/// several.
#pragma once

#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <lightning/data/batch.h>
#include <lightning/data/shard.h>
#include <lightning/util/export.h>
#include <lightning/util/state_dict.h>

namespace lightning {

/// A rank's part of an epoch.
struct ShardSize {
  int64_t batches = 0;
  int64_t samples = 0;            // without padding batches
  int64_t samples_all_ranks = 0;  // in these global batches, each sample once
};

/// Batches of one epoch after the other, with a position that is saved and resumed. Used by one
/// thread.
class LIGHTNING_API BatchSource {
 public:
  BatchSource() = default;
  virtual ~BatchSource();
  BatchSource(const BatchSource&) = delete;
  BatchSource& operator=(const BatchSource&) = delete;

  // ---- an epoch
  /// Global batches in the next or current epoch, the same number on every rank; nothing when
  /// unknown (a stream).
  virtual std::optional<int64_t> num_batches() const = 0;
  /// Samples per batch of this rank.
  virtual int64_t batch_size() const = 0;
  /// Starts `epoch` from its first batch; what was in progress is dropped. Throws ConfigError for a
  /// negative one.
  virtual void begin_epoch(int64_t epoch) = 0;
  /// The next batch, or nothing at the epoch's end and where this rank has no part of a global
  /// batch. Without begin_epoch() the first call starts epoch 0.
  virtual std::optional<Batch> next() = 0;
  /// Whether no batch is left; may wait for a stream's next batch.
  virtual bool exhausted() = 0;
  /// Global batches of the epoch up to the last delivered one.
  virtual int64_t batches_delivered() const = 0;

  // ---- its position
  /// Position after the last delivered batch. The same on every rank.
  virtual StateDict state_dict() const = 0;
  /// Continues exactly there. Throws CheckpointError for a position of other data.
  virtual void load_state_dict(const StateDict& state) = 0;

  // ---- called by the Trainer before the first epoch
  /// This rank's part of each global batch (shard.h); a position inside an epoch is kept.
  virtual void set_shard(const DataShard& shard) = 0;
  /// What `shard` would get of the next epoch's first global batches, at most `limit` of them;
  /// nothing when unknown.
  virtual std::optional<ShardSize> shard_size(
      const DataShard& shard, std::optional<int64_t> limit = std::nullopt) const = 0;
  /// Pins batches unless options forbid it.
  virtual void set_default_pin_memory(bool pin) = 0;
  /// For overfit_batches: the same batches in each epoch. A change drops what is in progress.
  virtual void set_fixed_order(bool fixed) = 0;
  /// Whether the order may differ from epoch to epoch.
  virtual bool has_own_order() const = 0;
  /// Another source of the same batches, with a position of its own; null when the data can't be
  /// read in two places.
  virtual std::shared_ptr<BatchSource> copy() const = 0;
  /// Throws ConfigError for what can never give batches (an empty part of a combination).
  virtual void check() const {}
  /// Why num_batches() is 0, with a hint: "the data set is empty. HINT: ...".
  virtual std::string why_no_batches() const = 0;
};

/// One loader or several: what {train,val,test,predict}_dataloader() return.
class LIGHTNING_API DataLoaders {
 public:
  DataLoaders() = default;
  /// Throws ConfigError when one is null.
  template <std::derived_from<BatchSource> Source>
  DataLoaders(std::shared_ptr<Source> loader)  // NOLINT: implicit on purpose
      : DataLoaders(std::vector<std::shared_ptr<BatchSource>>{std::move(loader)}) {}
  template <std::derived_from<BatchSource> Source>
  DataLoaders(const std::vector<std::shared_ptr<Source>>& loaders)  // NOLINT
      : DataLoaders(std::vector<std::shared_ptr<BatchSource>>(loaders.begin(), loaders.end())) {}
  DataLoaders(std::vector<std::shared_ptr<BatchSource>> loaders);  // NOLINT

  bool empty() const { return loaders_.empty(); }
  int64_t size() const { return static_cast<int64_t>(loaders_.size()); }
  BatchSource& operator[](int64_t index) const { return *loaders_[static_cast<size_t>(index)]; }
  const std::vector<std::shared_ptr<BatchSource>>& sources() const { return loaders_; }

 private:
  std::vector<std::shared_ptr<BatchSource>> loaders_;
};

}  // namespace lightning
