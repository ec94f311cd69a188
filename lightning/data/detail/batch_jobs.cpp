#include <lightning/data/detail/batch_jobs.h>

#include <algorithm>
#include <span>
#include <utility>

#include <c10/core/GradMode.h>

#include <lightning/util/error.h>

namespace lightning::detail {
namespace {

Batch finish(Batch batch, int64_t num_samples, bool pin_memory) {
  if (batch.batch_size() == 0) batch.set_batch_size(num_samples);
  return pin_memory ? batch.pin_memory() : std::move(batch);
}

}  // namespace

EpochPlan plan_from_order(std::vector<int64_t> order, int64_t batch_size, bool drop_last) {
  EpochPlan plan;
  plan.order = std::move(order);
  const auto size = static_cast<int64_t>(plan.order.size());
  for (int64_t begin = 0; begin < size; begin += batch_size) {
    if (drop_last && begin + batch_size > size) break;
    plan.offsets.push_back(std::min(begin + batch_size, size));
  }
  return plan;
}

EpochPlan plan_from_batches(const std::vector<std::vector<int64_t>>& batches) {
  EpochPlan plan;
  for (const auto& batch : batches) {
    LIGHTNING_CHECK(!batch.empty(), DataError, "DataLoader: batch ", plan.num_batches(),
                    " of the batch sampler is empty, at least one sample was expected.");
    plan.order.insert(plan.order.end(), batch.begin(), batch.end());
    plan.offsets.push_back(static_cast<int64_t>(plan.order.size()));
  }
  return plan;
}

void check_plan(const EpochPlan& plan, int64_t size) {
  for (const int64_t index : plan.order) {
    LIGHTNING_CHECK(index >= 0 && index < size, DataError, "DataLoader: the sampler gave index ",
                    index, ", the data set has ", size, " samples.");
  }
}

IndexedJob::IndexedJob(std::shared_ptr<Dataset> dataset, EpochPlan plan, bool pin_memory)
    : dataset_(std::move(dataset)), plan_(std::move(plan)), pin_memory_(pin_memory) {}

bool IndexedJob::make(int64_t number, LoadedBatch& loaded) {
  if (number >= plan_.num_batches()) return false;
  const c10::NoGradGuard no_grad;
  const int64_t begin = plan_.offsets[static_cast<size_t>(number)];
  const int64_t end = plan_.offsets[static_cast<size_t>(number) + 1];
  const std::span<const int64_t> indices(plan_.order.data() + begin,
                                         static_cast<size_t>(end - begin));
  std::vector<SampleContext> contexts;
  contexts.reserve(indices.size());
  for (const int64_t index : indices) contexts.emplace_back(plan_.seed, plan_.epoch, index);
  loaded.batch = finish(dataset_->get_batch(indices, contexts), end - begin, pin_memory_);
  loaded.samples_consumed = end;
  return true;
}

StreamJob::StreamJob(std::shared_ptr<IterableDataset> dataset, int64_t batch_size, bool drop_last,
                     int64_t samples_consumed, bool pin_memory)
    : dataset_(std::move(dataset)),
      batch_size_(batch_size),
      drop_last_(drop_last),
      samples_consumed_(samples_consumed),
      pin_memory_(pin_memory) {}

bool StreamJob::read_samples() {
  samples_.clear();
  while (static_cast<int64_t>(samples_.size()) < batch_size_) {
    std::optional<Batch> sample = dataset_->next();
    if (!sample) return !samples_.empty() && !drop_last_;
    samples_.push_back(std::move(*sample));
  }
  return true;
}

bool StreamJob::make(int64_t /*number*/, LoadedBatch& loaded) {
  if (std::exchange(ended_, true)) return false;  // until this batch is whole
  const c10::NoGradGuard no_grad;
  if (!read_samples()) return false;
  const auto num_samples = static_cast<int64_t>(samples_.size());
  loaded.batch = finish(dataset_->collate_batch(samples_), num_samples, pin_memory_);
  samples_consumed_ += num_samples;
  loaded.samples_consumed = samples_consumed_;
  loaded.stream_state = dataset_->state_dict();
  ended_ = num_samples < batch_size_;
  return true;
}

}  // namespace lightning::detail
