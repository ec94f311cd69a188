#include "examples/bert_squad/answer_decoder.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include <catch2/catch.hpp>

#include <lightning/util/error.h>
#include <lightning/util/random.h>

#include "examples/bert_squad/letters.h"

using bert_squad::AnswerDecoder;
using bert_squad::Predictions;
using bert_squad::SquadFeatures;
using lightning_tests::letter_data;
using lightning_tests::letter_tokenizer;

namespace {

using Features = std::shared_ptr<const SquadFeatures>;

/// Scores of a feature's tokens: 0 but where said.
struct Scores {
  explicit Scores(const bert_squad::Feature& feature)
      : context_begin(feature.context_begin), start(feature.ids.size()), end(feature.ids.size()) {}
  /// `token` counts from the context's first one.
  Scores& at(int64_t token, float start_score, float end_score) {
    start[static_cast<size_t>(context_begin + token)] = start_score;
    end[static_cast<size_t>(context_begin + token)] = end_score;
    return *this;
  }
  Scores& null(float start_score, float end_score) {
    start[0] = start_score;
    end[0] = end_score;
    return *this;
  }

  int64_t context_begin;
  std::vector<float> start;
  std::vector<float> end;
};

Features one_window(int context_length) {
  return make_features(letter_data(context_length, {{"q", "a", {}}}), letter_tokenizer(), {});
}

/// The prediction for the only question of `features` from the scores of its windows.
bert_squad::Prediction decode(const Features& features, const std::vector<Scores>& windows,
                              bert_squad::DecoderOptions options = {}) {
  AnswerDecoder decoder(options);
  for (size_t i = 0; i < windows.size(); ++i) {
    decoder.add(features, static_cast<int64_t>(i), windows[i].start, windows[i].end);
  }
  return decoder.best_spans().at("q");
}

}  // namespace

TEST_CASE("AnswerDecoder gives the text of the best span", "[answer_decoder]") {
  const Features features = one_window(8);
  const Scores scores = Scores(features->features[0]).at(2, 5, 1).at(4, 1, 6).null(1, 2);
  const auto best = decode(features, {scores});
  CHECK(best.text == "c d e");
  CHECK(best.no_answer_score == 3.0 - 11.0);
}

TEST_CASE("AnswerDecoder takes no span that ends before it begins", "[answer_decoder]") {
  const Features features = one_window(8);
  const Scores scores = Scores(features->features[0]).at(5, 9, 0).at(1, 0, 8);
  // 5..5 and 1..1 score 9 and 8, 5..1 would score 17.
  CHECK(decode(features, {scores}).text == "f");
}

TEST_CASE("AnswerDecoder takes no span outside of the context", "[answer_decoder]") {
  const Features features = one_window(4);
  Scores scores = Scores(features->features[0]).at(1, 1, 1);
  scores.start[1] = scores.end[1] = 50;          // the question
  scores.start.back() = scores.end.back() = 50;  // [SEP]
  CHECK(decode(features, {scores}).text == "b");
}

TEST_CASE("AnswerDecoder keeps to max_answer_length", "[answer_decoder]") {
  const Features features = one_window(12);
  const Scores scores = Scores(features->features[0]).at(1, 9, 0).at(6, 0, 9).at(3, 0, 4);
  CHECK(decode(features, {scores}, {.max_answer_length = 6}).text == "b c d e f g");
  CHECK(decode(features, {scores}, {.max_answer_length = 5}).text == "b c d");
  CHECK(decode(features, {scores}, {.max_answer_length = 1}).text == "b");
}

TEST_CASE("AnswerDecoder combines only the n best first and last tokens", "[answer_decoder]") {
  const Features features = one_window(8);
  // The best last token stands before the best first one, so that n_best 1 finds nothing.
  const Scores scores = Scores(features->features[0]).at(5, 9, 1).at(2, 0, 8);
  CHECK(decode(features, {scores}, {.n_best = 1}).text.empty());
  CHECK(decode(features, {scores}, {.n_best = 2}).text == "f");

  AnswerDecoder decoder({.n_best = 3});
  decoder.add(features, 0, scores.start, scores.end);
  const auto& spans = decoder.spans(0);
  REQUIRE(spans.size() == 3);
  CHECK(spans[0].score() == 10.0);
  CHECK(spans[0].score() >= spans[1].score());
  CHECK(spans[1].score() >= spans[2].score());
}

