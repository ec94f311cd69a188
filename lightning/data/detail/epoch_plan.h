/// EpochPlan: which samples of an indexed data set a rank loads in an epoch, batch by batch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <lightning/data/shard.h>

namespace lightning::detail {

struct EpochPlan {
  uint64_t seed = 0;
  int64_t epoch = 0;
  bool fixed_order = false;  // see DataLoader::set_fixed_order()
  /// Batch n of this rank holds order[offsets[n]] to order[offsets[n + 1] - 1].
  std::vector<int64_t> order;
  std::vector<int64_t> offsets = {0};
  /// Batch::rank_weight of each batch; empty with one rank.
  std::vector<double> rank_weights;
  /// Samples of all ranks before global batch n; at the end, those of all global batches.
  std::vector<int64_t> consumed = {0};
  /// Samples of all ranks in the epoch, with those that no batch has.
  int64_t num_samples = 0;

  int64_t num_batches() const { return static_cast<int64_t>(offsets.size()) - 1; }
  int64_t num_global_batches() const { return static_cast<int64_t>(consumed.size()) - 1; }
};

/// Cuts the epoch's order into global batches of batch_size * shard.world_size samples. DataError
/// when an index lies outside of a data set of `dataset_size` samples.
EpochPlan plan_from_order(std::vector<int64_t> order, int64_t dataset_size, int64_t batch_size,
                          bool drop_last, const DataShard& shard);
/// Global batch n is the batches n * shard.world_size and the following, one for each rank.
/// DataError also for an empty batch.
EpochPlan plan_from_batches(const std::vector<std::vector<int64_t>>& batches, int64_t dataset_size,
                            const DataShard& shard);

/// Global batches made of `size` samples (or batches), `global_size` of them in each.
int64_t count_global_batches(int64_t size, int64_t global_size, bool keep_last);
/// Those of them in which this rank has a batch.
int64_t count_rank_batches(int64_t size, int64_t global_size, bool keep_last,
                           const DataShard& shard);

}  // namespace lightning::detail
