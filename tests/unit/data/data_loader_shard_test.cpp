// DataLoader on several ranks: which samples each of them gets, and with what weight.
#include <algorithm>
#include <functional>
#include <map>
#include <numeric>

#include <catch2/catch.hpp>

#include <lightning/data/data_loader.h>
#include <lightning/util/error.h>

#include "unit/data/loader_support.h"

using Catch::Matchers::Contains;
using namespace lightning;
using namespace lightning_tests;

namespace {

using Ids = std::vector<int64_t>;
using LoaderPtr = std::shared_ptr<DataLoader>;
constexpr UnevenInputs kModes[] = {UnevenInputs::kDrop, UnevenInputs::kPad, UnevenInputs::kJoin,
                                   UnevenInputs::kExact};

LoaderPtr sequential(int64_t size, DataLoaderOptions options) {
  return std::make_shared<DataLoader>(std::make_shared<NoisyDataset>(size), options);
}

LoaderPtr streaming(int64_t size, DataLoaderOptions options) {
  return std::make_shared<DataLoader>(std::make_shared<NoisyStream>(size), options);
}

std::vector<Seen> epoch_of_rank(DataLoader& loader, const DataShard& shard, int64_t epoch = 0) {
  loader.set_shard(shard);
  loader.begin_epoch(epoch);
  return rest_of_epoch(loader);
}

/// What each rank gets in an epoch, from loaders made alike.
std::vector<std::vector<Seen>> epoch_of_ranks(const std::function<LoaderPtr()>& make,
                                              int64_t world_size, UnevenInputs uneven,
                                              int64_t epoch = 0) {
  std::vector<std::vector<Seen>> ranks;
  for (int64_t rank = 0; rank < world_size; ++rank) {
    ranks.push_back(
        epoch_of_rank(*make(), {.rank = rank, .world_size = world_size, .uneven = uneven}, epoch));
  }
  return ranks;
}

/// Whether a loader that has no shard of its own knows what another rank gets.
void check_shard_size(const DataLoader& loader, const DataShard& shard,
                      const std::vector<Seen>& batches) {
  const auto samples_of = [&](size_t count) {
    int64_t samples = 0;
    for (size_t n = 0; n < std::min(count, batches.size()); ++n) {
      if (batches[n].rank_weight != 0) samples += static_cast<int64_t>(batches[n].indices.size());
    }
    return samples;
  };
  const auto whole = loader.shard_size(shard);
  REQUIRE(whole);
  CHECK(whole->batches == static_cast<int64_t>(batches.size()));
  CHECK(whole->samples == samples_of(batches.size()));
  const auto limited = loader.shard_size(shard, 1);
  CHECK(limited->batches == static_cast<int64_t>(std::min<size_t>(1, batches.size())));
  CHECK(limited->samples == samples_of(1));
}

/// The order that the ranks' samples came from, without those of fillers.
Ids joined_order(const std::vector<std::vector<Seen>>& ranks) {
  Ids order;
  for (size_t n = 0; n < ranks[0].size(); ++n) {
    for (size_t i = 0; i < ranks[0][n].indices.size(); ++i) {
      for (const auto& batches : ranks) {
        if (n >= batches.size() || batches[n].rank_weight == 0) continue;
        if (i < batches[n].indices.size()) order.push_back(batches[n].indices[i]);
      }
    }
  }
  return order;
}

Ids ids_of(const std::vector<Seen>& batches) { return all_indices(batches); }

double mean(const Ids& ids) {
  return static_cast<double>(std::accumulate(ids.begin(), ids.end(), int64_t{0})) /
         static_cast<double>(ids.size());
}

/// What rank `rank` should get of the samples 0 to size - 1, by the definition of each mode.
std::vector<Seen> expected(int64_t size, int64_t batch_size, const DataShard& shard) {
  std::vector<Seen> batches;
  const int64_t global = batch_size * shard.world_size;
  for (int64_t begin = 0; begin < size; begin += global) {
    Ids all;
    for (int64_t i = begin; i < begin + global; ++i) {
      if (i < size) all.push_back(i);
      if (i >= size && shard.uneven == UnevenInputs::kPad) all.push_back(i % size);
    }
    const auto count = static_cast<int64_t>(all.size());
    if (count < global && shard.uneven == UnevenInputs::kDrop) break;
    Seen mine;
    for (int64_t i = 0; i < count; ++i) {
      if (i % shard.world_size == shard.rank) mine.indices.push_back(all[static_cast<size_t>(i)]);
    }
    if (mine.indices.empty() && shard.uneven == UnevenInputs::kExact) break;
    if (shard.uneven == UnevenInputs::kJoin) {
      mine.rank_weight = static_cast<double>(mine.indices.size()) *
                         static_cast<double>(shard.world_size) / static_cast<double>(count);
    }
    if (mine.indices.empty()) mine.indices.push_back(begin);
    mine.batch_size = static_cast<int64_t>(mine.indices.size());
    batches.push_back(mine);
  }
  return batches;
}

std::vector<Seen> without_noise(std::vector<Seen> batches) {
  for (Seen& seen : batches) seen.noise.clear();
  return batches;
}

/// A stream that gives its rank's samples alone.
class ShardedStream : public NoisyStream {
 public:
  using NoisyStream::NoisyStream;
  bool shard(int64_t rank, int64_t world_size) override {
    rank_ = rank;
    world_size_ = world_size;
    return true;
  }
  std::optional<Batch> next() override {
    for (int64_t skipped = 0; skipped < rank_; ++skipped) NoisyStream::next();
    std::optional<Batch> sample = NoisyStream::next();
    for (int64_t skipped = rank_ + 1; skipped < world_size_; ++skipped) NoisyStream::next();
    return sample;
  }

