#include <lightning/data/data_loader.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <numeric>

#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <catch2/catch.hpp>

#include <lightning/util/error.h>
#include <lightning/util/random.h>

#include "support/skip.h"
#include "unit/data/loader_support.h"

using Catch::Matchers::Contains;
using namespace lightning;
using namespace lightning_tests;

namespace {

std::vector<int64_t> range(int64_t begin, int64_t end) {
  std::vector<int64_t> values(static_cast<size_t>(end - begin));
  std::iota(values.begin(), values.end(), begin);
  return values;
}

std::atomic<int> threads_counted = 0;

// Counts the threads that call it.
void count_thread() {
  thread_local const int number = ++threads_counted;
  static_cast<void>(number);
}

// Notes what a worker's get_batch() sees of its thread.
class ThreadProbe : public Dataset {
 public:
  int64_t size() const override { return 8; }
  Batch get_batch(std::span<const int64_t> indices, std::span<SampleContext>) override {
    count_thread();
    num_threads = at::get_num_threads();
    grad_mode = c10::GradMode::is_enabled();
    if (use_default_generator) at::rand({2});
    return {{"x", at::ones({static_cast<int64_t>(indices.size())})}};
  }
  std::atomic<int> num_threads = 0;
  std::atomic<bool> grad_mode = true;
  std::atomic<bool> use_default_generator = false;  // a worker is ahead of the test
};

class BadSampler : public Sampler {
 public:
  explicit BadSampler(std::vector<int64_t> order) : order_(std::move(order)) {}
  int64_t size() const override { return 3; }
  std::vector<int64_t> order(int64_t) const override { return order_; }

 private:
  std::vector<int64_t> order_;
};

class EmptyBatchSampler : public BatchSampler {
 public:
  EmptyBatchSampler() : BatchSampler(std::make_shared<SequentialSampler>(2), 1) {}
  std::vector<std::vector<int64_t>> batches(int64_t) const override { return {{0}, {}}; }
};

}  // namespace

TEST_CASE("DataLoader gives the same batches whatever the number of workers", "[data_loader]") {
  std::vector<std::vector<Seen>> expected;
  for (const int64_t max_sleep_us : {0, 500}) {
    for (const int64_t num_workers : {0, 1, 4}) {
      const auto dataset = std::make_shared<NoisyDataset>(101);
      dataset->max_sleep_us = max_sleep_us;
      DataLoader loader(dataset, {.batch_size = 4,
                                  .shuffle = true,
                                  .num_workers = num_workers,
                                  .prefetch_factor = 3,
                                  .seed = 5});
      CHECK(loader.num_batches() == 26);
      for (size_t epoch = 0; epoch < 3; ++epoch) {
        loader.begin_epoch(static_cast<int64_t>(epoch));
        const std::vector<Seen> batches = rest_of_epoch(loader);
        if (expected.size() == epoch) expected.push_back(batches);
        CHECK(batches == expected[epoch]);
        CHECK_FALSE(loader.next().has_value());
        CHECK(loader.exhausted());
      }
    }
  }
  REQUIRE(expected.size() == 3);
  for (const auto& batches : expected) {
    std::vector<int64_t> indices = all_indices(batches);
    CHECK(batches.size() == 26);
    CHECK_FALSE(std::is_sorted(indices.begin(), indices.end()));
    std::sort(indices.begin(), indices.end());
    CHECK(indices == range(0, 101));
  }
  CHECK(all_indices(expected[0]) != all_indices(expected[1]));
}

TEST_CASE("DataLoader's random order is RandomSampler's", "[data_loader]") {
  DataLoader loader(std::make_shared<NoisyDataset>(10), {.shuffle = true, .seed = 3});
  loader.begin_epoch(2);
  CHECK(all_indices(rest_of_epoch(loader)) == RandomSampler(10, 3).order(2));
}

