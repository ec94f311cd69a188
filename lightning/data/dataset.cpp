#include <lightning/data/dataset.h>

#include <numeric>
#include <utility>

#include <ATen/CPUGeneratorImpl.h>

#include <lightning/util/error.h>
#include <lightning/util/random.h>

namespace lightning {

uint64_t SampleContext::seed() const {
  // Index 0 is moved away from 0, the third argument of a sampler's (seed, epoch).
  return mix_seed(seed_, static_cast<uint64_t>(epoch_), static_cast<uint64_t>(index_) + 1);
}

at::Generator& SampleContext::generator() {
  if (!generator_) generator_ = at::make_generator<at::CPUGeneratorImpl>(seed());
  return *generator_;
}

Dataset::~Dataset() = default;

Batch Dataset::get(int64_t /*index*/, SampleContext& /*context*/) {
  throw ConfigError(
      "Dataset: get() is not implemented by this dataset. HINT: override get(), or get_batch() if "
      "only whole batches are requested.");
}

Batch Dataset::get_batch(std::span<const int64_t> indices, std::span<SampleContext> contexts) {
  std::vector<Batch> samples;
  samples.reserve(indices.size());
  for (size_t i = 0; i < indices.size(); ++i) samples.push_back(get(indices[i], contexts[i]));
  return collate(samples);
}

IterableDataset::~IterableDataset() = default;

Subset::Subset(std::shared_ptr<Dataset> dataset, std::vector<int64_t> indices)
    : dataset_(std::move(dataset)), indices_(std::move(indices)) {
  LIGHTNING_CHECK(dataset_ != nullptr, ConfigError, "Subset: the data set is null.");
  const int64_t whole = dataset_->size();
  for (const int64_t index : indices_) {
    LIGHTNING_CHECK(index >= 0 && index < whole, ConfigError, "Subset: index ", index,
                    " lies outside the data set of ", whole, " samples.");
  }
}

int64_t Subset::size() const { return static_cast<int64_t>(indices_.size()); }

Batch Subset::get(int64_t index, SampleContext& context) {
  LIGHTNING_CHECK(index >= 0 && index < size(), DataError, "Subset: no sample ", index,
                  ", there are ", size(), ".");
  return dataset_->get(indices_[static_cast<size_t>(index)], context);
}

Batch Subset::get_batch(std::span<const int64_t> indices, std::span<SampleContext> contexts) {
  std::vector<int64_t> inner;
  inner.reserve(indices.size());
  for (const int64_t index : indices) {
    LIGHTNING_CHECK(index >= 0 && index < size(), DataError, "Subset: no sample ", index,
                    ", there are ", size(), ".");
    inner.push_back(indices_[static_cast<size_t>(index)]);
  }
  return dataset_->get_batch(inner, contexts);
}

std::vector<std::shared_ptr<Dataset>> random_split(const std::shared_ptr<Dataset>& dataset,
                                                   const std::vector<int64_t>& sizes,
                                                   uint64_t seed) {
  LIGHTNING_CHECK(dataset != nullptr, ConfigError, "random_split: the data set is null.");
  const int64_t whole = dataset->size();
  int64_t sum = 0;
  for (const int64_t size : sizes) {
    LIGHTNING_CHECK(size >= 0, ConfigError, "random_split: size ", size, " is negative.");
    sum += size;
  }
  LIGHTNING_CHECK(sum == whole, ConfigError, "random_split: the sizes add up to ", sum,
                  ", the data set has ", whole, " samples.");
  std::vector<int64_t> order(static_cast<size_t>(whole));
  std::iota(order.begin(), order.end(), 0);
  Random(seed).shuffle(order);
  std::vector<std::shared_ptr<Dataset>> parts;
  auto begin = order.begin();
  for (const int64_t size : sizes) {
    parts.push_back(std::make_shared<Subset>(dataset, std::vector<int64_t>(begin, begin + size)));
    begin += size;
  }
  return parts;
}

}  // namespace lightning
