#include "answer_decoder.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include <lightning/util/error.h>

#include "utf8.h"

namespace bert_squad {
namespace {

constexpr int64_t kNoSpan = -1;

/// The tokens of [begin, end) with the highest scores, best first.
std::vector<int64_t> best_tokens(std::span<const float> scores, int64_t begin, int64_t end,
                                 int64_t count) {
  std::vector<int64_t> tokens(static_cast<size_t>(end - begin));
  std::iota(tokens.begin(), tokens.end(), begin);
  // A model that diverged gives none at all.
  std::erase_if(tokens,
                [&](int64_t token) { return std::isnan(scores[static_cast<size_t>(token)]); });
  const auto kept = std::min(count, static_cast<int64_t>(tokens.size()));
  // The lower token wins a tie, so that the result doesn't depend on the sort.
  std::partial_sort(tokens.begin(), tokens.begin() + kept, tokens.end(), [&](int64_t a, int64_t b) {
    const float sa = scores[static_cast<size_t>(a)];
    const float sb = scores[static_cast<size_t>(b)];
    return sa != sb ? sa > sb : a < b;
  });
  tokens.resize(static_cast<size_t>(kept));
  return tokens;
}

}  // namespace

void AnswerDecoder::clear() {
  features_.reset();
  questions_.clear();
}

void AnswerDecoder::add(const std::shared_ptr<const SquadFeatures>& features, int64_t row,
                        std::span<const float> start, std::span<const float> end) {
  features_ = features;
  questions_.resize(features->data.questions.size());
  const Feature& feature = features->features[static_cast<size_t>(row)];
  Question& question = questions_[static_cast<size_t>(feature.question)];

  // Token 0 is [CLS]: its score is that of an answer outside this window.
  add_null_score(question, static_cast<double>(start[0]) + static_cast<double>(end[0]));

  const auto firsts =
      best_tokens(start, feature.context_begin, feature.context_end, options_.n_best);
  const auto lasts = best_tokens(end, feature.context_begin, feature.context_end, options_.n_best);
  for (const int64_t first : firsts) {
    for (const int64_t last : lasts) {
      if (last < first || last - first + 1 > options_.max_answer_length) continue;
      const auto offset = [&](int64_t token) {
        return feature.offsets[static_cast<size_t>(token - feature.context_begin)];
      };
      question.best.push_back({static_cast<double>(start[static_cast<size_t>(first)]) +
                                   static_cast<double>(end[static_cast<size_t>(last)]),
                               {offset(first).begin, offset(last).end},
                               row});
    }
  }
  keep_best(question);
}

// The lowest of those that are numbers, whatever the order.
void AnswerDecoder::add_null_score(Question& question, double score) {
  question.null_score = question.seen ? std::fmin(question.null_score, score) : score;
  question.seen = true;
}

void AnswerDecoder::keep_best(Question& question) const {
  std::stable_sort(question.best.begin(), question.best.end(),
                   [](const AnswerSpan& a, const AnswerSpan& b) {
                     return a.score != b.score ? a.score > b.score : a.window < b.window;
                   });
  if (static_cast<int64_t>(question.best.size()) > options_.n_best) {
    question.best.resize(static_cast<size_t>(options_.n_best));
  }
}

lightning::StateDict AnswerDecoder::state_dict() const {
  std::vector<int64_t> questions, windows, begins, ends;
  std::vector<double> null_scores, scores;
  for (size_t i = 0; i < questions_.size(); ++i) {
    const Question& question = questions_[i];
    if (!question.seen) continue;
    const AnswerSpan best =
        question.best.empty() ? AnswerSpan{0.0, {}, kNoSpan} : question.best.front();
    questions.push_back(static_cast<int64_t>(i));
    null_scores.push_back(question.null_score);
    scores.push_back(best.score);
    windows.push_back(best.window);
    begins.push_back(best.characters.begin);
    ends.push_back(best.characters.end);
  }
  lightning::StateDict state;
  state.set("num_questions", questions_.size());
  state.set("questions", std::move(questions));
  state.set("null_scores", std::move(null_scores));
  state.set("scores", std::move(scores));
  state.set("windows", std::move(windows));
  state.set("begins", std::move(begins));
  state.set("ends", std::move(ends));
  return state;
}

void AnswerDecoder::merge(const lightning::StateDict& state) {
  const auto& questions = state.get<std::vector<int64_t>>("questions");
  if (questions.empty()) return;
  const auto count = static_cast<size_t>(state.get<int64_t>("num_questions"));
  if (empty()) questions_.resize(count);
  LIGHTNING_CHECK(count == questions_.size(), DataError,
                  "AnswerDecoder: a different rank evaluates ", count, " questions, this one ",
                  questions_.size(), ", the same were expected. HINT: give all ranks one file.");
  const auto& null_scores = state.get<std::vector<double>>("null_scores");
  const auto& scores = state.get<std::vector<double>>("scores");
  const auto& windows = state.get<std::vector<int64_t>>("windows");
  const auto& begins = state.get<std::vector<int64_t>>("begins");
  const auto& ends = state.get<std::vector<int64_t>>("ends");
  for (size_t i = 0; i < questions.size(); ++i) {
    Question& question = questions_.at(static_cast<size_t>(questions[i]));
    add_null_score(question, null_scores.at(i));
    if (windows.at(i) == kNoSpan) continue;
    question.best.push_back({scores.at(i),
                             {static_cast<int32_t>(begins.at(i)), static_cast<int32_t>(ends.at(i))},
                             windows[i]});
    keep_best(question);
  }
}

Predictions AnswerDecoder::best_spans() const {
  Predictions predictions;
  for (size_t i = 0; i < questions_.size(); ++i) {
    const Question& question = questions_[i];
    if (!question.seen) continue;
    const SquadQuestion& asked = features_->data.questions[i];
    Prediction prediction;
    if (!question.best.empty()) {
      const AnswerSpan& best = question.best.front();
      prediction.text = std::string(
          substr_code_points(features_->data.contexts[static_cast<size_t>(asked.context)],
                             best.characters.begin, best.characters.end));
      prediction.no_answer_score = question.null_score - best.score;
    }
    predictions.emplace(asked.id, std::move(prediction));
  }
  return predictions;
}

const std::vector<AnswerSpan>& AnswerDecoder::spans(int64_t question) const {
  return questions_[static_cast<size_t>(question)].best;
}

}  // namespace bert_squad