 private:
  int64_t rank_ = 0;
  int64_t world_size_ = 1;
};

}  // namespace

TEST_CASE("DataLoader gives rank r what DistributedSampler gives it, full batches of order[r::W]",
          "[data_loader][shard]") {
  const Ids order = RandomSampler(24, 3).order(2);
  for (const int64_t world_size : {1, 2, 3, 4}) {
    const auto make = [] { return sequential(24, {.batch_size = 2, .shuffle = true, .seed = 3}); };
    const auto ranks = epoch_of_ranks(make, world_size, UnevenInputs::kJoin, 2);
    for (int64_t rank = 0; rank < world_size; ++rank) {
      Ids strided;
      for (int64_t i = rank; i < 24; i += world_size) {
        strided.push_back(order[static_cast<size_t>(i)]);
      }
      CHECK(ids_of(ranks[static_cast<size_t>(rank)]) == strided);
      for (const Seen& seen : ranks[static_cast<size_t>(rank)]) {
        CHECK(seen.indices.size() == 2);
        CHECK(seen.rank_weight == 1.0);
      }
    }
  }
}

TEST_CASE(
    "DataLoader's samples and their order depend on no number of ranks, workers or batch size",
    "[data_loader][shard]") {
  Ids lengths;
  for (int64_t i = 0; i < 37; ++i) lengths.push_back((i * 7) % 11);
  const auto grouped = std::make_shared<LengthGroupedSampler>(
      lengths, LengthGroupedSamplerOptions{.seed = 9, .group_size = 12, .chunk_size = 4});
  for (const bool groups : {false, true}) {
    const Ids order = groups ? grouped->order(1) : RandomSampler(37, 5).order(1);
    std::map<int64_t, float> noise_of;
    for (const int64_t world_size : {1, 2, 3, 4}) {
      for (const int64_t batch_size : {1, 2, 5}) {
        for (const int64_t num_workers : {0, 3}) {
          const DataLoaderOptions options{
              .batch_size = batch_size, .shuffle = !groups, .num_workers = num_workers, .seed = 5};
          const auto make = [&] {
            const auto dataset = std::make_shared<NoisyDataset>(37);
            dataset->max_sleep_us = 100;
            return groups ? std::make_shared<DataLoader>(dataset, grouped, options)
                          : std::make_shared<DataLoader>(dataset, options);
          };
          const auto ranks = epoch_of_ranks(make, world_size, UnevenInputs::kJoin, 1);
          CHECK(joined_order(ranks) == order);
          for (const auto& batches : ranks) {
            for (const Seen& seen : batches) {
              for (size_t i = 0; i < seen.indices.size(); ++i) {
                const auto [entry, added] = noise_of.emplace(seen.indices[i], seen.noise[i]);
                CHECK(entry->second == seen.noise[i]);
              }
            }
          }
        }
      }
    }
    CHECK(noise_of.size() == 37);
  }
}