TEST_CASE("AnswerDecoder ranks the n best answers of all windows", "[answer_decoder]") {
  // Windows of 12 context tokens, 4 of them shared: tokens 0 to 11 and 8 to 19.
  const Features features = make_features(letter_data(20, {{"q", "a", {}}}), letter_tokenizer(),
                                          {.max_seq_length = 16, .doc_stride = 4});
  AnswerDecoder decoder({.n_best = 3, .max_answer_length = 1});
  const Scores first = Scores(features->features[0]).at(3, 2, 2).at(9, 3, 3).null(1, 4);
  const Scores second = Scores(features->features[1]).at(1, 3, 3).at(7, 1, 1).null(2, 2);
  decoder.add(features, 0, first.start, first.end);
  decoder.add(features, 1, second.start, second.end);
  const auto texts_of = [](const std::vector<bert_squad::RankedAnswer>& answers) {
    std::vector<std::string> texts;
    for (const auto& answer : answers) texts.push_back(answer.text);
    return texts;
  };
  using Texts = std::vector<std::string>;

  // Token 9 is in both windows, and so is its text in the list. 6, 6, 4.
  const auto spans = decoder.ranked_answers(0, /*with_no_answer=*/false);
  CHECK(texts_of(spans) == Texts{"j", "j", "d"});
  const double sum = 2.0 + std::exp(-2.0);
  CHECK(spans[0].probability == Approx(1.0 / sum));
  CHECK(spans[2].probability == Approx(std::exp(-2.0) / sum));
  CHECK(spans[2].start_logit == 2.0F);

  // "No answer" scores 4, the lowest of both windows: behind spans that score as much, and one more
  // than the n best.
  const auto with_none = decoder.ranked_answers(0, /*with_no_answer=*/true);
  CHECK(texts_of(with_none) == Texts{"j", "j", "d", ""});
  CHECK(with_none[3].start_logit == 2.0F);
  CHECK(with_none[3].end_logit == 2.0F);
  CHECK(with_none[3].probability == Approx(std::exp(-2.0) / (sum + std::exp(-2.0))));
  CHECK(decoder.best_span(0).no_answer_score == 4.0 - 6.0);
}

TEST_CASE("AnswerDecoder ranks \"no answer\" among the n best", "[answer_decoder]") {
  const Features features = one_window(8);
  AnswerDecoder decoder({.n_best = 2, .max_answer_length = 1});
  const Scores scores = Scores(features->features[0]).at(1, 9, 2).at(2, 4, 1).null(5, 2);
  decoder.add(features, 0, scores.start, scores.end);
  const auto answers = decoder.ranked_answers(0, true);
  REQUIRE(answers.size() == 2);  // it takes the place of the second span
  CHECK(answers[0].text == "b");
  CHECK(answers[1].text.empty());
  CHECK(answers[1].start_logit == 5.0F);
}

TEST_CASE("AnswerDecoder ranks an answer where there is none", "[answer_decoder]") {
  bert_squad::SquadData data;
  data.contexts = {""};
  data.questions = {{"q", "a", 0, {}}};
  const Features features = make_features(data, letter_tokenizer(), {});
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const float null_score : {1.5F, nan}) {
    AnswerDecoder decoder({});
    const Scores scores = Scores(features->features[0]).null(null_score, null_score);
    decoder.add(features, 0, scores.start, scores.end);
    const auto spans = decoder.ranked_answers(0, false);
    REQUIRE(spans.size() == 1);
    CHECK(spans[0].text.empty());
    CHECK(spans[0].probability == 1.0);
    CHECK(spans[0].start_logit == 0.0F);
    const auto with_none = decoder.ranked_answers(0, true);
    REQUIRE(with_none.size() == 1);
    CHECK(with_none[0].text.empty());
    CHECK(with_none[0].probability == (std::isnan(null_score) ? 0.0 : 1.0));
  }
}

TEST_CASE("AnswerDecoder lets the earlier token win a tie", "[answer_decoder]") {
  const Features features = one_window(8);
  const Scores scores = Scores(features->features[0]).at(2, 3, 3).at(6, 3, 3);
  CHECK(decode(features, {scores}, {.max_answer_length = 1}).text == "c");
  CHECK(decode(features, {Scores(features->features[0])}).text == "a");
}

TEST_CASE("AnswerDecoder takes the best span and the lowest null score of all windows",
          "[answer_decoder]") {
  // Windows of 12 context tokens, 4 of them shared: tokens 0 to 11 and 8 to 19.
  const Features features = make_features(letter_data(20, {{"q", "a", {}}}), letter_tokenizer(),
                                          {.max_seq_length = 16, .doc_stride = 4});
  REQUIRE(features->features.size() == 2);
  const Scores first = Scores(features->features[0]).at(3, 2, 2).null(1, 1);
  const Scores second = Scores(features->features[1]).at(7, 4, 4).null(3, 4);
  const auto best = decode(features, {first, second});
  CHECK(best.text == "p");  // the sixteenth letter
  CHECK(best.no_answer_score == 2.0 - 8.0);

  AnswerDecoder reversed({});
  reversed.add(features, 1, second.start, second.end);
  reversed.add(features, 0, first.start, first.end);
  CHECK(reversed.best_spans().at("q").text == best.text);
  CHECK(reversed.best_spans().at("q").no_answer_score == best.no_answer_score);
}

