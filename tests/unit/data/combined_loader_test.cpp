// CombinedLoader alone; with the Trainer it is tested in unit/trainer/combined_loader_test.cpp.
#include <algorithm>
#include <any>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include <lightning/data/combined_loader.h>
#include <lightning/data/data_loader.h>
#include <lightning/util/error.h>

#include "unit/data/loader_support.h"

using Catch::Matchers::Contains;
using namespace lightning;
using namespace lightning_tests;

namespace {

using Indices = std::map<std::string, std::vector<int64_t>>;  // by part

std::shared_ptr<DataLoader> loader_of(int64_t size, int64_t batch_size, bool shuffle = false,
                                      int64_t num_workers = 0) {
  return std::make_shared<DataLoader>(
      std::make_shared<NoisyDataset>(size),
      DataLoaderOptions{
          .batch_size = batch_size, .shuffle = shuffle, .num_workers = num_workers, .seed = 4});
}

std::shared_ptr<DataLoader> stream_of(int64_t size, int64_t batch_size) {
  return std::make_shared<DataLoader>(
      std::make_shared<NoisyStream>(size),
      DataLoaderOptions{.batch_size = batch_size, .num_workers = 1, .seed = 4});
}

/// Two batches of a, seven of b.
CombinedLoader::Parts two_parts(bool shuffle = false, int64_t num_workers = 0) {
  return {{"a", loader_of(5, 3, shuffle, num_workers)},
          {"b", loader_of(14, 2, shuffle, num_workers)}};
}

Indices indices_of(const Batch& batch) {
  Indices indices;
  for (const auto& [name, tensor] : batch.items()) {
    if (!name.ends_with("/index")) continue;
    std::vector<int64_t>& part = indices[name.substr(0, name.rfind('/'))];
    for (int64_t i = 0; i < tensor.numel(); ++i) part.push_back(tensor[i].item<int64_t>());
  }
  return indices;
}

std::vector<Indices> rest_of(BatchSource& source) {
  std::vector<Indices> all;
  while (const auto batch = source.next()) all.push_back(indices_of(*batch));
  return all;
}

}  // namespace

TEST_CASE("CombinedLoader joins batches under their part's name", "[data_loader]") {
  CombinedLoader loader(two_parts());
  const auto batch = loader.next();
  REQUIRE(batch.has_value());
  CHECK(batch->size() == 4);
  CHECK((*batch)["a/index"].numel() == 3);
  CHECK((*batch)["b/noise"].numel() == 2);
  CHECK(batch->batch_size() == 3);  // the first part's
  CHECK(batch->rank_weight() == 1.0);
  CHECK_FALSE(batch->has_payload());
  CHECK(loader.batch_size() == 3);
  CHECK(loader.batches_delivered() == 1);
}

TEST_CASE("CombinedLoader has as many batches as its mode says", "[data_loader]") {
  struct Case {
    CombineMode mode;
    int64_t batches;
    size_t with_a;
  };
  for (const Case& c : {Case{CombineMode::kMaxSizeCycle, 7, 7}, Case{CombineMode::kMinSize, 2, 2},
                        Case{CombineMode::kMaxSize, 7, 2}}) {
    CombinedLoader loader(two_parts(), c.mode);
    CHECK(loader.num_batches() == c.batches);
    for (int64_t epoch = 0; epoch < 2; ++epoch) {
      loader.begin_epoch(epoch);
      CHECK_FALSE(loader.exhausted());
      const std::vector<Indices> all = rest_of(loader);
      CHECK(loader.exhausted());
      CHECK(static_cast<int64_t>(all.size()) == c.batches);
      CHECK(loader.batches_delivered() == c.batches);
      CHECK(static_cast<size_t>(std::count_if(all.begin(), all.end(), [](const Indices& batch) {
              return batch.contains("a");
            })) == c.with_a);
      CHECK(all[1].at("a") == std::vector<int64_t>{3, 4});
      if (c.mode == CombineMode::kMaxSizeCycle) {
        CHECK(all[2].at("a") == std::vector<int64_t>{0, 1, 2});
        CHECK(all[6].at("b") == std::vector<int64_t>{12, 13});
      }
    }
  }
}

