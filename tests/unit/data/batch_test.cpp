#include <lightning/data/batch.h>

#include <ATen/ATen.h>

#include <catch2/catch.hpp>

#include <lightning/util/error.h>

#include "support/skip.h"

using Catch::Matchers::Contains;
using lightning::Batch;
using lightning::DataError;

TEST_CASE("Batch gives what a temporary holds by value", "[batch]") {
  const auto make = [] {
    Batch batch({{"x", at::ones({2})}, {"y", at::zeros({2})}});
    batch.set_payload(std::vector<std::string>{"one", "two"});
    return batch;
  };
  std::string names;
  for (const auto& [name, tensor] : make().items()) names += name;
  CHECK(names == "xy");
  std::string ids;
  for (const std::string& id : make().payload<std::vector<std::string>>()) ids += id + " ";
  CHECK(ids == "one two ");
}

TEST_CASE("Batch finds tensors by name and by position", "[batch]") {
  const Batch batch({{"image", at::ones({2, 3})}, {"label", at::zeros({2})}});
  CHECK(batch["image"].sizes() == at::IntArrayRef({2, 3}));
  CHECK(batch[0].is_same(batch["image"]));
  CHECK(batch[1].is_same(batch["label"]));
  CHECK(batch.size() == 2);
  CHECK(batch.contains("label"));
  CHECK_FALSE(batch.contains("labels"));
  CHECK_FALSE(batch.empty());
}

TEST_CASE("Batch errors list what is there", "[batch]") {
  Batch batch;
  CHECK_THROWS_WITH(batch["x"], Contains("no tensor \"x\"") && Contains("Available: nothing"));
  batch.set("input_ids", at::ones({1}));
  batch.set("label", at::ones({1}));
  CHECK_THROWS_AS(batch["input_id"], DataError);
  CHECK_THROWS_WITH(batch["input_id"], Contains("\"input_id\"") && Contains("input_ids, label"));
  CHECK_THROWS_AS(batch[2], DataError);
  CHECK_THROWS_AS(batch[-1], DataError);
  CHECK_THROWS_WITH(batch[2], Contains("position 2") && Contains("there are 2"));
}

TEST_CASE("Batch::set replaces a tensor in its place", "[batch]") {
  Batch batch({{"x", at::zeros({1})}, {"y", at::zeros({1})}});
  batch.set("x", at::ones({1}));
  CHECK(batch.size() == 2);
  CHECK(batch[0].item<float>() == 1);
}

TEST_CASE("Batch carries a payload of any type", "[batch]") {
  Batch batch;
  CHECK_FALSE(batch.has_payload());
  CHECK_THROWS_WITH(batch.payload<int>(), Contains("no payload"));
  batch.set_payload(std::vector<std::string>{"a", "b"});
  CHECK(batch.has_payload());
  CHECK(batch.payload<std::vector<std::string>>()[1] == "b");
  CHECK_THROWS_AS(batch.payload<double>(), DataError);
  CHECK_THROWS_WITH(batch.payload<double>(), Contains("vector") && Contains("double"));
}

TEST_CASE("Batch::to converts floating-point tensors and keeps the rest", "[batch]") {
  Batch batch({{"x", at::ones({2})}, {"id", at::ones({2}, at::kLong)}, {"none", at::Tensor()}});
  batch.set_batch_size(2);
  batch.set_rank_weight(0.5);
  batch.set_dataloader_idx(3);
  batch.set_payload(7);
  const Batch half = batch.to(at::kBFloat16);
  CHECK(half["x"].scalar_type() == at::kBFloat16);
  CHECK(half["id"].scalar_type() == at::kLong);
  CHECK_FALSE(half["none"].defined());
  CHECK(half.batch_size() == 2);
  CHECK(half.rank_weight() == 0.5);
  CHECK_FALSE(half.is_padding());
  CHECK(half.dataloader_idx() == 3);
  CHECK(half.payload<int>() == 7);
  CHECK(batch["x"].scalar_type() == at::kFloat);
}

TEST_CASE("Batch::to shares tensors that are on the device already", "[batch]") {
  const Batch batch({{"x", at::ones({2})}});
  CHECK(batch.to(at::Device(at::kCPU))["x"].is_same(batch["x"]));
  CHECK(batch.to(at::Device(at::kMeta))["x"].is_meta());
}

TEST_CASE("Batch::pin_memory puts tensors in pinned memory", "[batch][gpu]") {
  if (!at::hasCUDA()) SKIP_WITHOUT_GPU("there is no CUDA device");
  const Batch batch({{"x", at::ones({2})}});
  CHECK(batch.pin_memory()["x"].is_pinned());
  CHECK(batch.to(at::Device(at::kCUDA, 0), true)["x"].is_cuda());
}
