/// What the options of a DataLoader must be, and what they come to on one of several ranks.
#pragma once

#include <cstdint>

#include <lightning/data/data_loader.h>

namespace lightning::detail {

void check_options(const DataLoaderOptions& options);
void check_shard(const DataShard& shard);
/// Samples per batch of one rank.
int64_t rank_batch_size(const DataLoaderOptions& options, int64_t world_size);
/// IterableDataset::shard(), checked.
bool shard_stream(IterableDataset& stream, const DataShard& shard);

}  // namespace lightning::detail