TEST_CASE("AnswerDecoder finds no answer in an empty context", "[answer_decoder]") {
  bert_squad::SquadData data;
  data.contexts = {""};
  data.questions = {{"q", "a", 0, {}}};
  const Features features = make_features(data, letter_tokenizer(), {});
  CHECK(decode(features, {Scores(features->features[0])}).text.empty());
}

TEST_CASE("AnswerDecoder finds no answer in scores that aren't numbers", "[answer_decoder]") {
  const Features features = one_window(4);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  Scores scores(features->features[0]);
  for (int64_t token = 0; token < 4; ++token) scores.at(token, nan, nan);
  CHECK(decode(features, {scores}).text.empty());
  scores.at(2, 1, 1);
  CHECK(decode(features, {scores}).text == "c");
}

TEST_CASE("AnswerDecoder predicts only for questions that it has seen", "[answer_decoder]") {
  const Features features =
      make_features(letter_data(4, {{"q0", "a", {}}, {"q1", "b", {}}}), letter_tokenizer(), {});
  AnswerDecoder decoder({});
  CHECK(decoder.empty());
  const Scores scores(features->features[1]);
  decoder.add(features, 1, scores.start, scores.end);
  CHECK_FALSE(decoder.empty());
  const Predictions predictions = decoder.best_spans();
  CHECK(predictions.size() == 1);
  CHECK(predictions.contains("q1"));
  decoder.clear();
  CHECK(decoder.empty());
}

TEST_CASE("AnswerDecoder cuts texts at code points", "[answer_decoder]") {
  bert_squad::SquadData data;
  data.contexts = {"ä b ö"};  // accents are stripped: a b o
  data.questions = {{"q", "a", 0, {}}};
  const Features features = make_features(data, letter_tokenizer(), {});
  const Scores scores = Scores(features->features[0]).at(1, 5, 0).at(2, 0, 5);
  CHECK(decode(features, {scores}).text == "b ö");
}

namespace {

/// Six questions of several windows each, some without an answer.
Features many_windows() {
  std::vector<lightning_tests::TestQuestion> questions;
  for (int i = 0; i < 6; ++i) {
    questions.push_back({std::string("q").append(std::to_string(i)), "a b", {}});
    if (i % 3 != 0) questions.back().answers = {i, 3 * i};
  }
  return make_features(letter_data(30, questions), letter_tokenizer(),
                       {.max_seq_length = 16, .doc_stride = 4});
}

/// Whole numbers from 0 to 3, so that many spans and windows tie.
std::vector<Scores> tied_scores(const Features& features, uint64_t seed) {
  lightning::Random random(seed);
  std::vector<Scores> scores;
  for (const bert_squad::Feature& feature : features->features) {
    scores.emplace_back(feature);
    for (float& score : scores.back().start) score = static_cast<float>(random.below(4));
    for (float& score : scores.back().end) score = static_cast<float>(random.below(4));
  }
  return scores;
}

void check_same_ranking(const AnswerDecoder& a, const AnswerDecoder& b) {
  REQUIRE(a.num_questions() == b.num_questions());
  for (int64_t question = 0; question < a.num_questions(); ++question) {
    REQUIRE(a.seen(question) == b.seen(question));
    if (!a.seen(question)) continue;
    for (const bool with_no_answer : {false, true}) {
      const auto of_a = a.ranked_answers(question, with_no_answer);
      const auto of_b = b.ranked_answers(question, with_no_answer);
      REQUIRE(of_a.size() == of_b.size());
      for (size_t i = 0; i < of_a.size(); ++i) {
        CHECK(of_a[i].text == of_b[i].text);
        CHECK(of_a[i].probability == of_b[i].probability);
        CHECK(of_a[i].start_logit == of_b[i].start_logit);
        CHECK(of_a[i].end_logit == of_b[i].end_logit);
      }
    }
  }
}

void check_same(const bert_squad::SquadData& data, const Predictions& a, const Predictions& b) {
  REQUIRE(a.size() == b.size());
  for (const auto& [id, prediction] : a) {
    CHECK(b.at(id).text == prediction.text);
    CHECK(b.at(id).no_answer_score == prediction.no_answer_score);
  }
  for (const double threshold : {-2.0, 0.0, std::numeric_limits<double>::infinity()}) {
    const auto of_a = evaluate_squad(data, a, threshold);
    const auto of_b = evaluate_squad(data, b, threshold);
    CHECK(of_a.exact == of_b.exact);
    CHECK(of_a.f1 == of_b.f1);
    CHECK(of_a.best_f1 == of_b.best_f1);
    CHECK(of_a.best_f1_threshold == of_b.best_f1_threshold);
    CHECK(of_a.total == of_b.total);
  }
}

}  // namespace

