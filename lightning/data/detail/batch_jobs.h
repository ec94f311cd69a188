/// The two kinds of epochs: batches of an indexed data set in a planned order, and batches of a
/// stream.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <lightning/data/dataset.h>
#include <lightning/data/detail/prefetcher.h>

namespace lightning::detail {

/// The order of an epoch: batch n holds order[offsets[n]] to order[offsets[n + 1] - 1].
struct EpochPlan {
  uint64_t seed = 0;
  int64_t epoch = 0;
  std::vector<int64_t> order;
  std::vector<int64_t> offsets = {0};

  int64_t num_batches() const { return static_cast<int64_t>(offsets.size()) - 1; }
};

EpochPlan plan_from_order(std::vector<int64_t> order, int64_t batch_size, bool drop_last);
/// DataError for an empty batch.
EpochPlan plan_from_batches(const std::vector<std::vector<int64_t>>& batches);
/// DataError when an index lies outside of a data set of `size` samples.
void check_plan(const EpochPlan& plan, int64_t size);

class IndexedJob : public BatchJob {
 public:
  IndexedJob(std::shared_ptr<Dataset> dataset, EpochPlan plan, bool pin_memory);
  bool make(int64_t number, LoadedBatch& loaded) override;
  const EpochPlan& plan() const { return plan_; }

 private:
  std::shared_ptr<Dataset> dataset_;
  EpochPlan plan_;
  bool pin_memory_;
};

/// Reads on from where `dataset` is; each batch brings the stream's state after it.
class StreamJob : public BatchJob {
 public:
  StreamJob(std::shared_ptr<IterableDataset> dataset, int64_t batch_size, bool drop_last,
            int64_t samples_consumed, bool pin_memory);
  bool make(int64_t number, LoadedBatch& loaded) override;

 private:
  bool read_samples();

  std::shared_ptr<IterableDataset> dataset_;
  int64_t batch_size_;
  bool drop_last_;
  int64_t samples_consumed_;
  bool pin_memory_;
  bool ended_ = false;
  std::vector<Batch> samples_;
};

}  // namespace lightning::detail
