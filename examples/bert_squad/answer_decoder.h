/// AnswerDecoder: from the scores of each window's tokens to one answer per question.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "squad_features.h"
#include "squad_metric.h"

namespace bert_squad {

struct DecoderOptions {
  /// First and last tokens that are combined, the best ones of each.
  int64_t n_best = 20;
  /// In tokens.
  int64_t max_answer_length = 30;
};

/// A possible answer.
struct AnswerSpan {
  double score = 0.0;  // start score + end score
  Offset characters;   // code points into the context
};

/// Collects windows in any order, keeps the n best spans of each question over all its windows.
class AnswerDecoder {
 public:
  explicit AnswerDecoder(DecoderOptions options) : options_(options) {}

  /// Scores of the feature's tokens, at least feature.length() each.
  void add(const std::shared_ptr<const SquadFeatures>& features, int64_t row,
           std::span<const float> start, std::span<const float> end);
  bool empty() const { return questions_.empty(); }
  void clear();

  /// The best span of each question and, as no_answer_score, how much better the score of "no
  /// answer" is. The text is the best span's, whatever that says.
  Predictions best_spans() const;
  /// The n best spans of a question, best first.
  const std::vector<AnswerSpan>& spans(int64_t question) const;
  const SquadData& data() const { return features_->data; }

 private:
  struct Question {
    bool seen = false;
    double null_score = 0.0;  // lowest over the windows
    std::vector<AnswerSpan> best;
  };

  DecoderOptions options_;
  std::shared_ptr<const SquadFeatures> features_;
  std::vector<Question> questions_;
};

}  // namespace bert_squad
