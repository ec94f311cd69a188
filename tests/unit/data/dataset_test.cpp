#include <lightning/data/dataset.h>

#include <numeric>

#include <ATen/ATen.h>

#include <catch2/catch.hpp>

#include <lightning/util/error.h>

#include "unit/data/golden.h"

using Catch::Matchers::Contains;
using namespace lightning;

namespace {

std::vector<SampleContext> contexts_for(const std::vector<int64_t>& indices) {
  std::vector<SampleContext> contexts;
  for (const int64_t index : indices) contexts.emplace_back(1, 0, index);
  return contexts;
}

Batch get_batch(Dataset& dataset, const std::vector<int64_t>& indices) {
  auto contexts = contexts_for(indices);
  return dataset.get_batch(indices, contexts);
}

std::vector<int64_t> to_vector(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.contiguous();
  return {flat.const_data_ptr<int64_t>(), flat.const_data_ptr<int64_t>() + flat.numel()};
}

std::shared_ptr<Dataset> range_dataset(int64_t size) {
  return std::make_shared<TensorDataset>(Batch({{"index", at::arange(size)}}));
}

class EmptyClass : public Dataset {
 public:
  int64_t size() const override { return 3; }
};

}  // namespace

TEST_CASE("SampleContext's randomness depends on seed, epoch and index alone", "[dataset]") {
  const auto draw = [](uint64_t seed, int64_t epoch, int64_t index) {
    SampleContext context(seed, epoch, index);
    return at::rand({3}, context.generator());
  };
  CHECK(draw(1, 2, 3).equal(draw(1, 2, 3)));
  CHECK_FALSE(draw(1, 2, 3).equal(draw(2, 2, 3)));
  CHECK_FALSE(draw(1, 2, 3).equal(draw(1, 3, 3)));
  CHECK_FALSE(draw(1, 2, 3).equal(draw(1, 2, 4)));
  CHECK(SampleContext(42, 3, 17).seed() ==
        lightning_tests::golden<uint64_t>("sample seed=42 epoch=3 index=17")[0]);
}

TEST_CASE("SampleContext::generator resumes where it was", "[dataset]") {
  SampleContext context(1, 0, 0);
  const at::Tensor first = at::rand({3}, context.generator());
  CHECK_FALSE(at::rand({3}, context.generator()).equal(first));
  CHECK(context.epoch() == 0);
  CHECK(context.index() == 0);
}

TEST_CASE("Dataset without get or get_batch says so", "[dataset]") {
  EmptyClass dataset;
  CHECK_THROWS_AS(get_batch(dataset, {0}), ConfigError);
}

TEST_CASE("collate stacks tensors, collects payloads and sets the batch size", "[collate]") {
  std::vector<Batch> samples(3);
  for (int64_t i = 0; i < 3; ++i) {
    samples[i].set("x", at::full({2}, i));
    samples[i].set("y", at::scalar_tensor(i, at::kLong));
  }
  samples[2] = Batch({{"y", samples[2]["y"]}, {"x", samples[2]["x"]}});  // names in another order
  CHECK_FALSE(collate(samples).has_payload());
  samples[1].set_payload(std::string("one"));
  const Batch batch = collate(samples);
  CHECK(batch.batch_size() == 3);
  CHECK(batch["x"].equal(at::tensor({0, 0, 1, 1, 2, 2}, at::kLong).view({3, 2})));
  CHECK(to_vector(batch["y"]) == std::vector<int64_t>{0, 1, 2});
  const auto& payloads = batch.payload<std::vector<std::any>>();
  REQUIRE(payloads.size() == 3);
  CHECK_FALSE(payloads[0].has_value());
  CHECK(std::any_cast<std::string>(payloads[1]) == "one");
}

TEST_CASE("collate names what doesn't fit", "[collate]") {
  const Batch two({{"x", at::ones({2})}});
  CHECK_THROWS_AS(collate({}), DataError);
  CHECK_THROWS_WITH(
      collate({two, Batch({{"x", at::ones({2, 3})}})}),
      Contains("\"x\"") && Contains("[2, 3]") && Contains("[2]") && Contains("sample 1"));
  CHECK_THROWS_WITH(collate({two, Batch({{"y", at::ones({2})}})}), Contains("no tensor \"x\""));
  CHECK_THROWS_WITH(collate({two, Batch()}), Contains("sample 1") && Contains("0 tensors"));
  CHECK_THROWS_WITH(collate({two, Batch({{"x", at::ones({2}, at::kLong)}})}),
                    Contains("Long") && Contains("Float"));
  CHECK_THROWS_WITH(collate({two, Batch({{"x", at::Tensor()}})}), Contains("undefined"));
}