TEST_CASE("AnswerDecoders of several ranks give the answers of one, however windows lie",
          "[answer_decoder]") {
  const Features features = many_windows();
  const auto count = static_cast<int64_t>(features->features.size());
  REQUIRE(count >= 18);
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const std::vector<Scores> scores = tied_scores(features, seed);
    const auto add = [&](AnswerDecoder& decoder, int64_t row) {
      const Scores& given = scores[static_cast<size_t>(row)];
      decoder.add(features, row, given.start, given.end);
    };
    AnswerDecoder alone({.n_best = 3});
    for (int64_t row = 0; row < count; ++row) add(alone, row);
    for (const int64_t world_size : {1, 2, 3, 4}) {
      // As loaders deal windows out, and at random.
      for (const bool strided : {true, false}) {
        lightning::Random random(seed);
        std::vector<AnswerDecoder> ranks(static_cast<size_t>(world_size),
                                         AnswerDecoder({.n_best = 3}));
        for (int64_t row = 0; row < count; ++row) {
          const auto rank = strided ? static_cast<uint64_t>(row % world_size)
                                    : random.below(static_cast<uint64_t>(world_size));
          add(ranks[rank], row);
        }
        // The best span alone, or all n best in parts of four questions.
        const bool all = seed % 2 == 0;
        std::vector<std::vector<lightning::StateDict>> states;
        for (const AnswerDecoder& rank : ranks) {
          if (all) {
            states.push_back({rank.state_dict(3, 0, 4), rank.state_dict(3, 4, 8)});
          } else {
            states.push_back({rank.state_dict()});
          }
        }
        for (size_t rank = 0; rank < ranks.size(); ++rank) {
          if (!ranks[rank].has_data()) continue;
          std::vector<int64_t> others(ranks.size());
          std::iota(others.begin(), others.end(), 0);
          random.shuffle(others);
          for (const int64_t other : others) {
            if (other == static_cast<int64_t>(rank)) continue;
            for (const auto& state : states[static_cast<size_t>(other)]) ranks[rank].merge(state);
          }
          check_same(features->data, alone.best_spans(), ranks[rank].best_spans());
          if (all) check_same_ranking(alone, ranks[rank]);
        }
      }
    }
  }
}

TEST_CASE("AnswerDecoder without windows of its own takes those of others", "[answer_decoder]") {
  const Features features = one_window(4);
  AnswerDecoder one({});
  const Scores scores = Scores(features->features[0]).at(1, 5, 5).null(1, 1);
  one.add(features, 0, scores.start, scores.end);
  AnswerDecoder other({});
  CHECK_FALSE(other.has_data());
  one.merge(other.state_dict());
  CHECK(one.best_spans().at("q").text == "b");
  other.merge(one.state_dict());
  CHECK_FALSE(other.empty());
  CHECK_FALSE(other.has_data());
  AnswerDecoder third({});
  third.merge(other.state_dict());
  CHECK(third.spans(0).at(0).score() == 10.0);
}

TEST_CASE("AnswerDecoder carries questions without a span to other ranks", "[answer_decoder]") {
  const Features features = make_features(letter_data(20, {{"q", "a", {}}}), letter_tokenizer(),
                                          {.max_seq_length = 16, .doc_stride = 4});
  const float nan = std::numeric_limits<float>::quiet_NaN();
  Scores first(features->features[0]);
  std::fill(first.start.begin(), first.start.end(), nan);
  const Scores second = Scores(features->features[1]).at(7, 4, 4).null(3, 4);
  for (const bool reversed : {false, true}) {
    AnswerDecoder a({});
    AnswerDecoder b({});
    a.add(features, 0, first.start, first.end);
    b.add(features, 1, second.start, second.end);
    AnswerDecoder& merged = reversed ? b : a;
    merged.merge(reversed ? a.state_dict() : b.state_dict());
    CHECK(merged.best_spans().at("q").text == "p");
    CHECK(merged.best_spans().at("q").no_answer_score == 7.0 - 8.0);
  }
}

TEST_CASE("AnswerDecoder refuses the answers of other questions", "[answer_decoder]") {
  const Features one = one_window(4);
  const Features two =
      make_features(letter_data(4, {{"q0", "a", {}}, {"q1", "b", {}}}), letter_tokenizer(), {});
  AnswerDecoder of_one({});
  AnswerDecoder of_two({});
  const Scores scores(one->features[0]);
  of_one.add(one, 0, scores.start, scores.end);
  of_two.add(two, 0, scores.start, scores.end);
  CHECK_THROWS_AS(of_one.merge(of_two.state_dict()), lightning::DataError);
}
