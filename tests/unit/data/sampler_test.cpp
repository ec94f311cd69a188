#include <lightning/data/sampler.h>

#include <algorithm>
#include <numeric>

#include <catch2/catch.hpp>

#include <lightning/util/error.h>
#include <lightning/util/random.h>

#include "unit/data/golden.h"

using namespace lightning;
using lightning_tests::golden;

namespace {

bool is_permutation_of_all(std::vector<int64_t> order, int64_t size) {
  std::sort(order.begin(), order.end());
  std::vector<int64_t> all(static_cast<size_t>(size));
  std::iota(all.begin(), all.end(), 0);
  return order == all;
}

// Lengths spread like those of text: most short, some long.
std::vector<int64_t> text_lengths(int64_t size) {
  Random random(11);
  std::vector<int64_t> lengths;
  for (int64_t i = 0; i < size; ++i) {
    const double x = random.uniform();
    lengths.push_back(20 + static_cast<int64_t>(480 * x * x * x));
  }
  return lengths;
}

// Tokens in batches that are padded to their longest sample.
int64_t padded_total(const std::vector<int64_t>& order, const std::vector<int64_t>& lengths,
                     size_t batch_size) {
  int64_t total = 0;
  for (size_t begin = 0; begin < order.size(); begin += batch_size) {
    const size_t end = std::min(begin + batch_size, order.size());
    int64_t longest = 0;
    for (size_t i = begin; i < end; ++i) {
      longest = std::max(longest, lengths[static_cast<size_t>(order[i])]);
    }
    total += longest * static_cast<int64_t>(end - begin);
  }
  return total;
}

}  // namespace

TEST_CASE("Samplers give permutations, also of nothing and of odd sizes", "[sampler]") {
  for (const int64_t size : {0, 1, 2, 15, 16, 17, 801, 1000}) {
    const SequentialSampler sequential(size);
    const RandomSampler random(size, 3);
    const LengthGroupedSampler grouped(text_lengths(size), {.seed = 3, .group_size = 50});
    for (const int64_t epoch : {0, 1, 2}) {
      CHECK(is_permutation_of_all(sequential.order(epoch), size));
      CHECK(is_permutation_of_all(random.order(epoch), size));
      CHECK(is_permutation_of_all(grouped.order(epoch), size));
    }
    CHECK(sequential.size() == size);
    CHECK(random.size() == size);
    CHECK(grouped.size() == size);
  }
}

TEST_CASE("SequentialSampler counts up", "[sampler]") {
  CHECK(SequentialSampler(4).order(9) == std::vector<int64_t>{0, 1, 2, 3});
}

TEST_CASE("RandomSampler gives the golden orders", "[sampler]") {
  CHECK(RandomSampler(1, 0).order(0) == golden("random size=1 seed=0 epoch=0"));
  CHECK(RandomSampler(10, 0).order(0) == golden("random size=10 seed=0 epoch=0"));
  CHECK(RandomSampler(10, 0).order(1) == golden("random size=10 seed=0 epoch=1"));
  CHECK(RandomSampler(10, 1).order(0) == golden("random size=10 seed=1 epoch=0"));
  CHECK(RandomSampler(1000, 42).order(3) == golden("random size=1000 seed=42 epoch=3"));
}

TEST_CASE("LengthGroupedSampler gives the golden orders", "[sampler]") {
  std::vector<int64_t> lengths;
  for (int64_t i = 0; i < 50; ++i) lengths.push_back((i * i * 7 + 3) % 97);
  const LengthGroupedSampler sampler(lengths, {.seed = 3, .group_size = 14, .chunk_size = 4});
  CHECK(sampler.order(0) == golden("length grouped epoch=0"));
  CHECK(sampler.order(1) == golden("length grouped epoch=1"));
}

TEST_CASE("LengthGroupedSampler saves most of the padding and stays random", "[sampler]") {
  const std::vector<int64_t> lengths = text_lengths(4000);
  const int64_t tokens = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  const LengthGroupedSampler grouped(lengths, {.seed = 1});
  const RandomSampler random(4000, 1);
  for (const size_t batch_size : {4, 8, 16}) {
    const int64_t wasted = padded_total(grouped.order(0), lengths, batch_size) - tokens;
    const int64_t wasted_at_random = padded_total(random.order(0), lengths, batch_size) - tokens;
    CHECK(wasted * 10 < wasted_at_random);
  }
  CHECK(grouped.order(0) != grouped.order(1));
  // Batches of long and of short samples come mixed: each half of the epoch has about half of all.
  const std::vector<int64_t> order = grouped.order(0);
  int64_t first_half = 0;
  for (size_t i = 0; i < 2000; ++i) first_half += lengths[static_cast<size_t>(order[i])];
  CHECK(first_half > tokens * 2 / 5);
  CHECK(first_half < tokens * 3 / 5);
}

TEST_CASE("BatchSampler cuts the order into batches", "[sampler]") {
  const auto seven = std::make_shared<SequentialSampler>(7);
  const BatchSampler all(seven, 3);
  CHECK(all.num_batches(0) == 3);
  CHECK(all.batches(0) == std::vector<std::vector<int64_t>>{{0, 1, 2}, {3, 4, 5}, {6}});
  const BatchSampler full(seven, 3, /*drop_last=*/true);
  CHECK(full.num_batches(0) == 2);
  CHECK(full.batches(0) == std::vector<std::vector<int64_t>>{{0, 1, 2}, {3, 4, 5}});
  CHECK(BatchSampler(std::make_shared<SequentialSampler>(0), 3).batches(0).empty());
  CHECK(BatchSampler(std::make_shared<SequentialSampler>(6), 3, true).batches(0).size() == 2);
}

TEST_CASE("Samplers refuse options that can't be", "[sampler]") {
  CHECK_THROWS_AS(SequentialSampler(-1), ConfigError);
  CHECK_THROWS_AS(RandomSampler(-1, 0), ConfigError);
  CHECK_THROWS_AS(LengthGroupedSampler({1}, {.group_size = 0}), ConfigError);
  CHECK_THROWS_AS(LengthGroupedSampler({1}, {.chunk_size = 0}), ConfigError);
  CHECK_THROWS_AS(BatchSampler(nullptr, 1), ConfigError);
  CHECK_THROWS_AS(BatchSampler(std::make_shared<SequentialSampler>(1), 0), ConfigError);
}
