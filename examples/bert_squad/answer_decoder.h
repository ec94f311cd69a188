/// AnswerDecoder: from the scores of each window's tokens to one answer per question. The windows
/// of a question may be decoded on several ranks, whose decoders are then merged.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <lightning/util/state_dict.h>

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
  int64_t window = 0;  // row of the feature: the earlier one wins a tie
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

  /// The best span and the score of "no answer" of each question seen, for the other ranks.
  lightning::StateDict state_dict() const;
  /// Adds what another rank found in other windows of the same questions; in any order,
  /// best_spans() is then what one decoder of all windows gives. Throws lightning::DataError when
  /// the ranks' questions are not the same.
  void merge(const lightning::StateDict& state);
  /// Whether windows were added here, which bring texts and questions along: else data() and
  /// best_spans() must not be called.
  bool has_data() const { return features_ != nullptr; }

  /// The best span of each question and, as no_answer_score, how much better the score of "no
  /// answer" is. The text is the best span's, whatever that score is.
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
  static void add_null_score(Question& question, double score);
  void keep_best(Question& question) const;

  DecoderOptions options_;
  std::shared_ptr<const SquadFeatures> features_;
  std::vector<Question> questions_;
};

}  // namespace bert_squad