TEST_CASE("DataLoader ends uneven epochs as each mode says", "[data_loader][shard]") {
  for (const UnevenInputs uneven : kModes) {
    for (const int64_t world_size : {1, 2, 3, 4}) {
      for (const int64_t batch_size : {1, 2, 3}) {
        for (int64_t size = 1; size <= 26; ++size) {
          std::optional<int64_t> num_batches;
          for (int64_t rank = 0; rank < world_size; ++rank) {
            const DataShard shard{.rank = rank, .world_size = world_size, .uneven = uneven};
            const LoaderPtr loader = sequential(size, {.batch_size = batch_size});
            loader->set_shard(shard);
            const std::optional<int64_t> before = loader->num_batches();
            const std::optional<int64_t> mine_before = loader->num_rank_batches();
            const auto batches = without_noise(epoch_of_rank(*loader, shard));
            INFO("size " << size << ", batch " << batch_size << ", rank " << rank << " of "
                         << world_size);
            CHECK(batches == expected(size, batch_size, shard));
            CHECK(loader->exhausted());
            if (!num_batches) num_batches = before;
            CHECK(before == num_batches);
            CHECK(loader->num_batches() == num_batches);
            CHECK(mine_before == static_cast<int64_t>(batches.size()));
            CHECK(loader->num_rank_batches() == mine_before);
            if (uneven != UnevenInputs::kExact) CHECK(mine_before == num_batches);
            check_shard_size(*sequential(size, {.batch_size = batch_size}), shard, batches);
          }
        }
      }
    }
  }
}

TEST_CASE("DataLoader's rank weights make the mean over ranks that of one process",
          "[data_loader][shard]") {
  for (const int64_t world_size : {2, 3, 4}) {
    for (const int64_t size : {9, 10, 13, 24, 25}) {
      const int64_t global = 2 * world_size;
      const LoaderPtr alone = sequential(size, {.batch_size = global, .shuffle = true, .seed = 1});
      const auto whole = epoch_of_rank(*alone, {});
      const auto make = [&] {
        return sequential(size, {.global_batch_size = global, .shuffle = true, .seed = 1});
      };
      const auto ranks = epoch_of_ranks(make, world_size, UnevenInputs::kJoin);
      for (size_t n = 0; n < whole.size(); ++n) {
        double sum = 0;
        for (const auto& batches : ranks) {
          REQUIRE(batches.size() == whole.size());
          sum += batches[n].rank_weight * mean(batches[n].indices);
        }
        CHECK(sum / static_cast<double>(world_size) == Approx(mean(whole[n].indices)));
      }
    }
  }
}

TEST_CASE("DataLoader ends a ragged epoch: an example", "[data_loader][shard]") {
  // 9 samples, 4 ranks, 2 samples each: the last global batch has one.
  const auto last = [](UnevenInputs uneven, int64_t rank) {
    const LoaderPtr loader = sequential(9, {.batch_size = 2});
    return epoch_of_rank(*loader, {.rank = rank, .world_size = 4, .uneven = uneven}).back();
  };
  CHECK(last(UnevenInputs::kDrop, 1).indices == Ids{1, 5});
  CHECK(last(UnevenInputs::kPad, 0).indices == Ids{8, 3});
  CHECK(last(UnevenInputs::kPad, 1).indices == Ids{0, 4});
  CHECK(last(UnevenInputs::kPad, 1).rank_weight == 1.0);
  CHECK(last(UnevenInputs::kJoin, 0).indices == Ids{8});
  CHECK(last(UnevenInputs::kJoin, 0).rank_weight == 4.0);
  CHECK(last(UnevenInputs::kJoin, 3).indices == Ids{8});
  CHECK(last(UnevenInputs::kJoin, 3).rank_weight == 0.0);
  CHECK(last(UnevenInputs::kExact, 0).indices == Ids{8});
  CHECK(last(UnevenInputs::kExact, 0).rank_weight == 1.0);
  CHECK(last(UnevenInputs::kExact, 3).indices == Ids{3, 7});
  const LoaderPtr loader = sequential(9, {.batch_size = 2});
  loader->set_shard({.rank = 3, .world_size = 4});
  std::vector<bool> fillers;
  while (const auto batch = loader->next()) fillers.push_back(batch->is_padding());
  CHECK(fillers == std::vector<bool>{false, true});
}

TEST_CASE("DataLoader pads a data set smaller than its global batch", "[data_loader][shard]") {
  const auto make = [] { return sequential(3, {.batch_size = 2}); };
  CHECK(joined_order(epoch_of_ranks(make, 4, UnevenInputs::kPad)) == Ids{0, 1, 2, 0, 1, 2, 0, 1});
}

TEST_CASE("DataLoader drops the last global batch with drop_last, whatever the mode",
          "[data_loader][shard]") {
  for (const UnevenInputs uneven : kModes) {
    for (const bool streams : {false, true}) {
      const auto make = [&] {
        return streams ? streaming(11, {.batch_size = 2, .drop_last = true})
                       : sequential(11, {.batch_size = 2, .drop_last = true});
      };
      const auto ranks = epoch_of_ranks(make, 2, uneven);
      CHECK(ids_of(ranks[0]) == Ids{0, 2, 4, 6});
      CHECK(ids_of(ranks[1]) == Ids{1, 3, 5, 7});
    }
  }
}