TEST_CASE("CombinedLoader gives the parts of a sequence as they are", "[data_loader]") {
  CombinedLoader loader(two_parts(), CombineMode::kSequential);
  CHECK(loader.num_batches() == 9);
  std::vector<int64_t> parts;
  while (const auto batch = loader.next()) {
    CHECK(batch->contains("index"));
    parts.push_back(batch->dataloader_idx());
  }
  CHECK(parts == std::vector<int64_t>{0, 0, 1, 1, 1, 1, 1, 1, 1});
}

TEST_CASE("A part that begins again has a new order, the same in each run", "[data_loader]") {
  const auto passes = [](int64_t epoch) {
    CombinedLoader loader(two_parts(/*shuffle=*/true, /*num_workers=*/2));
    loader.begin_epoch(epoch);
    std::vector<std::vector<int64_t>> orders(1);
    for (const Indices& batch : rest_of(loader)) {
      if (orders.back().size() == 5) orders.emplace_back();
      const std::vector<int64_t>& part = batch.at("a");
      orders.back().insert(orders.back().end(), part.begin(), part.end());
    }
    return orders;
  };
  const auto first = passes(0);
  REQUIRE(first.size() == 4);
  std::set<std::vector<int64_t>> different;
  for (size_t i = 0; i < 3; ++i) {
    std::vector<int64_t> sorted = first[i];
    std::sort(sorted.begin(), sorted.end());
    CHECK(sorted == std::vector<int64_t>{0, 1, 2, 3, 4});
    different.insert(first[i]);
  }
  CHECK(different.size() > 1);
  CHECK(passes(0) == first);
  CHECK(passes(1) != first);
}

TEST_CASE("CombinedLoader resumes after any batch, with any number of workers", "[resume]") {
  for (const CombineMode mode : {CombineMode::kMaxSizeCycle, CombineMode::kMinSize,
                                 CombineMode::kMaxSize, CombineMode::kSequential}) {
    CombinedLoader reference(two_parts(true), mode);
    reference.begin_epoch(3);
    const std::vector<Indices> epoch_3 = rest_of(reference);
    reference.begin_epoch(4);
    const std::vector<Indices> epoch_4 = rest_of(reference);
    for (size_t stop = 0; stop <= epoch_3.size(); ++stop) {
      CombinedLoader stopped(two_parts(true, 2), mode);
      stopped.begin_epoch(3);
      for (size_t i = 0; i < stop; ++i) stopped.next();
      CombinedLoader resumed(two_parts(true, 1), mode);
      resumed.load_state_dict(stopped.state_dict());
      CHECK(resumed.batches_delivered() == static_cast<int64_t>(stop));
      CHECK(
          rest_of(resumed) ==
          std::vector<Indices>(epoch_3.begin() + static_cast<std::ptrdiff_t>(stop), epoch_3.end()));
      resumed.begin_epoch(4);
      CHECK(rest_of(resumed) == epoch_4);
    }
  }
}

TEST_CASE("CombinedLoader resumes on another number of ranks", "[resume]") {
  const auto parts = [] {
    return CombinedLoader::Parts{{"a", loader_of(8, 1, true)}, {"b", loader_of(24, 1, true)}};
  };
  const auto of_ranks = [&](int64_t world_size, const StateDict* state) {
    std::map<std::string, std::multiset<int64_t>> seen;
    StateDict position;
    for (int64_t rank = 0; rank < world_size; ++rank) {
      CombinedLoader loader(parts());
      loader.set_shard({.rank = rank, .world_size = world_size});
      if (state != nullptr) loader.load_state_dict(*state);
      const int64_t batches = state == nullptr ? 8 / world_size : 24;
      for (int64_t i = 0; i < batches; ++i) {
        const auto batch = loader.next();
        if (!batch) break;
        for (const auto& [name, indices] : indices_of(*batch)) {
          seen[name].insert(indices.begin(), indices.end());
        }
      }
      position = loader.state_dict();
    }
    return std::pair(seen, position);
  };
  const auto [begun, state] = of_ranks(2, nullptr);
  CHECK(begun.at("b").size() == 8);
  for (const int64_t ranks : {1, 2, 4}) {
    auto [rest, position] = of_ranks(ranks, &state);
    // Each sample of b once; a, eight samples, once in the part before and twice in the rest.
    CHECK(rest.at("b").size() == 16);
    CHECK(rest.at("a").size() == 16);
    rest.at("b").merge(std::multiset<int64_t>(begun.at("b")));
    CHECK(std::set<int64_t>(rest.at("b").begin(), rest.at("b").end()).size() == 24);
  }
}

