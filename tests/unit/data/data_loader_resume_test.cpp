// Exact resume of DataLoader: stopped after any batch, a new loader gives the rest of the epoch and
// the epochs after it, with any number of workers on either side.
#include <algorithm>
#include <functional>

#include <catch2/catch.hpp>

#include <lightning/data/data_loader.h>
#include <lightning/util/error.h>

#include "unit/data/loader_support.h"

using Catch::Matchers::Contains;
using namespace lightning;
using namespace lightning_tests;

namespace {

using MakeLoader =
    std::function<std::unique_ptr<DataLoader>(int64_t num_workers, std::optional<uint64_t> seed)>;

std::unique_ptr<DataLoader> shuffled(int64_t num_workers, std::optional<uint64_t> seed) {
  return std::make_unique<DataLoader>(std::make_shared<NoisyDataset>(23),
                                      DataLoaderOptions{.batch_size = 4,
                                                        .shuffle = true,
                                                        .num_workers = num_workers,
                                                        .prefetch_factor = 3,
                                                        .seed = seed});
}

std::unique_ptr<DataLoader> length_grouped(int64_t num_workers, std::optional<uint64_t> seed) {
  std::vector<int64_t> lengths;
  for (int64_t i = 0; i < 23; ++i) lengths.push_back((i * 7) % 11);
  const auto sampler = std::make_shared<LengthGroupedSampler>(
      lengths, LengthGroupedSamplerOptions{.seed = 9, .group_size = 12, .chunk_size = 4});
  return std::make_unique<DataLoader>(
      std::make_shared<NoisyDataset>(23), sampler,
      DataLoaderOptions{
          .batch_size = 4, .drop_last = true, .num_workers = num_workers, .seed = seed});
}

std::unique_ptr<DataLoader> by_batches(int64_t num_workers, std::optional<uint64_t> seed) {
  const auto sampler = std::make_shared<BatchSampler>(std::make_shared<RandomSampler>(23, 8), 4);
  return std::make_unique<DataLoader>(
      std::make_shared<NoisyDataset>(23), sampler,
      DataLoaderOptions{.num_workers = num_workers, .prefetch_factor = 4, .seed = seed});
}

std::unique_ptr<DataLoader> stream(int64_t num_workers, std::optional<uint64_t> seed) {
  return std::make_unique<DataLoader>(
      std::make_shared<NoisyStream>(23),
      DataLoaderOptions{
          .batch_size = 4, .num_workers = num_workers, .prefetch_factor = 4, .seed = seed});
}

// Any of 1 to 4 ranks divides the global batch.
using MakeRankLoader = std::function<std::unique_ptr<DataLoader>(int64_t num_workers)>;

std::unique_ptr<DataLoader> global_twelve(int64_t num_workers) {
  return std::make_unique<DataLoader>(
      std::make_shared<NoisyDataset>(53),
      DataLoaderOptions{
          .global_batch_size = 12, .shuffle = true, .num_workers = num_workers, .seed = 5});
}

std::unique_ptr<DataLoader> shared_stream(int64_t /*num_workers*/) {
  return std::make_unique<DataLoader>(
      std::make_shared<NoisyStream>(53),
      DataLoaderOptions{.global_batch_size = 12, .num_workers = 1, .seed = 5});
}

// Without those of a filler, which are another rank's.
void append_own(std::vector<int64_t>& ids, const Batch& batch) {
  if (batch.is_padding()) return;
  const std::vector<int64_t> own = see(batch).indices;
  ids.insert(ids.end(), own.begin(), own.end());
}

// Stops at every batch of epoch 2, in the middle of the others' prefetching, and resumes with
// another number of workers and another seed in the options.
void check_resume(const MakeLoader& make, const std::vector<int64_t>& worker_counts) {
  const auto reference = make(0, 5);
  reference->begin_epoch(2);
  const std::vector<Seen> epoch_2 = rest_of_epoch(*reference);
  reference->begin_epoch(3);
  const std::vector<Seen> epoch_3 = rest_of_epoch(*reference);
  REQUIRE(epoch_2.size() >= 5);
  for (const int64_t workers_before : worker_counts) {
    for (const int64_t workers_after : worker_counts) {
      for (size_t stop = 0; stop <= epoch_2.size(); ++stop) {
        const auto before = make(workers_before, 5);
        before->begin_epoch(2);
        for (size_t i = 0; i < stop; ++i) REQUIRE(see(*before->next()) == epoch_2[i]);
        if (stop % 2 == 1) before->exhausted();  // may read ahead, and mustn't move the position
        const StateDict state = before->state_dict();
        const auto after = make(workers_after, 77);
        after->load_state_dict(state);
        CHECK(after->state_dict().entries().size() == state.entries().size());
        CHECK(after->state_dict().get<int64_t>("samples_consumed") ==
              state.get<int64_t>("samples_consumed"));
        CHECK(after->exhausted() == (stop == epoch_2.size()));
        const std::vector<Seen> rest(epoch_2.begin() + static_cast<std::ptrdiff_t>(stop),
                                     epoch_2.end());
        CHECK(rest_of_epoch(*after) == rest);
        after->begin_epoch(3);
        CHECK(rest_of_epoch(*after) == epoch_3);
      }
    }
  }
}

}  // namespace

