#include "examples/bert_squad/squad_dataset.h"

#include <ATen/ATen.h>
#include <catch2/catch.hpp>

#include "examples/bert_squad/letters.h"

using bert_squad::SquadDataset;
using lightning_tests::letter_data;
using lightning_tests::letter_tokenizer;

namespace {

constexpr int64_t kPad = 0;

/// Three features of 8, 10 and 9 tokens.
std::shared_ptr<const bert_squad::SquadFeatures> three_features() {
  return make_features(letter_data(4, {{"q0", "a", {1}}, {"q1", "a b c", {}}, {"q2", "a b", {3}}}),
                       letter_tokenizer(), {});
}

}  // namespace

TEST_CASE("SquadDataset pads a batch to its longest row", "[squad_dataset]") {
  SquadDataset dataset(three_features(), kPad);
  CHECK(dataset.size() == 3);
  CHECK(dataset.lengths() == std::vector<int64_t>{8, 10, 9});
  const std::vector<int64_t> rows = {2, 0};
  const lightning::Batch batch = dataset.get_batch(rows, {});
  CHECK(batch.batch_size() == 2);
  CHECK(batch["input_ids"].sizes() == at::IntArrayRef({2, 9}));
  CHECK(batch["input_ids"].scalar_type() == at::kLong);
  CHECK(at::equal(
      batch["input_ids"],
      at::tensor({2, 4, 5, 3, 4, 5, 6, 7, 3, 2, 4, 3, 4, 5, 6, 7, 3, 0}, at::kLong).view({2, 9})));
  CHECK(at::equal(
      batch["attention_mask"],
      at::tensor({1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0}, at::kLong).view({2, 9})));
  CHECK(at::equal(
      batch["token_type_ids"],
      at::tensor({0, 0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0, 1, 1, 1, 1, 1, 0}, at::kLong).view({2, 9})));
  CHECK(at::equal(batch["start_positions"], at::tensor({7, 4}, at::kLong)));
  CHECK(at::equal(batch["end_positions"], at::tensor({7, 4}, at::kLong)));
  CHECK(batch.payload<bert_squad::SquadRows>().rows == rows);
}

TEST_CASE("SquadDataset pads all batches to one length when asked", "[squad_dataset]") {
  SquadDataset dataset(three_features(), kPad, /*pad_to=*/12);
  const std::vector<int64_t> rows = {0};
  const lightning::Batch batch = dataset.get_batch(rows, {});
  CHECK(batch["input_ids"].sizes() == at::IntArrayRef({1, 12}));
  CHECK(batch["attention_mask"].sum().item<int64_t>() == 8);
}

TEST_CASE("SquadDataset counts the rows whose answers have no known place", "[squad_dataset]") {
  bert_squad::SquadData data =
      letter_data(4, {{"q0", "a", {1}}, {"q1", "b", {2}}, {"q2", "c", {}}, {"q3", "d", {3}}});
  data.questions[1].answers[0].start = bert_squad::SquadAnswer::kNoPlace;
  SquadDataset dataset(make_features(data, letter_tokenizer(), {}), kPad);
  const auto count = [&](const std::vector<int64_t>& rows) {
    return dataset.get_batch(rows, {}).payload<bert_squad::SquadRows>().num_without_place;
  };
  CHECK(count({0, 2, 3}) == 0);
  CHECK(count({1, 1, 0}) == 2);
}
