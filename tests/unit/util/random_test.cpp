#include <lightning/util/random.h>

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <set>

#include <ATen/ATen.h>

#include <catch2/catch.hpp>

#include <lightning/util/error.h>

#include "unit/data/golden.h"

using lightning::mix_bits;
using lightning::mix_seed;
using lightning::Random;
using lightning_tests::golden;

TEST_CASE("mix_bits is the output function of SplitMix64", "[random]") {
  // The first numbers of the published program, seeded with 1234567.
  const uint64_t gamma = 0x9e3779b97f4a7c15u;
  CHECK(mix_bits(1234567 + gamma) == 6457827717110365317u);
  CHECK(mix_bits(1234567 + 2 * gamma) == 3203168211198807973u);
}

TEST_CASE("Random draws what an independent xoshiro256** draws", "[random]") {
  for (const uint64_t seed : {uint64_t{0}, uint64_t{1}, uint64_t{42}, ~uint64_t{0}}) {
    Random random(seed);
    for (const uint64_t expected : golden<uint64_t>("next seed=" + std::to_string(seed))) {
      CHECK(random.next() == expected);
    }
  }
  for (const uint64_t bound : {uint64_t{1}, uint64_t{3}, uint64_t{10}, uint64_t{1000003},
                               (uint64_t{1} << 63) + 1, ~uint64_t{0}}) {
    Random random(7);
    for (const uint64_t expected : golden<uint64_t>("below bound=" + std::to_string(bound))) {
      CHECK(random.below(bound) == expected);
    }
  }
  Random random(9);
  for (const uint64_t expected : golden<uint64_t>("uniform times 2^53")) {
    CHECK(random.uniform() * 0x1p53 == static_cast<double>(expected));
  }
}

TEST_CASE("mix_seed depends on every number and on their order", "[random]") {
  CHECK(mix_seed(0, 0) == golden<uint64_t>("mix_seed 0 0 0")[0]);
  CHECK(mix_seed(42, 3) == golden<uint64_t>("mix_seed 42 3 0")[0]);
  CHECK(mix_seed(42, 0, 3) == golden<uint64_t>("mix_seed 42 0 3")[0]);
  CHECK(mix_seed(~uint64_t{0}, 1, 2) == golden<uint64_t>("mix_seed 18446744073709551615 1 2")[0]);
  std::set<uint64_t> seen;
  for (uint64_t seed = 0; seed < 10; ++seed) {
    for (uint64_t a = 0; a < 10; ++a) {
      for (uint64_t b = 0; b < 10; ++b) seen.insert(mix_seed(seed, a, b));
    }
  }
  CHECK(seen.size() == 1000);
}

TEST_CASE("Random::below is uniform", "[random]") {
  Random random(3);
  std::vector<int> counts(6);
  for (int i = 0; i < 60000; ++i) ++counts[random.below(6)];
  double chi_squared = 0;
  for (const int count : counts) chi_squared += (count - 1e4) * (count - 1e4) / 1e4;
  CHECK(chi_squared < 20.5);  // 5 degrees of freedom: exceeded once in a thousand seeds
}

TEST_CASE("Random::shuffle gives each permutation equally often", "[random]") {
  Random random(4);
  std::map<std::vector<int64_t>, int> counts;
  for (int i = 0; i < 24000; ++i) {
    std::vector<int64_t> values = {0, 1, 2, 3};
    random.shuffle(values);
    ++counts[values];
  }
  REQUIRE(counts.size() == 24);
  double chi_squared = 0;
  for (const auto& [values, count] : counts) chi_squared += (count - 1e3) * (count - 1e3) / 1e3;
  CHECK(chi_squared < 49.7);  // 23 degrees of freedom: exceeded once in a thousand seeds
  std::vector<int64_t> none;
  random.shuffle(none);
  CHECK(none.empty());
}

TEST_CASE("seed_everything seeds torch and remembers the seed", "[random]") {
  CHECK(lightning::global_seed() == 0);
  CHECK(lightning::seed_everything(17) == 17);
  CHECK(lightning::global_seed() == 17);
  const at::Tensor first = at::rand({4});
  const at::Tensor second = at::rand({4});
  CHECK_FALSE(first.equal(second));
  lightning::seed_everything(17);
  CHECK(at::rand({4}).equal(first));
  at::manual_seed(17);
  CHECK(at::rand({4}).equal(first));
}

TEST_CASE("seed_everything takes the seed from the environment when none is given", "[random]") {
  unsetenv("LIGHTNING_SEED");
  CHECK(lightning::seed_everything() == 0);
  setenv("LIGHTNING_SEED", "18446744073709551615", 1);
  CHECK(lightning::seed_everything() == ~uint64_t{0});
  CHECK(lightning::seed_everything(5) == 5);
  for (const char* bad : {"", "-1", "12a", "18446744073709551616", " 3"}) {
    setenv("LIGHTNING_SEED", bad, 1);
    CHECK_THROWS_AS(lightning::seed_everything(), lightning::ConfigError);
  }
  CHECK(lightning::global_seed() == 5);
  unsetenv("LIGHTNING_SEED");
}

TEST_CASE("What is drawn under IsolateRng changes no number that is drawn afterwards", "[random]") {
  lightning::seed_everything(5);
  at::rand({3});
  const lightning::IsolateRng outer;
  const at::Tensor expected = at::rand({4});
  lightning::seed_everything(5);
  at::rand({3});
  {
    const lightning::IsolateRng isolated;
    lightning::seed_everything(6);
    at::rand({100});
    CHECK(lightning::global_seed() == 6);
  }
  CHECK(lightning::global_seed() == 5);
  CHECK(at::equal(at::rand({4}), expected));
}