TEST_CASE("DataLoader takes the seed of seed_everything when it has none", "[data_loader]") {
  DataLoader loader(std::make_shared<NoisyDataset>(10), {.shuffle = true});
  seed_everything(3);
  CHECK(all_indices(rest_of_epoch(loader)) == RandomSampler(10, 3).order(0));
  seed_everything(4);  // too late: the seed belongs to the run
  loader.begin_epoch(1);
  CHECK(all_indices(rest_of_epoch(loader)) == RandomSampler(10, 3).order(1));
}

TEST_CASE("DataLoader gives or drops the last batch that isn't full", "[data_loader]") {
  for (const int64_t num_workers : {0, 2}) {
    DataLoader all(std::make_shared<NoisyDataset>(10),
                   {.batch_size = 4, .num_workers = num_workers});
    CHECK(all.num_batches() == 3);
    const auto batches = rest_of_epoch(all);
    REQUIRE(batches.size() == 3);
    CHECK(batches[2].indices == std::vector<int64_t>{8, 9});
    CHECK(batches[2].batch_size == 2);
    DataLoader full(std::make_shared<NoisyDataset>(10),
                    {.batch_size = 4, .drop_last = true, .num_workers = num_workers});
    CHECK(full.num_batches() == 2);
    CHECK(all_indices(rest_of_epoch(full)) == range(0, 8));
    DataLoader none(std::make_shared<NoisyDataset>(3),
                    {.batch_size = 4, .drop_last = true, .num_workers = num_workers});
    CHECK(none.num_batches() == 0);
    CHECK_FALSE(none.next().has_value());
  }
}

TEST_CASE("DataLoader of an empty data set ends at once", "[data_loader]") {
  for (const int64_t num_workers : {0, 3}) {
    DataLoader loader(std::make_shared<NoisyDataset>(0), {.num_workers = num_workers});
    CHECK(loader.num_batches() == 0);
    CHECK(loader.exhausted());
    CHECK_FALSE(loader.next().has_value());
    loader.begin_epoch(1);
    CHECK_FALSE(loader.next().has_value());
  }
  DataLoader stream(std::make_shared<NoisyStream>(0), {.num_workers = 1});
  CHECK(stream.exhausted());
  CHECK_FALSE(stream.next().has_value());
}

TEST_CASE("DataLoader takes batches from a batch sampler", "[data_loader]") {
  const auto sampler =
      std::make_shared<BatchSampler>(std::make_shared<RandomSampler>(10, 1), 4, true);
  for (const int64_t num_workers : {0, 2}) {
    DataLoader loader(std::make_shared<NoisyDataset>(10), sampler, {.num_workers = num_workers});
    CHECK(loader.num_batches() == 2);
    loader.begin_epoch(3);
    std::vector<std::vector<int64_t>> batches;
    for (const Seen& seen : rest_of_epoch(loader)) batches.push_back(seen.indices);
    CHECK(batches == sampler->batches(3));
  }
}

TEST_CASE("DataLoader's order by a length-grouped sampler doesn't depend on the batch size",
          "[data_loader]") {
  const std::vector<int64_t> lengths = {5, 9, 1, 7, 3, 8, 2, 6, 4, 10, 12, 11};
  const auto sampler = std::make_shared<LengthGroupedSampler>(
      lengths, LengthGroupedSamplerOptions{.group_size = 6, .chunk_size = 3});
  DataLoader threes(std::make_shared<NoisyDataset>(12), sampler, {.batch_size = 3});
  DataLoader fours(std::make_shared<NoisyDataset>(12), sampler, {.batch_size = 4});
  CHECK(all_indices(rest_of_epoch(threes)) == all_indices(rest_of_epoch(fours)));
}

