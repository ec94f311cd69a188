#include <lightning/data/detail/epoch_plan.h>

#include <algorithm>
#include <span>
#include <utility>

#include <lightning/util/error.h>

namespace lightning::detail {
namespace {

void check_indices(const std::vector<int64_t>& indices, int64_t dataset_size) {
  for (const int64_t index : indices) {
    LIGHTNING_CHECK(index >= 0 && index < dataset_size, DataError,
                    "DataLoader: the sampler gave index ", index, ", the data set has ",
                    dataset_size, " samples.");
  }
}

void check_batches(const std::vector<std::vector<int64_t>>& batches, int64_t dataset_size) {
  for (size_t i = 0; i < batches.size(); ++i) {
    LIGHTNING_CHECK(!batches[i].empty(), DataError, "DataLoader: batch ", i,
                    " of the batch sampler is empty, at least one sample was expected.");
    check_indices(batches[i], dataset_size);
  }
}

// Ends the rank's batch that began at order[begin]. `all`: samples of the global batch, `first` is
// its first one.
void close_batch(EpochPlan& plan, size_t begin, int64_t all, int64_t first,
                 const DataShard& shard) {
  const auto mine = static_cast<int64_t>(plan.order.size() - begin);
  if (mine == 0) {
    if (shard.uneven == UnevenInputs::kExact) return;
    plan.order.push_back(first);
  }
  plan.offsets.push_back(static_cast<int64_t>(plan.order.size()));
  // Exactly 1 for equal shares.
  const double weight = static_cast<double>(mine * shard.world_size) / static_cast<double>(all);
  plan.rank_weights.push_back(shard.uneven == UnevenInputs::kExact ? 1.0 : weight);
}

}  // namespace

int64_t count_global_batches(int64_t size, int64_t global_size, bool keep_last) {
  return size / global_size + (keep_last && size % global_size != 0 ? 1 : 0);
}

int64_t count_rank_batches(int64_t size, int64_t global_size, bool keep_last,
                           const DataShard& shard) {
  const bool leaves_out = shard.uneven == UnevenInputs::kExact && size % global_size <= shard.rank;
  return count_global_batches(size, global_size, keep_last && !leaves_out);
}

EpochPlan plan_from_order(std::vector<int64_t> order, int64_t dataset_size, int64_t batch_size,
                          bool drop_last, const DataShard& shard) {
  check_indices(order, dataset_size);
  EpochPlan plan;
  const auto size = static_cast<int64_t>(order.size());
  const int64_t global_size = batch_size * shard.world_size;
  const bool keep_last = !drop_last && shard.uneven != UnevenInputs::kDrop;
  const int64_t count = count_global_batches(size, global_size, keep_last);
  plan.num_samples = size;
  for (int64_t n = 1; n <= count; ++n) plan.consumed.push_back(std::min(n * global_size, size));
  if (shard.uneven == UnevenInputs::kPad) {
    for (int64_t i = size; i < count * global_size; ++i) {
      order.push_back(order[static_cast<size_t>(i - size)]);
    }
  }
  const auto end = std::min(count * global_size, static_cast<int64_t>(order.size()));
  if (shard.world_size == 1) {
    for (int64_t n = 1; n <= count; ++n) plan.offsets.push_back(std::min(n * global_size, end));
    plan.order = std::move(order);
    return plan;
  }
  plan.order.reserve(static_cast<size_t>(count * batch_size));
  for (int64_t begin = 0; begin < end; begin += global_size) {
    const int64_t all = std::min(global_size, end - begin);
    const size_t before = plan.order.size();
    for (int64_t i = shard.rank; i < all; i += shard.world_size) {
      plan.order.push_back(order[static_cast<size_t>(begin + i)]);
    }
    close_batch(plan, before, all, order[static_cast<size_t>(begin)], shard);
  }
  return plan;
}

EpochPlan plan_from_batches(const std::vector<std::vector<int64_t>>& batches, int64_t dataset_size,
                            const DataShard& shard) {
  check_batches(batches, dataset_size);
  EpochPlan plan;
  for (const auto& batch : batches) plan.num_samples += static_cast<int64_t>(batch.size());
  const auto size = static_cast<int64_t>(batches.size());
  const bool keep_last = shard.uneven != UnevenInputs::kDrop;
  const int64_t count = count_global_batches(size, shard.world_size, keep_last);
  int64_t consumed = 0;
  for (int64_t n = 0; n < count; ++n) {
    int64_t all = 0;
    const size_t before = plan.order.size();
    for (int64_t rank = 0; rank < shard.world_size; ++rank) {
      const int64_t number = n * shard.world_size + rank;
      if (number >= size && shard.uneven != UnevenInputs::kPad) break;
      const auto& batch = batches[static_cast<size_t>(number % size)];
      const auto batch_size = static_cast<int64_t>(batch.size());
      all += batch_size;
      if (number < size) consumed += batch_size;
      if (rank == shard.rank) plan.order.insert(plan.order.end(), batch.begin(), batch.end());
    }
    plan.consumed.push_back(consumed);
    close_batch(plan, before, all, batches[static_cast<size_t>(n * shard.world_size)][0], shard);
  }
  return plan;
}

}  // namespace lightning::detail
