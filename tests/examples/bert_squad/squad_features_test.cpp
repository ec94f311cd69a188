// Equality with transformers' tokenizer: tests/parity/squad_features_parity.py.
#include "examples/bert_squad/squad_features.h"

#include <catch2/catch.hpp>

#include <lightning/util/error.h>

#include "examples/bert_squad/letters.h"

using bert_squad::Feature;
using bert_squad::FeatureLayout;
using bert_squad::make_features;
using Catch::Matchers::Contains;
using lightning::ConfigError;
using lightning_tests::letter_data;
using lightning_tests::letter_tokenizer;
using lightning_tests::letters;

TEST_CASE("Windows overlap by doc_stride and label the answer where it is", "[squad_features]") {
  // 16 tokens: [CLS] a [SEP] 12 of the context [SEP], 4 of them shared.
  const auto made = make_features(letter_data(20, {{"q", "a", {9}}}), letter_tokenizer(),
                                  {.max_seq_length = 16, .doc_stride = 4});
  REQUIRE(made->features.size() == 2);
  const Feature& first = made->features[0];
  CHECK(first.ids == std::vector<int32_t>{2, 4, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 3});
  CHECK(first.context_begin == 3);
  CHECK(first.context_end == 15);
  CHECK(first.second_begin == 3);
  CHECK(first.start_position == 12);
  CHECK(first.end_position == 12);
  CHECK(first.offsets[9] == bert_squad::Offset{18, 19});
  const Feature& second = made->features[1];
  CHECK(second.ids.size() == 16);
  CHECK(second.ids[3] == 12);  // i, the ninth letter
  CHECK(second.start_position == 4);
  CHECK(second.offsets[1] == bert_squad::Offset{18, 19});
}

TEST_CASE("A window without the whole answer points to [CLS]", "[squad_features]") {
  bert_squad::SquadData data = letter_data(20, {{"q", "a", {11}}});
  data.questions[0].answers[0].text = "l m";  // tokens 11 and 12: across the first window's end
  const auto made =
      make_features(data, letter_tokenizer(), {.max_seq_length = 16, .doc_stride = 2});
  REQUIRE(made->features.size() == 2);
  CHECK(made->features[0].start_position == 0);
  CHECK(made->features[0].end_position == 0);
  CHECK(made->features[1].start_position == 4);
  CHECK(made->features[1].end_position == 5);
}

TEST_CASE("An empty context gives one window without context tokens", "[squad_features]") {
  bert_squad::SquadData data;
  data.contexts = {" "};
  data.questions = {{"q", "a", 0, {}}};
  const auto made = make_features(data, letter_tokenizer(), {});
  REQUIRE(made->features.size() == 1);
  CHECK(made->features[0].ids == std::vector<int32_t>{2, 4, 3, 3});
  CHECK(made->features[0].context_begin == made->features[0].context_end);
}

TEST_CASE("A question that is too long is cut so that windows keep overlapping",
          "[squad_features]") {
  const auto made = make_features(letter_data(10, {{"q", letters(40), {}}}), letter_tokenizer(),
                                  {.max_seq_length = 20, .doc_stride = 8});
  for (const Feature& feature : made->features) {
    CHECK(feature.length() <= 20);
    CHECK(feature.context_begin == 10);  // 8 of its tokens are left
  }
  REQUIRE(made->features.size() == 2);
  CHECK(made->features[1].ids[10] == made->features[0].ids[11]);
}

TEST_CASE("Features list the questions and contexts that were cut", "[squad_features]") {
  std::vector<lightning_tests::TestQuestion> questions = {{"short", "a", {}}};
  for (int i = 0; i < 12; ++i) {
    questions.push_back({std::string("long").append(std::to_string(i)), letters(30 + i), {}});
  }
  bert_squad::FeatureOptions options = {.max_seq_length = 20, .doc_stride = 8};
  const auto windows = make_features(letter_data(40, questions), letter_tokenizer(), options);
  REQUIRE(windows->cut_questions.size() == 12);
  CHECK(windows->cut_questions[1].question == 2);
  CHECK(windows->cut_questions[1].num_tokens == 31);
  CHECK(windows->cut_questions[1].num_kept == 8);
  CHECK(windows->cut_contexts.empty());
  const std::string text = describe_cut_questions(*windows, options);
  CHECK_THAT(text, Contains("12 questions are longer than max_seq_length 20") &&
                       Contains("long0 (30 tokens, 8 kept), long1 (31 tokens, 8 kept)") &&
                       Contains("long9") && !Contains("long10") && Contains(" and 2 more"));

  options.layout = FeatureLayout::kContextFirst;
  options.labels = false;
  const auto first = make_features(letter_data(40, questions), letter_tokenizer(), options);
  REQUIRE(first->cut_questions.size() == 12);
  CHECK(first->cut_questions[0].num_kept == 8);  // half of what three special tokens leave
  REQUIRE(first->cut_contexts.size() == 13);
  CHECK(first->cut_contexts[0].num_tokens == 40);
  CHECK(first->cut_contexts[0].num_kept == 16);

  const auto whole = make_features(letter_data(4, {{"q", "a", {}}}), letter_tokenizer(), options);
  CHECK(whole->cut_questions.empty());
  CHECK(whole->cut_contexts.empty());
  CHECK(describe_cut_questions(*whole, options).empty());
}