TEST_CASE("DataLoader resumes a random order at every batch", "[resume]") {
  check_resume(shuffled, {0, 1, 3});
}

TEST_CASE("DataLoader resumes a length-grouped order at every batch", "[resume]") {
  check_resume(length_grouped, {0, 1, 3});
}

TEST_CASE("DataLoader resumes batches of a batch sampler at every batch", "[resume]") {
  check_resume(by_batches, {0, 1, 3});
}

TEST_CASE("DataLoader resumes a stream at every batch", "[resume]") {
  check_resume(stream, {0, 1});
}

TEST_CASE("DataLoader resumes in a loader that is in the middle of another epoch", "[resume]") {
  for (const MakeLoader& make : {MakeLoader(shuffled), MakeLoader(stream)}) {
    const auto loader = make(1, 5);
    loader->begin_epoch(0);
    loader->next();
    const StateDict state = loader->state_dict();
    const Seen expected = see(*loader->next());
    loader->begin_epoch(1);
    loader->next();
    loader->load_state_dict(state);
    CHECK(see(*loader->next()) == expected);
  }
}

TEST_CASE("DataLoader keeps a loaded position until it continues", "[resume]") {
  for (const MakeLoader& make : {MakeLoader(shuffled), MakeLoader(stream)}) {
    const auto first = make(1, 5);
    first->next();
    const auto second = make(1, 6);
    second->load_state_dict(first->state_dict());
    const auto third = make(0, 7);
    third->load_state_dict(second->state_dict());
    CHECK(rest_of_epoch(*third) == rest_of_epoch(*first));
  }
}

TEST_CASE("DataLoader's state before the first epoch leads to the first epoch", "[resume]") {
  const auto fresh = shuffled(0, 5);
  const auto resumed = shuffled(2, 6);
  resumed->load_state_dict(fresh->state_dict());
  CHECK(rest_of_epoch(*resumed) == rest_of_epoch(*fresh));
}

TEST_CASE("DataLoader resumes with another batch size where that is possible", "[resume]") {
  const auto make = [](int64_t batch_size) {
    return std::make_unique<DataLoader>(
        std::make_shared<NoisyDataset>(23),
        DataLoaderOptions{.batch_size = batch_size, .shuffle = true, .seed = 1});
  };
  const auto fours = make(4);
  fours->next();
  fours->next();
  const auto twos = make(2);
  twos->load_state_dict(fours->state_dict());
  CHECK(twos->num_batches() == 12);
  const auto rest = all_indices(rest_of_epoch(*twos));
  CHECK(rest == all_indices(rest_of_epoch(*fours)));
  const auto twos_at_6 = make(2);
  for (int i = 0; i < 3; ++i) twos_at_6->next();
  const auto refused = make(4);
  CHECK_THROWS_AS(refused->load_state_dict(twos_at_6->state_dict()), CheckpointError);
  CHECK_THROWS_WITH(refused->load_state_dict(twos_at_6->state_dict()),
                    Contains("after 6 samples") && Contains("batch size (4)"));
  const auto at_end = make(5);
  at_end->load_state_dict(fours->state_dict());
  CHECK_FALSE(at_end->next().has_value());
}

