#include <lightning/data/detail/loader_options.h>

#include <limits>

#include <lightning/util/error.h>

namespace lightning::detail {

namespace {

void check_range(const char* option, int64_t value, int64_t least, int64_t most, const char* hint) {
  LIGHTNING_CHECK(value >= least && value <= most, ConfigError, "DataLoader: ", option, " is ",
                  value, ", expected a number from ", least, " to ", most, ". HINT: ", hint);
}

}  // namespace

void check_options(const DataLoaderOptions& options) {
  // Products with the number of ranks must stay in range; a thread for each sample is no use.
  static constexpr int64_t kMostSamples = std::numeric_limits<int32_t>::max();
  static constexpr int64_t kMostWorkers = 4096;
  check_range("batch_size", options.batch_size, 1, kMostSamples, "use 1 or more samples.");
  check_range("global_batch_size", options.global_batch_size.value_or(1), 1, kMostSamples,
              "use a multiple of the number of ranks, or omit it.");
  LIGHTNING_CHECK(!options.global_batch_size || options.batch_size == 1, ConfigError,
                  "DataLoader: batch_size is ", options.batch_size, " and global_batch_size is ",
                  options.global_batch_size.value_or(0),
                  ", expected one or the other. HINT: omit batch_size.");
  check_range("num_workers", options.num_workers, 0, kMostWorkers,
              "use 0 to make batches in the calling thread.");
  check_range("prefetch_factor", options.prefetch_factor, 1, kMostSamples, "the default is 2.");
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