TEST_CASE("Context first gives an example per answer and none without", "[squad_features]") {
  const bert_squad::FeatureOptions options = {.layout = FeatureLayout::kContextFirst,
                                              .max_seq_length = 16};
  bert_squad::FeatureOptions small = options;
  small.doc_stride = 0;
  const auto data = letter_data(20, {{"two", "a b", {3, 15}}, {"none", "a", {}}});
  const auto made = make_features(data, letter_tokenizer(), small);
  REQUIRE(made->features.size() == 2);
  // [CLS] 11 of the context [SEP] a b [SEP]
  CHECK(made->features[0].length() == 16);
  CHECK(made->features[0].context_end == 12);
  CHECK(made->features[0].second_begin == 13);
  CHECK(made->features[0].start_position == 4);
  CHECK(made->features[1].start_position == 16);  // cut away
  CHECK(made->features[1].end_position == 16);

  small.labels = false;
  const auto unlabelled = make_features(data, letter_tokenizer(), small);
  REQUIRE(unlabelled->features.size() == 2);
  CHECK(unlabelled->features[1].question == 1);
  CHECK(unlabelled->features[0].start_position == 0);
}

TEST_CASE("Features refuse sizes that leave no room", "[squad_features]") {
  const auto make = [](int64_t max_seq_length, int64_t doc_stride) {
    return make_features(letter_data(4, {{"q", "a", {}}}), letter_tokenizer(),
                         {.max_seq_length = max_seq_length, .doc_stride = doc_stride});
  };
  CHECK_THROWS_AS(make(15, 0), ConfigError);
  CHECK_THROWS_WITH(make(15, 0), Contains("max_seq_length is 15") && Contains("HINT"));
  CHECK_THROWS_WITH(make(16, 9), Contains("doc_stride is 9") && Contains("HINT"));
  CHECK_THROWS_WITH(make(16, -1), Contains("doc_stride is -1"));
  CHECK_NOTHROW(make(16, 8));
}

TEST_CASE("Features don't depend on the number of threads", "[squad_features]") {
  std::vector<lightning_tests::TestQuestion> questions;
  for (int i = 0; i < 50; ++i)
    questions.push_back({std::to_string(i), letters(1 + i % 7), {i % 20}});
  const auto data = letter_data(20, questions);
  const auto one = make_features(data, letter_tokenizer(), {.num_threads = 1});
  const auto many = make_features(data, letter_tokenizer(), {.num_threads = 4});
  REQUIRE(one->features.size() == many->features.size());
  for (size_t i = 0; i < one->features.size(); ++i) {
    CHECK(one->features[i].ids == many->features[i].ids);
    CHECK(one->features[i].start_position == many->features[i].start_position);
  }
}

TEST_CASE("Answers without a known place give no labels", "[squad_features]") {
  bert_squad::SquadData data =
      letter_data(6, {{"none", "a", {1}}, {"second", "a", {1, 3}}, {"unanswerable", "a", {}}});
  data.questions[0].answers[0].start = bert_squad::SquadAnswer::kNoPlace;
  data.questions[1].answers[0].start = bert_squad::SquadAnswer::kNoPlace;
  for (const auto layout :
       {bert_squad::FeatureLayout::kWindows, bert_squad::FeatureLayout::kContextFirst}) {
    const bool windows = layout == bert_squad::FeatureLayout::kWindows;
    const auto made = make_features(data, letter_tokenizer(),
                                    {.layout = layout, .max_seq_length = 32, .doc_stride = 8});
    REQUIRE(made->features.size() == (windows ? 3 : 2));
    // Left out of the loss: span_loss() counts no positions from the length on.
    CHECK(made->features[0].start_position == 32);
    CHECK(made->features[0].end_position == 32);
    // The first answer that has a place.
    CHECK(made->features[1].start_position == made->features[1].context_begin + 3);
    if (windows) CHECK(made->features[2].start_position == 0);
  }
}