TEST_CASE("TensorDataset gathers rows like index_select", "[dataset]") {
  at::manual_seed(3);
  const std::vector<int64_t> indices = {4, 0, 4, 9};
  const at::Tensor index = at::tensor(indices, at::kLong);
  const std::vector<at::Tensor> tensors = {
      at::randn({10}),
      at::randn({10, 3, 5}),
      at::randn({3, 10}).t(),
      at::randn({1, 4}).expand({10, 4}),
      at::randn({10, 4}).set_requires_grad(true),
      at::randn({10, 4}, at::kComplexFloat).conj(),
      at::randint(100, {10, 2}, at::kByte),
      at::randn({10, 7}).to(at::kBFloat16),
      at::randn({10, 0}),
      at::ones({10}, at::kBool),
  };
  for (const at::Tensor& tensor : tensors) {
    TensorDataset dataset(Batch({{"t", tensor}}));
    const at::Tensor rows = get_batch(dataset, indices)["t"];
    CHECK(rows.equal(tensor.index_select(0, index)));
    CHECK(rows.scalar_type() == tensor.scalar_type());
    CHECK_FALSE(rows.requires_grad());
    SampleContext context(0, 0, 4);
    CHECK(dataset.get(4, context)["t"].equal(tensor.select(0, 4)));
  }
}

TEST_CASE("TensorDataset's batches don't share memory with it", "[dataset]") {
  const at::Tensor x = at::zeros({4, 2});
  TensorDataset dataset(Batch({{"x", x}}));
  const Batch batch = get_batch(dataset, {1, 2});
  CHECK(batch.batch_size() == 2);
  batch["x"].fill_(1);
  CHECK(x.sum().item<float>() == 0);
  CHECK(get_batch(dataset, {})["x"].sizes() == at::IntArrayRef({0, 2}));
}

TEST_CASE("TensorDataset refuses tensors that don't belong together", "[dataset]") {
  CHECK_THROWS_AS(TensorDataset(Batch()), ConfigError);
  CHECK_THROWS_AS(TensorDataset(Batch({{"x", at::scalar_tensor(1)}})), ConfigError);
  CHECK_THROWS_AS(TensorDataset(Batch({{"x", at::Tensor()}})), ConfigError);
  CHECK_THROWS_WITH(TensorDataset(Batch({{"x", at::ones({3})}, {"y", at::ones({4})}})),
                    Contains("\"y\" has 4 rows") && Contains("\"x\" has 3"));
}

TEST_CASE("TensorDataset refuses an index outside of it", "[dataset]") {
  TensorDataset dataset(Batch({{"x", at::ones({3})}}));
  CHECK_THROWS_WITH(get_batch(dataset, {0, 3}), Contains("no sample 3"));
  CHECK_THROWS_AS(get_batch(dataset, {-1}), DataError);
}

TEST_CASE("Subset of a Subset leads to the samples of the whole", "[dataset]") {
  const auto middle =
      std::make_shared<Subset>(range_dataset(10), std::vector<int64_t>{9, 7, 5, 3, 1});
  Subset inner(middle, {4, 0, 2});
  CHECK(inner.size() == 3);
  CHECK(to_vector(get_batch(inner, {0, 1, 2})["index"]) == std::vector<int64_t>{1, 9, 5});
  SampleContext context(0, 0, 1);
  CHECK(inner.get(1, context)["index"].item<int64_t>() == 9);
  CHECK_THROWS_AS(get_batch(inner, {3}), DataError);
  CHECK_THROWS_AS(inner.get(-1, context), DataError);
}

TEST_CASE("Subset refuses indices outside of the data set", "[dataset]") {
  CHECK_THROWS_AS(Subset(nullptr, {}), ConfigError);
  CHECK_THROWS_WITH(Subset(range_dataset(3), {0, 3}), Contains("index 3") && Contains("3 samples"));
}

TEST_CASE("random_split gives the golden split", "[dataset]") {
  const auto parts = random_split(range_dataset(20), {12, 8, 0}, 5);
  REQUIRE(parts.size() == 3);
  CHECK(parts[2]->size() == 0);
  std::vector<int64_t> joined;
  for (const auto& part : parts) {
    std::vector<int64_t> all(static_cast<size_t>(part->size()));
    std::iota(all.begin(), all.end(), 0);
    for (const int64_t index : to_vector(get_batch(*part, all)["index"])) joined.push_back(index);
  }
  CHECK(joined == lightning_tests::golden("split size=20 seed=5"));
}

TEST_CASE("random_split refuses sizes that don't add up", "[dataset]") {
  CHECK_THROWS_WITH(random_split(range_dataset(10), {4, 5}, 0), Contains("9") && Contains("10"));
  CHECK_THROWS_AS(random_split(range_dataset(10), {11, -1}, 0), ConfigError);
  CHECK_THROWS_AS(random_split(nullptr, {}, 0), ConfigError);
}