TEST_CASE("DataLoader throws a worker's exception in the batch's place", "[data_loader]") {
  for (const int64_t num_workers : {0, 1, 4}) {
    const auto dataset = std::make_shared<NoisyDataset>(20);
    dataset->failing_index = 9;
    DataLoader loader(dataset, {.batch_size = 4, .num_workers = num_workers});
    for (const int64_t epoch : {0, 1}) {
      loader.begin_epoch(epoch);
      CHECK(see(*loader.next()).indices == range(0, 4));
      CHECK(see(*loader.next()).indices == range(4, 8));
      CHECK_THROWS_WITH(loader.next(), "sample 9");
      CHECK(loader.state_dict().get<int64_t>("samples_consumed") == 8);
      CHECK(see(*loader.next()).indices == range(12, 16));
      CHECK(see(*loader.next()).indices == range(16, 20));
      CHECK_FALSE(loader.next().has_value());
    }
    dataset->failing_index = -1;
    loader.begin_epoch(2);
    CHECK(all_indices(rest_of_epoch(loader)) == range(0, 20));
  }
}

TEST_CASE("DataLoader ends a stream's epoch at its exception", "[data_loader]") {
  for (const int64_t num_workers : {0, 1}) {
    const auto stream = std::make_shared<NoisyStream>(20);
    stream->failing_position = 9;
    DataLoader loader(stream, {.batch_size = 4, .num_workers = num_workers});
    loader.begin_epoch(0);
    CHECK(see(*loader.next()).indices == range(0, 4));
    CHECK(see(*loader.next()).indices == range(4, 8));
    CHECK_FALSE(loader.exhausted());
    CHECK_THROWS_WITH(loader.next(), "stream");
    CHECK_FALSE(loader.next().has_value());
    CHECK(loader.state_dict().get<int64_t>("dataset/position") == 8);
    stream->failing_position = -1;
    loader.begin_epoch(1);
    CHECK(all_indices(rest_of_epoch(loader)) == range(0, 20));
  }
}

TEST_CASE("DataLoader reads streams of known and unknown size", "[data_loader]") {
  for (const int64_t num_workers : {0, 1}) {
    DataLoader unknown(std::make_shared<NoisyStream>(10),
                       {.batch_size = 4, .num_workers = num_workers, .seed = 1});
    CHECK_FALSE(unknown.num_batches().has_value());
    const auto batches = rest_of_epoch(unknown);
    REQUIRE(batches.size() == 3);
    CHECK(batches[2].indices == std::vector<int64_t>{8, 9});
    CHECK(unknown.exhausted());
    DataLoader known(std::make_shared<NoisyStream>(10, true),
                     {.batch_size = 5, .drop_last = true, .num_workers = num_workers, .seed = 1});
    CHECK(known.num_batches() == 2);
    int64_t count = 0;
    for (; !known.exhausted(); ++count) CHECK(known.next().has_value());
    CHECK(count == 2);
    DataLoader dropping(std::make_shared<NoisyStream>(10),
                        {.batch_size = 4, .drop_last = true, .num_workers = num_workers});
    CHECK(all_indices(rest_of_epoch(dropping)) == range(0, 8));
  }
}

TEST_CASE("DataLoader can begin an epoch and end in the middle of another", "[data_loader]") {
  for (const int64_t num_workers : {0, 1, 4}) {
    const auto dataset = std::make_shared<NoisyDataset>(64);
    dataset->max_sleep_us = 300;
    DataLoader reference(dataset, {.batch_size = 4, .shuffle = true, .seed = 2});
    DataLoader loader(dataset,
                      {.batch_size = 4, .shuffle = true, .num_workers = num_workers, .seed = 2});
    for (int64_t epoch = 0; epoch < 20; ++epoch) {
      reference.begin_epoch(epoch);
      loader.begin_epoch(epoch);
      for (int64_t i = 0; i < epoch % 7; ++i) CHECK(see(*loader.next()) == see(*reference.next()));
    }
  }
  for (int i = 0; i < 20; ++i) {
    DataLoader stream(std::make_shared<NoisyStream>(1000), {.batch_size = 2, .num_workers = 1});
    stream.begin_epoch(0);
    for (int j = 0; j < i % 5; ++j) CHECK(stream.next().has_value());
    stream.begin_epoch(1);
    CHECK(see(*stream.next()).indices == range(0, 2));
  }
}

