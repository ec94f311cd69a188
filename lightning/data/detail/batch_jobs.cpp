#include <lightning/data/detail/batch_jobs.h>

#include <span>
#include <utility>

#include <c10/core/GradMode.h>

namespace lightning::detail {
namespace {

Batch finish(Batch batch, int64_t num_samples, double rank_weight, bool pin_memory) {
  if (batch.batch_size() == 0) batch.set_batch_size(num_samples);
  batch.set_rank_weight(rank_weight);
  return pin_memory ? batch.pin_memory() : std::move(batch);
}

}  // namespace

IndexedJob::IndexedJob(std::shared_ptr<Dataset> dataset, EpochPlan plan, bool pin_memory)
    : dataset_(std::move(dataset)), plan_(std::move(plan)), pin_memory_(pin_memory) {}

bool IndexedJob::make(int64_t number, LoadedBatch& loaded) {
  if (number >= plan_.num_batches()) return false;
  const c10::NoGradGuard no_grad;
  const auto n = static_cast<size_t>(number);
  const int64_t begin = plan_.offsets[n];
  const int64_t end = plan_.offsets[n + 1];
  const std::span<const int64_t> indices(plan_.order.data() + begin,
                                         static_cast<size_t>(end - begin));
  std::vector<SampleContext> contexts;
  contexts.reserve(indices.size());
  for (const int64_t index : indices) contexts.emplace_back(plan_.seed, plan_.epoch, index);
  const double weight = plan_.rank_weights.empty() ? 1.0 : plan_.rank_weights[n];
  loaded.batch = finish(dataset_->get_batch(indices, contexts), end - begin, weight, pin_memory_);
  loaded.samples_consumed = plan_.consumed[n + 1];
  return true;
}

StreamJob::StreamJob(std::shared_ptr<IterableDataset> dataset, StreamJobOptions options)
    : dataset_(std::move(dataset)), options_(options) {}

int64_t StreamJob::read_samples(int64_t wanted) {
  samples_.clear();
  while (static_cast<int64_t>(samples_.size()) < wanted) {
    std::optional<Batch> sample = dataset_->next();
    if (!sample) break;
    samples_.push_back(std::move(*sample));
  }
  return static_cast<int64_t>(samples_.size());
}

// Leaves this rank's samples of the global batch in samples_. The batch's rank_weight.
double StreamJob::take_share() {
  const DataShard& shard = options_.shard;
  const size_t all = samples_.size();
  std::vector<Batch> mine;
  for (auto i = static_cast<size_t>(shard.rank); i < all;
       i += static_cast<size_t>(shard.world_size)) {
    mine.push_back(std::move(samples_[i]));
  }
  const double weight = static_cast<double>(mine.size()) * static_cast<double>(shard.world_size) /
                        static_cast<double>(all);
  const bool exact = shard.uneven == UnevenInputs::kExact;
  if (mine.empty() && !exact) mine.push_back(std::move(samples_[0]));
  samples_ = std::move(mine);
  return exact ? 1.0 : weight;
}

bool StreamJob::make(int64_t /*number*/, LoadedBatch& loaded) {
  if (std::exchange(ended_, true)) return false;  // until this batch is whole
  const c10::NoGradGuard no_grad;
  const int64_t world_size = options_.shard.world_size;
  const bool shares = world_size > 1 && !options_.sharded_stream;
  const int64_t wanted = shares ? options_.batch_size * world_size : options_.batch_size;
  const int64_t num_read = read_samples(wanted);
  const UnevenInputs uneven = options_.shard.uneven;
  if (num_read == 0) return false;
  if (num_read < wanted && (options_.drop_last || uneven == UnevenInputs::kDrop)) return false;
  if (uneven == UnevenInputs::kPad) {
    for (int64_t i = num_read; i < wanted; ++i) {
      samples_.push_back(samples_[static_cast<size_t>(i - num_read)]);
    }
  }
  const double weight = shares ? take_share() : 1.0;
  if (samples_.empty()) return false;
  const auto num_samples = static_cast<int64_t>(samples_.size());
  loaded.batch =
      finish(dataset_->collate_batch(samples_), num_samples, weight, options_.pin_memory);
  options_.samples_consumed += shares ? num_read : num_read * world_size;
  loaded.samples_consumed = options_.samples_consumed;
  loaded.stream_state = dataset_->state_dict();
  ended_ = num_read < wanted;
  return true;
}

}  // namespace lightning::detail
