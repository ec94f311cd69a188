#include <lightning/data/detail/loader_options.h>

#include <lightning/util/error.h>

namespace lightning::detail {

void check_options(const DataLoaderOptions& options) {
  LIGHTNING_CHECK(options.batch_size >= 1, ConfigError, "DataLoader: batch_size must be >= 1, got ",
                  options.batch_size, ".");
  LIGHTNING_CHECK(!options.global_batch_size || *options.global_batch_size >= 1, ConfigError,
                  "DataLoader: global_batch_size must be >= 1, got ",
                  options.global_batch_size.value_or(0), ".");
  LIGHTNING_CHECK(!options.global_batch_size || options.batch_size == 1, ConfigError,
                  "DataLoader: batch_size is ", options.batch_size, " and global_batch_size is ",
                  options.global_batch_size.value_or(0), ", one or the other was expected.");
  LIGHTNING_CHECK(options.num_workers >= 0, ConfigError,
                  "DataLoader: num_workers must be >= 0, got ", options.num_workers, ".");
  LIGHTNING_CHECK(options.prefetch_factor >= 1, ConfigError,
                  "DataLoader: prefetch_factor must be >= 1, got ", options.prefetch_factor, ".");
}

void check_shard(const DataShard& shard) {
  LIGHTNING_CHECK(shard.world_size >= 1 && shard.rank >= 0 && shard.rank < shard.world_size,
                  ConfigError, "DataLoader: the shard is rank ", shard.rank, " of ",
                  shard.world_size, " ranks, a rank below their number was expected.");
}

int64_t rank_batch_size(const DataLoaderOptions& options, int64_t world_size) {
  if (!options.global_batch_size) return options.batch_size;
  const int64_t global = *options.global_batch_size;
  LIGHTNING_CHECK(global % world_size == 0, ConfigError, "DataLoader: global_batch_size is ",
                  global, ", a multiple of the ", world_size,
                  " ranks was expected. HINT: set it to ",
                  (global + world_size - 1) / world_size * world_size,
                  ", or use a number of ranks that divides it.");
  return global / world_size;
}

bool shard_stream(IterableDataset& stream, const DataShard& shard) {
  if (!stream.shard(shard.rank, shard.world_size)) return false;
  const std::optional<int64_t> size = stream.size();
  const bool even = !size || *size % shard.world_size == 0;
  LIGHTNING_CHECK(even || shard.uneven == UnevenInputs::kExact, ConfigError,
                  "DataLoader: the stream of ", size.value_or(0), " samples divides itself among ",
                  shard.world_size,
                  " ranks, the same number on each was expected. HINT: leave the rest out in its "
                  "shard() and size().");
  return true;
}

}  // namespace lightning::detail