TEST_CASE("DataLoader shares a stream as it shares a data set", "[data_loader][shard]") {
  for (const UnevenInputs uneven : kModes) {
    for (const int64_t world_size : {1, 2, 3, 4}) {
      for (const int64_t num_workers : {0, 1}) {
        for (int64_t size = 1; size <= 17; ++size) {
          for (int64_t rank = 0; rank < world_size; ++rank) {
            const DataShard shard{.rank = rank, .world_size = world_size, .uneven = uneven};
            const LoaderPtr loader = streaming(size, {.batch_size = 2, .num_workers = num_workers});
            loader->set_shard(shard);
            auto wanted = expected(size, 2, shard);
            // Of a stream the samples of the ragged batch itself are repeated.
            const int64_t ragged = size % (2 * world_size);
            if (uneven == UnevenInputs::kPad && ragged != 0) {
              for (int64_t i = 0; i < 2; ++i) {
                const int64_t position = i * world_size + rank;
                wanted.back().indices[static_cast<size_t>(i)] = size - ragged + position % ragged;
              }
            }
            CHECK(without_noise(epoch_of_rank(*loader, shard)) == wanted);
            CHECK(loader->exhausted());
          }
        }
      }
    }
  }
  DataLoader known(std::make_shared<NoisyStream>(9, true), {.batch_size = 2});
  known.set_shard({.rank = 1, .world_size = 4, .uneven = UnevenInputs::kExact});
  CHECK(known.num_batches() == 2);
  CHECK(known.num_rank_batches() == 1);
  DataLoader unknown(std::make_shared<NoisyStream>(9), {.batch_size = 2});
  unknown.set_shard({.rank = 1, .world_size = 4});
  CHECK_FALSE(unknown.num_batches().has_value());
  CHECK_FALSE(unknown.num_rank_batches().has_value());
}

TEST_CASE("DataLoader takes a stream's own share as it is", "[data_loader][shard]") {
  const auto make = [] {
    return std::make_shared<DataLoader>(std::make_shared<ShardedStream>(12, true),
                                        DataLoaderOptions{.batch_size = 2});
  };
  const auto ranks = epoch_of_ranks(make, 3, UnevenInputs::kJoin);
  CHECK(joined_order(ranks) == Ids{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11});
  CHECK(ids_of(ranks[1]) == Ids{1, 4, 7, 10});
  const LoaderPtr loader = make();
  loader->set_shard({.rank = 1, .world_size = 3});
  CHECK(loader->num_batches() == 2);
  loader->next();
  CHECK(loader->state_dict().get<int64_t>("samples_consumed") == 6);
  CHECK_THROWS_WITH(make()->set_shard({.rank = 0, .world_size = 5}),
                    Contains("12 samples") && Contains("5 ranks") && Contains("HINT"));
  const auto uneven = epoch_of_ranks(make, 5, UnevenInputs::kExact);
  CHECK(ids_of(uneven[1]) == Ids{1, 6, 11});
  CHECK(ids_of(uneven[2]) == Ids{2, 7});
}

TEST_CASE("DataLoader gives each rank whole batches of a batch sampler", "[data_loader][shard]") {
  const auto make = [] {
    return std::make_shared<DataLoader>(
        std::make_shared<NoisyDataset>(13),
        std::make_shared<BatchSampler>(std::make_shared<SequentialSampler>(13), 3),
        DataLoaderOptions{});
  };
  // Batches 012 345 678 9,10,11 12.
  const auto join = epoch_of_ranks(make, 3, UnevenInputs::kJoin);
  CHECK(ids_of(join[0]) == Ids{0, 1, 2, 9, 10, 11});
  CHECK(ids_of(join[1]) == Ids{3, 4, 5, 12});
  CHECK(ids_of(join[2]) == Ids{6, 7, 8, 9});
  CHECK(join[0][0].rank_weight == 1.0);
  CHECK(join[0][1].rank_weight == Approx(9.0 / 4.0));
  CHECK(join[1][1].rank_weight == Approx(3.0 / 4.0));
  CHECK(join[2][1].rank_weight == 0.0);
  const auto drop = epoch_of_ranks(make, 3, UnevenInputs::kDrop);
  CHECK(ids_of(drop[1]) == Ids{3, 4, 5});
  const auto pad = epoch_of_ranks(make, 3, UnevenInputs::kPad);
  CHECK(ids_of(pad[2]) == Ids{6, 7, 8, 0, 1, 2});
  const auto exact = epoch_of_ranks(make, 3, UnevenInputs::kExact);
  CHECK(ids_of(exact[1]) == Ids{3, 4, 5, 12});
  CHECK(ids_of(exact[2]) == Ids{6, 7, 8});
  for (const UnevenInputs uneven : kModes) {
    const LoaderPtr loader = make();
    loader->set_shard({.rank = 2, .world_size = 3, .uneven = uneven});
    CHECK(loader->num_batches() == (uneven == UnevenInputs::kDrop ? 1 : 2));
    const auto mine = loader->num_rank_batches();
    loader->begin_epoch(0);
    CHECK(loader->num_batches() == (uneven == UnevenInputs::kDrop ? 1 : 2));
    CHECK(static_cast<int64_t>(rest_of_epoch(*loader).size()) == mine);
  }
  const auto size = make()->shard_size({.rank = 1, .world_size = 3});
  REQUIRE(size);
  CHECK(size->batches == 2);
  CHECK(size->samples == 4);
  CHECK(size->samples_all_ranks == 13);
}