TEST_CASE("DataLoader resumes on another number of ranks in the middle of an epoch", "[resume]") {
  const auto sharded = [](const MakeRankLoader& make, int64_t rank, int64_t world_size) {
    auto loader = make(world_size);
    loader->set_shard({.rank = rank, .world_size = world_size});
    return loader;
  };
  for (const MakeRankLoader& make :
       {MakeRankLoader(global_twelve), MakeRankLoader(shared_stream)}) {
    const auto alone = make(1);
    alone->begin_epoch(1);
    const std::vector<int64_t> epoch = all_indices(rest_of_epoch(*alone));
    for (const int64_t before : {1, 2, 3, 4}) {
      for (const int64_t after : {1, 2, 3, 4}) {
        for (const int64_t stop : {0, 1, 2, 4, 5}) {
          std::vector<int64_t> seen;
          StateDict state;
          for (int64_t rank = 0; rank < before; ++rank) {
            const auto loader = sharded(make, rank, before);
            loader->begin_epoch(1);
            for (int64_t i = 0; i < stop; ++i) append_own(seen, *loader->next());
            if (rank > 0) {
              CHECK(loader->state_dict().get<int64_t>("samples_consumed") ==
                    state.get<int64_t>("samples_consumed"));
            }
            state = loader->state_dict();
          }
          for (int64_t rank = 0; rank < after; ++rank) {
            const auto loader = sharded(make, rank, after);
            loader->load_state_dict(state);
            while (const auto batch = loader->next()) append_own(seen, *batch);
          }
          INFO("from " << before << " to " << after << " ranks after " << stop << " batches");
          std::vector<int64_t> sorted = seen;
          std::sort(sorted.begin(), sorted.end());
          CHECK(std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end());
          std::vector<int64_t> all = epoch;
          std::sort(all.begin(), all.end());
          CHECK(sorted == all);
          // What came before the stop is the epoch's beginning.
          const auto consumed = std::min<int64_t>(12 * stop, 53);
          std::vector<int64_t> first(seen.begin(), seen.begin() + consumed);
          std::vector<int64_t> first_of_epoch(epoch.begin(), epoch.begin() + consumed);
          std::sort(first.begin(), first.end());
          std::sort(first_of_epoch.begin(), first_of_epoch.end());
          CHECK(first == first_of_epoch);
        }
      }
    }
  }
}

TEST_CASE(
    "DataLoader resumes a fixed batch per rank on another number of ranks where that is "
    "possible",
    "[resume]") {
  const auto make = [](int64_t rank, int64_t world_size, bool drop_last = false) {
    auto loader =
        std::make_unique<DataLoader>(std::make_shared<NoisyDataset>(23),
                                     DataLoaderOptions{.batch_size = 2, .drop_last = drop_last});
    loader->set_shard({.rank = rank, .world_size = world_size});
    return loader;
  };
  const auto two = make(0, 2);
  two->next();
  two->next();
  const auto four = make(3, 4);
  four->load_state_dict(two->state_dict());
  CHECK(see(*four->next()).indices == std::vector<int64_t>{11, 15});
  two->next();
  CHECK_THROWS_WITH(make(3, 4)->load_state_dict(two->state_dict()),
                    Contains("after 12 samples") && Contains("2 on each of 4 ranks") &&
                        Contains("HINT") && Contains("global_batch_size"));
  // What is left on fewer ranks fills no global batch on more of them.
  const auto one = make(0, 1, /*drop_last=*/true);
  while (one->next()) {
  }
  CHECK(one->state_dict().get<int64_t>("samples_consumed") == 22);
  const auto at_end = make(1, 4, /*drop_last=*/true);
  at_end->load_state_dict(one->state_dict());
  CHECK_FALSE(at_end->next().has_value());
}

