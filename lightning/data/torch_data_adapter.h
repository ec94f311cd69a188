/// Data sets written for torch::data, as data sets of this library. Includes torch's data headers,
/// so that lightning.h leaves it out.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include <torch/data/datasets/base.h>
#include <torch/data/datasets/map.h>
#include <torch/data/example.h>

#include <lightning/data/dataset.h>
#include <lightning/util/error.h>

namespace lightning {
namespace detail {

inline Batch batch_from_example(torch::data::Example<> example) {
  return Batch({{"data", std::move(example.data)}, {"target", std::move(example.target)}});
}

inline Batch batch_from_example(torch::data::TensorExample example) {
  return Batch({{"data", std::move(example.data)}});
}

template <typename TorchDataset>
class TorchDatasetAdapter : public Dataset {
 public:
  explicit TorchDatasetAdapter(TorchDataset dataset) : original_(std::move(dataset)) {
    const std::optional<size_t> size = original_.size();
    LIGHTNING_CHECK(size.has_value(), ConfigError,
                    "dataset_from_torch: the data set has no size, an indexed one was expected.");
    size_ = static_cast<int64_t>(*size);
  }

  int64_t size() const override { return size_; }

  Batch get_batch(std::span<const int64_t> indices, std::span<SampleContext>) override {
    const std::vector<size_t> request(indices.begin(), indices.end());
    std::unique_ptr<TorchDataset> copy = take_copy();
    auto examples = copy->get_batch(request);
    give_back(std::move(copy));
    return to_batch(std::move(examples), static_cast<int64_t>(indices.size()));
  }

 private:
  // torch's loader gives each of its workers a copy of the data set, so that get() needn't be safe
  // for several threads: here each call that runs at the same time as others has one.
  std::unique_ptr<TorchDataset> take_copy() {
    const std::lock_guard lock(mutex_);
    if (copies_.empty()) return std::make_unique<TorchDataset>(original_);
    std::unique_ptr<TorchDataset> copy = std::move(copies_.back());
    copies_.pop_back();
    return copy;
  }

  void give_back(std::unique_ptr<TorchDataset> copy) {
    const std::lock_guard lock(mutex_);
    copies_.push_back(std::move(copy));
  }

  template <typename Example>
  static Batch to_batch(std::vector<Example> examples, int64_t /*num_samples*/) {
    std::vector<Batch> samples;
    samples.reserve(examples.size());
    for (Example& example : examples) samples.push_back(batch_from_example(std::move(example)));
    return collate(samples);
  }

  // What `dataset.map(torch::data::transforms::Stack<>())` gives: already one batch.
  template <typename Data, typename Target>
  static Batch to_batch(torch::data::Example<Data, Target> stacked, int64_t num_samples) {
    Batch batch = batch_from_example(std::move(stacked));
    batch.set_batch_size(num_samples);
    return batch;
  }

  TorchDataset original_;
  int64_t size_ = 0;
  std::mutex mutex_;
  std::vector<std::unique_ptr<TorchDataset>> copies_;
};

}  // namespace detail

/// A torch data set of Example<> (or Example<Tensor, void>), stacked by a transform or not: batches
/// hold "data" and, where there is one, "target". The data set must be copyable; each worker uses a
/// copy. Its own randomness is torch's, not this library's. Throws ConfigError when it has no size.
template <typename TorchDataset>
std::shared_ptr<Dataset> dataset_from_torch(TorchDataset dataset) {
  return std::make_shared<detail::TorchDatasetAdapter<TorchDataset>>(std::move(dataset));
}

}  // namespace lightning
