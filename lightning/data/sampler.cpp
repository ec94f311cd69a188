#include <lightning/data/sampler.h>

#include <algorithm>
#include <iterator>
#include <numeric>
#include <utility>

#include <lightning/util/error.h>
#include <lightning/util/random.h>

namespace lightning {
namespace {

std::vector<int64_t> ascending(int64_t size) {
  std::vector<int64_t> order(static_cast<size_t>(size));
  std::iota(order.begin(), order.end(), 0);
  return order;
}

std::vector<int64_t> permutation(int64_t size, Random& random) {
  std::vector<int64_t> order = ascending(size);
  random.shuffle(order);
  return order;
}

void check_size(const char* sampler, int64_t size) {
  LIGHTNING_CHECK(size >= 0, ConfigError, sampler, ": size is ", size, ", 0 or more was expected.");
}

}  // namespace

Sampler::~Sampler() = default;

SequentialSampler::SequentialSampler(int64_t size) : size_(size) {
  check_size("SequentialSampler", size);
}

std::vector<int64_t> SequentialSampler::order(int64_t /*epoch*/) const { return ascending(size_); }

RandomSampler::RandomSampler(int64_t size, uint64_t seed) : size_(size), seed_(seed) {
  check_size("RandomSampler", size);
}

std::vector<int64_t> RandomSampler::order(int64_t epoch) const {
  Random random(mix_seed(seed_, static_cast<uint64_t>(epoch)));
  return permutation(size_, random);
}

LengthGroupedSampler::LengthGroupedSampler(std::vector<int64_t> lengths,
                                           LengthGroupedSamplerOptions options)
    : lengths_(std::move(lengths)), options_(options) {
  LIGHTNING_CHECK(options_.group_size >= 1, ConfigError,
                  "LengthGroupedSampler: group_size must be >= 1, got ", options_.group_size, ".");
  LIGHTNING_CHECK(options_.chunk_size >= 1, ConfigError,
                  "LengthGroupedSampler: chunk_size must be >= 1, got ", options_.chunk_size, ".");
}

int64_t LengthGroupedSampler::size() const { return static_cast<int64_t>(lengths_.size()); }

std::vector<int64_t> LengthGroupedSampler::order(int64_t epoch) const {
  Random random(mix_seed(options_.seed, static_cast<uint64_t>(epoch)));
  std::vector<int64_t> sorted = permutation(size(), random);
  // Whole runs per group: a short run inside the epoch would move all later ones off the batches.
  const int64_t chunk = options_.chunk_size;
  const int64_t group = (options_.group_size + chunk - 1) / chunk * chunk;
  for (int64_t begin = 0; begin < size(); begin += group) {
    const auto first = sorted.begin() + begin;
    std::stable_sort(first, sorted.begin() + std::min(begin + group, size()),
                     [&](int64_t a, int64_t b) {
                       return lengths_[static_cast<size_t>(a)] > lengths_[static_cast<size_t>(b)];
                     });
  }
  std::vector<int64_t> order;
  order.reserve(sorted.size());
  for (const int64_t run : permutation(size() / chunk, random)) {
    const auto first = sorted.begin() + run * chunk;
    order.insert(order.end(), first, first + chunk);
  }
  order.insert(order.end(), sorted.begin() + size() / chunk * chunk, sorted.end());
  return order;
}

BatchSampler::BatchSampler(std::shared_ptr<Sampler> sampler, int64_t batch_size, bool drop_last)
    : sampler_(std::move(sampler)), batch_size_(batch_size), drop_last_(drop_last) {
  LIGHTNING_CHECK(sampler_ != nullptr, ConfigError, "BatchSampler: the sampler is null.");
  LIGHTNING_CHECK(batch_size_ >= 1, ConfigError, "BatchSampler: batch_size must be >= 1, got ",
                  batch_size_, ".");
}

BatchSampler::~BatchSampler() = default;

int64_t BatchSampler::num_batches(int64_t /*epoch*/) const {
  const int64_t full = sampler_->size() / batch_size_;
  return full + (!drop_last_ && sampler_->size() % batch_size_ != 0 ? 1 : 0);
}

std::vector<std::vector<int64_t>> BatchSampler::batches(int64_t epoch) const {
  const std::vector<int64_t> order = sampler_->order(epoch);
  std::vector<std::vector<int64_t>> result;
  result.reserve(static_cast<size_t>(num_batches(epoch)));
  const auto step = static_cast<size_t>(batch_size_);
  for (size_t begin = 0; begin < order.size(); begin += step) {
    const size_t end = std::min(begin + step, order.size());
    if (end - begin < step && drop_last_) break;
    result.emplace_back(order.begin() + static_cast<std::ptrdiff_t>(begin),
                        order.begin() + static_cast<std::ptrdiff_t>(end));
  }
  return result;
}

}  // namespace lightning