TEST_CASE("Ranks of a CombinedLoader keep step", "[data_loader]") {
  for (const UnevenInputs uneven : {UnevenInputs::kJoin, UnevenInputs::kPad, UnevenInputs::kDrop}) {
    for (const CombineMode mode :
         {CombineMode::kMaxSizeCycle, CombineMode::kMinSize, CombineMode::kMaxSize}) {
      std::vector<size_t> counts;
      for (int64_t rank = 0; rank < 3; ++rank) {
        CombinedLoader loader({{"a", loader_of(11, 3)}, {"b", loader_of(14, 2)}}, mode);
        loader.set_shard({.rank = rank, .world_size = 3, .uneven = uneven});
        counts.push_back(rest_of(loader).size());
        CHECK(static_cast<int64_t>(counts.back()) == loader.batches_delivered());
      }
      CHECK(std::all_of(counts.begin(), counts.end(),
                        [&](size_t count) { return count == counts.front(); }));
    }
  }
}

TEST_CASE("A combined batch weighs as the first part in which the rank has samples",
          "[data_loader]") {
  // The only global batch of a has three samples for four ranks, that of b eight.
  const auto batch_of = [](int64_t rank) {
    CombinedLoader loader({{"a", loader_of(3, 1)}, {"b", loader_of(8, 2)}});
    loader.set_shard({.rank = rank, .world_size = 4});
    return loader.next().value();
  };
  CHECK(batch_of(0).rank_weight() == Approx(4.0 / 3.0));
  CHECK(batch_of(3).rank_weight() == 1.0);
  CHECK_FALSE(batch_of(3).is_padding());
}

TEST_CASE("CombinedLoader takes streams of unknown length", "[data_loader]") {
  const auto parts = [] {
    return CombinedLoader::Parts{{"a", stream_of(5, 2)}, {"b", loader_of(10, 2)}};
  };
  CombinedLoader cycle(parts());
  CHECK(cycle.num_batches() == std::nullopt);
  const std::vector<Indices> all = rest_of(cycle);
  REQUIRE(all.size() == 5);
  CHECK(all[2].at("a") == std::vector<int64_t>{4});
  CHECK(all[3].at("a") == std::vector<int64_t>{0, 1});
  CombinedLoader smallest(parts(), CombineMode::kMinSize);
  CHECK(rest_of(smallest).size() == 3);
  // In the middle of the second pass.
  CombinedLoader stopped(parts());
  for (int i = 0; i < 4; ++i) stopped.next();
  CombinedLoader resumed(parts());
  resumed.load_state_dict(stopped.state_dict());
  CHECK(rest_of(resumed) == std::vector<Indices>{all[4]});
  // One that gives nothing would be asked forever.
  CombinedLoader empty({{"a", stream_of(0, 2)}, {"b", loader_of(10, 2)}});
  CHECK_THROWS_WITH(empty.next(), Contains("part \"a\" gave no batch in a whole pass"));
}

TEST_CASE("CombinedLoader gathers payloads", "[data_loader]") {
  class Named : public NoisyDataset {
   public:
    using NoisyDataset::NoisyDataset;
    Batch get_batch(std::span<const int64_t> indices, std::span<SampleContext> contexts) override {
      Batch batch = NoisyDataset::get_batch(indices, contexts);
      batch.set_payload(std::string("names"));
      return batch;
    }
  };
  const auto named =
      std::make_shared<DataLoader>(std::make_shared<Named>(4), DataLoaderOptions{.batch_size = 2});
  CombinedLoader loader({{"a", loader_of(4, 2)}, {"b", named}});
  const Batch batch = loader.next().value();
  const auto& payloads = batch.payload<std::vector<std::any>>();
  REQUIRE(payloads.size() == 2);
  CHECK_FALSE(payloads[0].has_value());
  CHECK(std::any_cast<std::string>(payloads[1]) == "names");
}

