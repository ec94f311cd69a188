/// The two kinds of epochs: batches of an indexed data set in a planned order, and batches of a
/// stream.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <lightning/data/dataset.h>
#include <lightning/data/detail/epoch_plan.h>
#include <lightning/data/detail/prefetcher.h>
#include <lightning/data/shard.h>

namespace lightning::detail {

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

struct StreamJobOptions {
  /// Samples per batch of this rank.
  int64_t batch_size = 1;
  bool drop_last = false;
  bool pin_memory = false;
  DataShard shard;
  /// The stream gives this rank's samples alone.
  bool sharded_stream = false;
  /// Of all ranks, before the first batch.
  int64_t samples_consumed = 0;
};

/// Reads on from where `dataset` is; each batch brings the stream's state after it.
class StreamJob : public BatchJob {
 public:
  StreamJob(std::shared_ptr<IterableDataset> dataset, StreamJobOptions options);
  bool make(int64_t number, LoadedBatch& loaded) override;

 private:
  int64_t read_samples(int64_t wanted);
  double take_share();

  std::shared_ptr<IterableDataset> dataset_;
  StreamJobOptions options_;
  bool ended_ = false;
  std::vector<Batch> samples_;
};

}  // namespace lightning::detail