TEST_CASE("DataLoader knows what all ranks get of an epoch's first batches",
          "[data_loader][shard]") {
  const LoaderPtr loader = sequential(44, {.global_batch_size = 12});
  const DataShard last{.rank = 3, .world_size = 4};
  CHECK(loader->shard_size(last)->samples_all_ranks == 44);
  CHECK(loader->shard_size(last)->samples == 11);
  CHECK(loader->shard_size(last, 2)->samples_all_ranks == 24);
  CHECK(loader->shard_size(last, 9)->samples_all_ranks == 44);
  CHECK_THROWS_WITH(loader->shard_size({.rank = 0, .world_size = 5}), Contains("the 5 ranks"));
  CHECK_FALSE(streaming(44, {.batch_size = 3})->shard_size(last));
}

TEST_CASE("DataLoader divides global_batch_size among the ranks", "[data_loader][shard]") {
  const LoaderPtr loader = sequential(24, {.global_batch_size = 12});
  CHECK(loader->batch_size() == 12);
  CHECK(loader->num_batches() == 2);
  for (const int64_t world_size : {1, 2, 3, 4}) {
    loader->set_shard({.rank = 0, .world_size = world_size});
    CHECK(loader->batch_size() == 12 / world_size);
    CHECK(loader->num_batches() == 2);
  }
  CHECK_THROWS_AS(loader->set_shard({.rank = 0, .world_size = 5}), ConfigError);
  CHECK_THROWS_WITH(
      loader->set_shard({.rank = 0, .world_size = 5}),
      Contains("global_batch_size is 12") && Contains("5 ranks") && Contains("HINT: set it to 15"));
  CHECK(loader->shard().world_size == 4);
  CHECK_THROWS_WITH(sequential(4, {.batch_size = 2, .global_batch_size = 4}),
                    Contains("batch_size is 2") && Contains("global_batch_size is 4"));
  CHECK_THROWS_AS(sequential(4, {.global_batch_size = 0}), ConfigError);
  const auto batches = std::make_shared<BatchSampler>(std::make_shared<SequentialSampler>(4), 2);
  CHECK_THROWS_AS(DataLoader(std::make_shared<NoisyDataset>(4), batches, {.global_batch_size = 2}),
                  ConfigError);
}

TEST_CASE("DataLoader keeps its position when it gets its shard", "[data_loader][shard]") {
  for (const bool streams : {false, true}) {
    const auto make = [&] {
      return streams ? streaming(24, {.global_batch_size = 4, .num_workers = 1})
                     : sequential(24, {.global_batch_size = 4, .num_workers = 2});
    };
    const LoaderPtr loader = make();
    CHECK(see(*loader->next()).indices == Ids{0, 1, 2, 3});
    CHECK(see(*loader->next()).indices == Ids{4, 5, 6, 7});
    loader->set_shard({.rank = 1, .world_size = 2});
    CHECK(see(*loader->next()).indices == Ids{9, 11});
    loader->set_shard({.rank = 1, .world_size = 2});
    CHECK(see(*loader->next()).indices == Ids{13, 15});
  }
}

TEST_CASE("DataLoader refuses ranks that can't be", "[data_loader][shard]") {
  const LoaderPtr loader = sequential(4, {});
  CHECK_THROWS_AS(loader->set_shard({.rank = 0, .world_size = 0}), ConfigError);
  CHECK_THROWS_AS(loader->set_shard({.rank = -1, .world_size = 2}), ConfigError);
  CHECK_THROWS_WITH(loader->set_shard({.rank = 2, .world_size = 2}), Contains("rank 2 of 2"));
}