TEST_CASE("CombinedLoader refuses parts that can't be combined", "[data_loader]") {
  const auto one = loader_of(4, 2);
  using Parts = CombinedLoader::Parts;
  CHECK_THROWS_WITH(CombinedLoader(Parts{}), Contains("no parts"));
  CHECK_THROWS_WITH(CombinedLoader(Parts{{"", one}}), Contains("named \"\""));
  CHECK_THROWS_WITH(CombinedLoader(Parts{{"a/b", one}}), Contains("a/b"));
  CHECK_THROWS_WITH(CombinedLoader(Parts{{"a", one}, {"a", loader_of(4, 2)}}),
                    Contains("two parts are named \"a\""));
  CHECK_THROWS_WITH(CombinedLoader(Parts{{"a", one}, {"b", one}}), Contains("one position"));
  CHECK_THROWS_WITH(CombinedLoader(Parts{{"a", nullptr}}), Contains("null"));
  const auto sequence = std::make_shared<CombinedLoader>(two_parts(), CombineMode::kSequential);
  CHECK_THROWS_WITH(CombinedLoader(Parts{{"a", sequence}}), Contains("sequential"));
  CombinedLoader with_empty({{"a", one}, {"nothing", loader_of(0, 2)}});
  CHECK_THROWS_WITH(with_empty.check(), Contains("part \"nothing\" has no batches") &&
                                            Contains("the data set is empty"));
  CHECK_THROWS_AS(with_empty.check(), ConfigError);
  CombinedLoader whole(two_parts());
  CHECK_NOTHROW(whole.check());
}

TEST_CASE("CombinedLoader refuses the position of other parts", "[resume]") {
  CombinedLoader loader(two_parts());
  const StateDict state = loader.state_dict();
  CombinedLoader other_mode(two_parts(), CombineMode::kMaxSize);
  CHECK_THROWS_WITH(other_mode.load_state_dict(state), Contains("mode max_size_cycle"));
  CombinedLoader other_names({{"a", loader_of(5, 3)}, {"c", loader_of(14, 2)}});
  CHECK_THROWS_WITH(other_names.load_state_dict(state), Contains("\"b\"") && Contains("\"c\""));
  CombinedLoader three({{"a", loader_of(5, 3)}, {"b", loader_of(14, 2)}, {"c", loader_of(14, 2)}});
  CHECK_THROWS_WITH(three.load_state_dict(state), Contains("has 2 parts"));
  CHECK_THROWS_AS(loader.load_state_dict(loader_of(4, 2)->state_dict()), CheckpointError);
  CHECK_THROWS_AS(loader.load_state_dict(StateDict()), CheckpointError);
  StateDict negative = state;
  negative.set("epoch", int64_t{-1});
  CHECK_THROWS_WITH(loader.load_state_dict(negative), Contains("epoch of the checkpoint is -1"));
  CHECK_THROWS_AS(loader_of(4, 2)->load_state_dict(state), CheckpointError);
}

TEST_CASE("Combinations nest, copy and keep a fixed order", "[data_loader]") {
  const auto inner = std::make_shared<CombinedLoader>(two_parts(/*shuffle=*/true));
  CombinedLoader outer({{"pair", inner}, {"c", loader_of(6, 2)}}, CombineMode::kMinSize);
  const Batch batch = outer.next().value();
  CHECK(batch.contains("pair/a/index"));
  CHECK(batch.contains("c/index"));
  CHECK(outer.has_own_order());
  outer.set_fixed_order(true);
  const auto copy = outer.copy();
  REQUIRE(copy != nullptr);
  for (int64_t epoch = 0; epoch < 2; ++epoch) {
    outer.begin_epoch(epoch);
    CHECK(outer.next().value()["pair/b/index"][1].item<int64_t>() == 1);
    CHECK(copy->next().value()["c/index"].numel() == 2);
  }
  CombinedLoader with_stream({{"a", stream_of(4, 2)}});
  CHECK(with_stream.copy() == nullptr);
}
