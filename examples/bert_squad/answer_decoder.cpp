#include "answer_decoder.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "utf8.h"

namespace bert_squad {
namespace {

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

  // Token 0 is [CLS]: its score says that the answer isn't in this window.
  const double null_score = static_cast<double>(start[0]) + static_cast<double>(end[0]);
  question.null_score = question.seen ? std::min(question.null_score, null_score) : null_score;
  question.seen = true;

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
                               {offset(first).begin, offset(last).end}});
    }
  }
  std::stable_sort(question.best.begin(), question.best.end(),
                   [](const AnswerSpan& a, const AnswerSpan& b) { return a.score > b.score; });
  if (static_cast<int64_t>(question.best.size()) > options_.n_best) {
    question.best.resize(static_cast<size_t>(options_.n_best));
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