TEST_CASE("DataLoader resumes batches of a batch sampler on another number of ranks", "[resume]") {
  const auto make = [](int64_t rank, int64_t world_size) {
    auto loader = by_batches(0, 5);
    loader->set_shard({.rank = rank, .world_size = world_size});
    return loader;
  };
  const auto alone = make(0, 1);
  std::vector<Seen> all = rest_of_epoch(*alone);
  const auto two = make(1, 2);
  two->next();
  two->next();
  const auto four = make(1, 4);
  four->load_state_dict(two->state_dict());
  CHECK(see(*four->next()).indices == all[5].indices);
  const auto three = make(0, 3);
  CHECK_THROWS_WITH(three->load_state_dict(two->state_dict()),
                    Contains("after 16 samples") && Contains("3 batches of the batch sampler"));
}

TEST_CASE("DataLoader refuses the position of another data set", "[resume]") {
  const DataLoaderOptions options{.batch_size = 4};
  DataLoader small(std::make_shared<NoisyDataset>(20), options);
  DataLoader large(std::make_shared<NoisyDataset>(24), options);
  small.next();
  CHECK_THROWS_AS(large.load_state_dict(small.state_dict()), CheckpointError);
  CHECK_THROWS_WITH(large.load_state_dict(small.state_dict()), Contains("20") && Contains("24"));
  DataLoader half(std::make_shared<NoisyDataset>(24), std::make_shared<SequentialSampler>(12),
                  options);
  DataLoader third(std::make_shared<NoisyDataset>(24), std::make_shared<SequentialSampler>(8),
                   options);
  CHECK_THROWS_WITH(third.load_state_dict(half.state_dict()),
                    Contains("sampler of 12") && Contains("8"));
  const auto streaming = stream(0, 1);
  CHECK_THROWS_WITH(small.load_state_dict(streaming->state_dict()), Contains("\"stream\""));
  CHECK_THROWS_AS(streaming->load_state_dict(small.state_dict()), CheckpointError);
  CHECK_THROWS_AS(small.load_state_dict(StateDict()), CheckpointError);
}

TEST_CASE("DataLoader in fixed order gives the same batches in each epoch", "[resume]") {
  const auto order_of = [](BatchSource& loader, int64_t epoch) {
    loader.begin_epoch(epoch);
    return all_indices(rest_of_epoch(loader));
  };
  for (const auto& make : {shuffled, length_grouped}) {
    const auto loader = make(2, 1);
    CHECK(loader->has_own_order());
    const std::vector<int64_t> own = order_of(*loader, 1);
    loader->set_fixed_order(true);
    const std::vector<int64_t> fixed = order_of(*loader, 1);
    CHECK(std::is_sorted(fixed.begin(), fixed.end()));
    CHECK(order_of(*loader, 2) == fixed);
    CHECK(order_of(*loader->copy(), 3) == fixed);
    loader->set_fixed_order(false);
    CHECK(order_of(*loader, 1) == own);
  }
  const auto batches = by_batches(0, 5);
  const std::vector<int64_t> first = order_of(*batches, 0);
  batches->set_fixed_order(true);
  CHECK(order_of(*batches, 4) == first);
  CHECK(stream(0, 1)->copy() == nullptr);
}

TEST_CASE("A copy of a DataLoader has a position of its own", "[resume]") {
  const auto loader = shuffled(1, 1);
  const std::vector<Seen> all = rest_of_epoch(*loader);
  loader->begin_epoch(0);
  loader->next();
  const auto copy = loader->copy();
  copy->begin_epoch(0);
  CHECK(rest_of_epoch(*copy) == all);
  CHECK(see(*loader->next()) == all[1]);
}

TEST_CASE("DataLoader finishes an epoch in the order that it was saved with", "[resume]") {
  for (const bool fixed : {true, false}) {
    const auto saved = shuffled(0, 1);
    saved->set_fixed_order(fixed);
    saved->begin_epoch(0);
    saved->next();
    const StateDict state = saved->state_dict();
    const auto resumed = shuffled(2, 1);
    resumed->set_fixed_order(!fixed);
    resumed->load_state_dict(state);
    CHECK(rest_of_epoch(*resumed) == rest_of_epoch(*saved));
    resumed->begin_epoch(1);
    saved->set_fixed_order(!fixed);
    saved->begin_epoch(1);
    CHECK(rest_of_epoch(*resumed) == rest_of_epoch(*saved));
  }
}
