/// Data sets for the tests of DataLoader.
#pragma once

#include <chrono>
#include <optional>
#include <ostream>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <ATen/ATen.h>

#include <lightning/data/data_loader.h>
#include <lightning/util/random.h>

namespace lightning_tests {

/// What a batch of the data sets below held.
struct Seen {
  std::vector<int64_t> indices;
  std::vector<float> noise;
  int64_t batch_size = 0;
  double rank_weight = 1.0;
  bool operator==(const Seen&) const = default;
};

inline std::ostream& operator<<(std::ostream& out, const Seen& seen) {
  for (const int64_t index : seen.indices) out << index << ' ';
  return out << "(" << seen.batch_size << ", weight " << seen.rank_weight << ")";
}

inline Seen see(const lightning::Batch& batch) {
  Seen seen;
  seen.batch_size = batch.batch_size();
  seen.rank_weight = batch.rank_weight();
  for (int64_t i = 0; i < batch["index"].numel(); ++i) {
    seen.indices.push_back(batch["index"][i].item<int64_t>());
    seen.noise.push_back(batch["noise"][i].item<float>());
  }
  return seen;
}

inline std::vector<Seen> rest_of_epoch(lightning::BatchSource& loader) {
  std::vector<Seen> all;
  while (const auto batch = loader.next()) all.push_back(see(*batch));
  return all;
}

inline std::vector<int64_t> all_indices(const std::vector<Seen>& batches) {
  std::vector<int64_t> indices;
  for (const Seen& seen : batches) {
    indices.insert(indices.end(), seen.indices.begin(), seen.indices.end());
  }
  return indices;
}

/// Samples that hold their index and random noise; optionally slow (each by another time) and
/// failing at an index.
class NoisyDataset : public lightning::Dataset {
 public:
  explicit NoisyDataset(int64_t size) : size_(size) {}
  int64_t size() const override { return size_; }

  lightning::Batch get(int64_t index, lightning::SampleContext& context) override {
    if (index == failing_index) throw std::runtime_error("sample " + std::to_string(index));
    return {{"index", at::scalar_tensor(index, at::kLong)},
            {"noise", at::rand({}, context.generator())}};
  }

  lightning::Batch get_batch(std::span<const int64_t> indices,
                             std::span<lightning::SampleContext> contexts) override {
    if (max_sleep_us > 0) {
      lightning::Random random(static_cast<uint64_t>(indices[0]));
      const auto pause = static_cast<int64_t>(random.below(static_cast<uint64_t>(max_sleep_us)));
      std::this_thread::sleep_for(std::chrono::microseconds(pause));
    }
    return Dataset::get_batch(indices, contexts);
  }

  int64_t max_sleep_us = 0;
  int64_t failing_index = -1;

 private:
  int64_t size_;
};

/// A stream of `size` samples whose values depend on seed, epoch and position.
class NoisyStream : public lightning::IterableDataset {
 public:
  explicit NoisyStream(int64_t size, bool known_size = false)
      : size_(size), known_size_(known_size) {}

  void begin_epoch(int64_t epoch, uint64_t seed) override {
    epoch_ = epoch;
    seed_ = seed;
    position_ = 0;
  }
  std::optional<lightning::Batch> next() override {
    if (position_ == failing_position) throw std::runtime_error("stream");
    if (position_ == size_) return std::nullopt;
    lightning::SampleContext context(seed_, epoch_, position_);
    return lightning::Batch({{"index", at::scalar_tensor(position_++, at::kLong)},
                             {"noise", at::rand({}, context.generator())}});
  }
  std::optional<int64_t> size() const override {
    return known_size_ ? std::optional(size_) : std::nullopt;
  }
  lightning::StateDict state_dict() const override {
    lightning::StateDict state;
    state.set("position", position_);
    return state;
  }
  void load_state_dict(const lightning::StateDict& state) override {
    position_ = state.get<int64_t>("position");
  }

  int64_t failing_position = -1;

 private:
  int64_t size_;
  bool known_size_;
  int64_t epoch_ = 0;
  uint64_t seed_ = 0;
  int64_t position_ = 0;
};

}  // namespace lightning_tests