TEST_CASE("DataLoader can be destroyed at any time", "[data_loader]") {
  for (int i = 0; i < 30; ++i) {
    const auto dataset = std::make_shared<NoisyDataset>(64);
    dataset->max_sleep_us = 200;
    DataLoader loader(dataset, {.batch_size = 2, .num_workers = 1 + i % 4});
    if (i % 3 != 0) loader.begin_epoch(0);
    for (int j = 0; j < i % 5; ++j) CHECK(loader.next().has_value());
  }
}

TEST_CASE("DataLoader's workers use one thread each and leave the others' number alone",
          "[data_loader]") {
  at::set_num_threads(2);
  const auto probe = std::make_shared<ThreadProbe>();
  DataLoader loader(probe, {.num_workers = 2});
  const std::optional<Batch> batch = loader.next();
  CHECK(probe->num_threads == 1);
  CHECK(at::get_num_threads() == 2);
  int in_new_thread = 0;
  std::thread([&] { in_new_thread = at::get_num_threads(); }).join();
  CHECK(in_new_thread == 2);
  DataLoader inline_loader(probe, {});
  inline_loader.next();
  CHECK(probe->num_threads == 2);
}

TEST_CASE("DataLoader's workers live through all epochs (pain #10389)", "[data_loader]") {
  DataLoader loader(std::make_shared<ThreadProbe>(), {.num_workers = 2});
  const int before = threads_counted;
  for (int64_t epoch = 0; epoch < 5; ++epoch) {
    loader.begin_epoch(epoch);
    int64_t batches = 0;
    while (loader.next()) ++batches;
    CHECK(batches == 8);
  }
  CHECK(threads_counted > before);
  CHECK(threads_counted <= before + 2);
}

TEST_CASE("DataLoader makes batches without recording, fit for training", "[data_loader]") {
  for (const int64_t num_workers : {0, 1}) {
    const auto probe = std::make_shared<ThreadProbe>();
    DataLoader loader(probe, {.batch_size = 4, .num_workers = num_workers});
    const std::optional<Batch> batch = loader.next();
    CHECK_FALSE(probe->grad_mode);
    CHECK(c10::GradMode::is_enabled());
    CHECK(batch->batch_size() == 4);  // set by the loader where the data set didn't
    at::Tensor weight = at::ones({4}).set_requires_grad(true);
    ((*batch)["x"] * weight).sum().backward();  // refused for tensors made in inference mode
    CHECK(weight.grad().sum().item<float>() == 4);
  }
}

TEST_CASE("DataLoader refuses torch's default generator in workers of debug builds",
          "[data_loader]") {
#ifdef NDEBUG
  SKIP_TEST("this is a release build");
#else
  const auto probe = std::make_shared<ThreadProbe>();
  probe->use_default_generator = true;
  DataLoader loader(probe, {.batch_size = 4, .num_workers = 1});
  CHECK_THROWS_WITH(loader.next(), Contains("default generator") && Contains("aten::"));
  probe->use_default_generator = false;
  loader.begin_epoch(1);
  CHECK(loader.next().has_value());
#endif
}

TEST_CASE("DataLoader pins only where CUDA is", "[data_loader]") {
  DataLoader loader(std::make_shared<NoisyDataset>(4), {.pin_memory = true});
  CHECK((*loader.next())["index"].is_pinned() == at::hasCUDA());
  DataLoader refusing(std::make_shared<NoisyDataset>(4), {.pin_memory = false});
  refusing.set_default_pin_memory(true);
  CHECK_FALSE((*refusing.next())["index"].is_pinned());
  DataLoader by_default(std::make_shared<NoisyDataset>(4), {});
  by_default.set_default_pin_memory(true);
  CHECK((*by_default.next())["index"].is_pinned() == at::hasCUDA());
}

TEST_CASE("DataLoader refuses options that can't be", "[data_loader]") {
  const auto dataset = std::make_shared<NoisyDataset>(4);
  const auto stream = std::make_shared<NoisyStream>(4);
  const auto sampler = std::make_shared<SequentialSampler>(4);
  const auto batches = std::make_shared<BatchSampler>(sampler, 2);
  CHECK_THROWS_AS(DataLoader(std::shared_ptr<Dataset>(), {}), ConfigError);
  CHECK_THROWS_AS(DataLoader(std::shared_ptr<IterableDataset>(), {}), ConfigError);
  CHECK_THROWS_AS(DataLoader(dataset, std::shared_ptr<Sampler>(), {}), ConfigError);
  CHECK_THROWS_AS(DataLoader(dataset, std::shared_ptr<BatchSampler>(), {}), ConfigError);
  CHECK_THROWS_WITH(DataLoader(dataset, {.batch_size = 0}),
                    Contains("batch_size") && Contains("0"));
  const int64_t largest = std::numeric_limits<int64_t>::max();
  for (const int64_t number : {int64_t{-1}, largest}) {
    CHECK_THROWS_WITH(DataLoader(dataset, {.batch_size = number}),
                      Contains("batch_size is ") && Contains("HINT"));
    CHECK_THROWS_WITH(DataLoader(dataset, {.global_batch_size = number}),
                      Contains("global_batch_size is "));
    CHECK_THROWS_WITH(DataLoader(dataset, {.num_workers = number}), Contains("num_workers is "));
    CHECK_THROWS_WITH(DataLoader(dataset, {.prefetch_factor = number}),
                      Contains("prefetch_factor is "));
  }
  CHECK_THROWS_AS(DataLoader(dataset, {.prefetch_factor = 0}), ConfigError);
  CHECK_THROWS_AS(DataLoader(dataset, sampler, {.shuffle = true}), ConfigError);
  CHECK_THROWS_AS(DataLoader(dataset, batches, {.batch_size = 2}), ConfigError);
  CHECK_THROWS_AS(DataLoader(dataset, batches, {.drop_last = true}), ConfigError);
  CHECK_THROWS_WITH(DataLoader(stream, {.num_workers = 2}), Contains("num_workers is 2"));
  CHECK_THROWS_AS(DataLoader(stream, {.shuffle = true}), ConfigError);
  DataLoader loader(dataset, {});
  CHECK_THROWS_AS(loader.begin_epoch(-1), ConfigError);
  CHECK_THROWS_AS(DataLoaders(std::shared_ptr<DataLoader>()), ConfigError);
}

TEST_CASE("DataLoader refuses orders that don't fit the data set", "[data_loader]") {
  const auto dataset = std::make_shared<NoisyDataset>(3);
  using Order = std::vector<int64_t>;
  DataLoader outside(dataset, std::make_shared<BadSampler>(Order{0, 1, 3}), {});
  CHECK_THROWS_WITH(outside.begin_epoch(0), Contains("index 3") && Contains("3 samples"));
  DataLoader negative(dataset, std::make_shared<BadSampler>(Order{0, -1, 2}), {});
  CHECK_THROWS_AS(negative.next(), DataError);
  DataLoader shorter(dataset, std::make_shared<BadSampler>(Order{0, 1}), {});
  CHECK_THROWS_WITH(shorter.begin_epoch(0), Contains("has 2 samples") && Contains("is 3"));
  DataLoader empty(dataset, std::make_shared<EmptyBatchSampler>(), {});
  CHECK_THROWS_WITH(empty.begin_epoch(0), Contains("batch 1") && Contains("empty"));
}

TEST_CASE("DataLoaders holds one loader or several", "[data_loader]") {
  const auto one =
      std::make_shared<DataLoader>(std::make_shared<NoisyDataset>(1), DataLoaderOptions{});
  CHECK(DataLoaders().empty());
  CHECK(DataLoaders(one).size() == 1);
  CHECK(&DataLoaders(std::vector{one, one})[1] == one.get());
}
